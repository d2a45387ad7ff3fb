import argparse
import functools

from dropx.arguments import (
    OWN,
    above_zero,
    add_data,
    add_own,
    add_training,
    check_own,
    positive,
    seeds,
    text,
)

DESCRIPTION = """\
Train dropout and its relatives side by side: with --model and --data on what
is yours, else in three panels, each about one claim, on a small data set.

A .keras file is loaded in safe mode; FILE.py:FUNCTION RUNS the code of FILE.py.
Runs are kept in --output: the same command skips what is done.
"""

EXAMPLES = """\
examples:
  dropx compare --model net.py:build --data table.csv --target label
  dropx compare --panels masks --dataset mnist --download
"""

PANELS = ("masks", "batchnorm", "saturation")
METHODS = ("none", "dropout", "augmented", "forward", "backward", "jumpout")
METHODS += ("batchnorm", "gaaf", "gain")
# The defaults of the panels, and those of a model of the user's own.
BUILT_IN = {
    "panels": PANELS,
    "dataset": "digits",
    "train_size": 300,
    "data_dir": None,
    "download": False,
    "source": None,
    "jit": False,
    "seeds": 3,
    "epochs": None,
    "output": "results/compare",
}
MODEL = {
    **OWN,
    "methods": None,
    "metric": None,
    "margin": None,
    "start": "fresh",
    "seeds": 5,
    "epochs": 10,
    "output": "results/model",
}


def add(commands):
    """Adds `compare` to the commands."""
    compare = commands.add_parser(
        "compare",
        usage="dropx compare [OPTION ...]",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_own(compare)
    compare.add_argument(
        "--methods",
        nargs="+",
        choices=METHODS,
        metavar="NAME",
        help="of none, dropout, augmented, forward, backward,"
        " jumpout, batchnorm, gaaf, gain (default: what fits)",
    )
    compare.add_argument(
        "--metric",
        type=text,
        metavar="NAME",
        help="compiled metric or loss; NAME:max, NAME:min",
    )
    compare.add_argument(
        "--margin",
        type=above_zero,
        metavar="NUMBER",
        help="smallest difference of it that matters",
    )
    compare.add_argument(
        "--start",
        choices=("fresh", "given"),
        metavar="WEIGHTS",
        help="fresh (default), or given: those of the .keras file",
    )
    compare.add_argument(
        "--panels",
        nargs="+",
        choices=PANELS,
        metavar="PANEL",
        help="without --model: masks, batchnorm, saturation",
    )
    compare.add_argument(
        "--seeds",
        type=seeds,
        metavar="N",
        help="runs a method (3; 5 of a model; 5:40 until resolved)",
    )
    compare.add_argument(
        "--epochs",
        type=positive,
        metavar="N",
        help="epochs of training (default: the panel's; 10)",
    )
    compare.add_argument(
        "--output",
        type=text,
        metavar="DIR",
        help="folder (default: results/compare; results/model)",
    )
    add_data(compare, (None, "digits, embedded"), (None, "300"))
    add_training(compare)
    compare.set_defaults(
        run="compare.run", check=functools.partial(check, compare)
    )


def check(parser, options):
    """Refuses options that do not fit each other."""
    if not check_own(parser, options, MODEL, BUILT_IN):
        if isinstance(options.seeds, tuple):
            parser.error("--seeds FIRST:MOST goes with --model")
        return
    if options.start == "given" and not options.model.endswith(".keras"):
        parser.error("--start given goes with a .keras file")
    if options.metric is not None:
        name, colon, direction = options.metric.rpartition(":")
        if colon:
            if direction not in ("max", "min") or not name:
                parser.error("--metric: expected NAME, NAME:max or NAME:min")
            options.metric = (name, direction)
