import argparse

from keras_dropx.commands.arguments import (
    add_data,
    add_training,
    check_backend,
    positive,
)

DESCRIPTION = """\
Train plain dropout and its relatives side by side on a small training set.

Three panels, each about one claim: masks (which pass of dropout helps),
batchnorm (better weights or repaired statistics) and saturation (GAAF or
only a larger gradient). Every run is a line of runs.jsonl in the output
folder; the same command skips what is done, and goes on with the rest.
"""

EXAMPLES = """\
examples:
  dropx compare
  dropx compare --panels masks --seeds 10 --output results/masks
  dropx compare --dataset mnist --download --train-size 1000
  dropx compare --backend jax --output results/jax
"""


def add(commands):
    """Adds `compare` to the commands."""
    compare = commands.add_parser(
        "compare",
        usage="dropx compare [OPTION ...]",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    panels = ("masks", "batchnorm", "saturation")
    compare.add_argument(
        "--panels",
        nargs="+",
        choices=panels,
        default=panels,
        metavar="PANEL",
        help="which of masks, batchnorm, saturation (default: all)",
    )
    compare.add_argument(
        "--seeds",
        type=positive,
        default=3,
        metavar="N",
        help="runs of each arm, paired by seed (default: 3, a demonstration)",
    )
    compare.add_argument(
        "--epochs",
        type=positive,
        metavar="N",
        help="epochs of training (default: each panel's own)",
    )
    compare.add_argument(
        "--output",
        default="results/compare",
        metavar="DIR",
        help="folder of runs.jsonl and figures (default: results/compare)",
    )
    add_data(compare)
    add_training(compare)
    compare.set_defaults(run=run)


def run(options):
    check_backend(options)
    from keras_dropx.experiments.compare import compare

    compare(
        options.panels,
        options.dataset,
        options.seeds,
        options.epochs,
        options.train_size,
        options.output,
        options.data_dir,
        options.download,
        options.precision,
        options.jit,
    )
