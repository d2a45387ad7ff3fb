import argparse
import functools

from dropx.arguments import (
    OWN,
    add_data,
    add_own,
    add_training,
    check_own,
    integer,
    number,
    positive,
    seeds,
    text,
    wrong,
)

DESCRIPTION = """\
Search the method and its hyperparameters, and dropout's as often, then compare
both winners on fresh seeds. The same command goes on if interrupted. On what
is yours, as in dropx compare --help (this RUNS the code of FILE.py):
  --model FILE.py:FUNCTION --data FILE [--target COLUMN] [--standardize]
  [--test-share SHARE] [--batch-size N]
"""

EXAMPLES = """\
examples:
  dropx tune --model net.py:build --data table.csv --target label --trials 10
  dropx tune --chief 10.0.0.5:8000 --worker-id node2-0 --output /shared/tune
"""

METHODS = ("any", "dropout", "forward", "backward", "augmented", "jumpout")
TUNERS = ("random", "bayesian", "hyperband", "grid")
OBJECTIVES = ("val_accuracy", "val_loss")
NETWORKS = (
    "mlp",
    "convnet_bn",
    "all_cnn",
    "cifar10_small",
    "convnet_quick",
    "gaaf_mlp",
    "gaaf_svhn_cnn",
    "gaaf_vgg",
    "lenet",
    "nin",
    "preact_resnet20",
    "resnet18",
    "resnet20",
    "srivastava_convnet",
    "srivastava_mlp",
    "wide_resnet",
)
# Name, range, what must hold of it, what it is the range of.
RANGES = (
    ("rate", (0.0, 0.5), "0 <= LO < HI < 1", "drop rates"),
    ("backward_rate", (1e-5, 1e-2), "0 < LO < HI < 1", "the backward ratio"),
    ("sigma", (0.05, 0.5), "0 <= LO < HI", "Jumpout's sigma"),
)
# The defaults of a built-in network, and those of a model of the user's own.
BUILT_IN = {
    "network": "mlp",
    "objective": "val_accuracy",
    "epochs": None,
    "output": "results/tune",
    "rate": RANGES[0][1],
    "dataset": "digits",
    "train_size": 300,
    "data_dir": None,
    "download": False,
    "source": None,
    "jit": False,
    "overwrite": False,
    "workers": None,
    "chief": None,
    "worker_id": None,
}
MODEL = {
    **OWN,
    "objective": None,
    "epochs": 10,
    "output": "results/tune-model",
    # At 0 the dropout to beat would be none.
    "rate": (0.05, 0.5),
}


def add(commands):
    """Adds `tune` to the commands."""
    tune = commands.add_parser(
        "tune",
        usage="dropx tune [OPTION ...]",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        # One more than the default, for --backward-rate.
        formatter_class=functools.partial(
            argparse.RawDescriptionHelpFormatter, max_help_position=25
        ),
    )
    add_own(tune, shown=False)
    for name, choices, default, shown in (
        ("method", METHODS, "any", ", ".join(METHODS)),
        ("tuner", TUNERS, "random", ", ".join(TUNERS)),
    ):
        tune.add_argument(
            f"--{name}",
            choices=choices,
            default=default,
            metavar="NAME",
            help=f"{shown} (default: {default})",
        )
    tune.add_argument(
        "--network",
        choices=NETWORKS,
        metavar="NAME",
        help="of keras_dropx.experiments.networks (default: mlp)",
    )
    tune.add_argument(
        "--objective",
        type=text,
        metavar="NAME",
        help="val_accuracy, val_loss (default: val_accuracy)",
    )
    for name, value, text_of in (
        ("trials", 20, "trials of each of the two searches"),
        ("executions", 2, "trainings a trial"),
    ):
        tune.add_argument(
            f"--{name}",
            type=positive,
            default=value,
            metavar="N",
            help=f"{text_of} (default: {value})",
        )
    tune.add_argument(
        "--seeds",
        type=seeds,
        default=5,
        metavar="N",
        help="fresh seeds of the comparison (default: 5)",
    )
    tune.add_argument(
        "--epochs",
        type=positive,
        metavar="N",
        help="epochs, Hyperband's most (default: the network's own)",
    )
    for name, (low, high), _, text_of in RANGES:
        tune.add_argument(
            f"--{name.replace('_', '-')}",
            nargs=2,
            type=number,
            default=None if name == "rate" else (low, high),
            metavar=("LO", "HI"),
            help=f"range of {text_of} (default: {low:g} {high:g})",
        )
    tune.add_argument(
        "--seed",
        type=integer(0, 2**31 - 1, "an integer from 0 to 2147483647"),
        default=0,
        metavar="N",
        help="of split, proposals and trainings (default: 0)",
    )
    tune.add_argument(
        "--output",
        type=text,
        metavar="DIR",
        help="folder of all that is kept (default: results/tune)",
    )
    tune.add_argument(
        "--overwrite",
        action="store_true",
        help="remove the search in that folder and start afresh",
    )
    tune.add_argument(
        "--workers",
        type=integer(0, 1000, "how many processes, 0 to 1000"),
        metavar="N",
        help="start a chief and N worker processes here",
    )
    tune.add_argument(
        "--chief",
        type=address,
        metavar="ADDRESS:PORT",
        help="its place, no authentication (default: 127.0.0.1)",
    )
    tune.add_argument(
        "--worker-id",
        type=text,
        metavar="NAME",
        help="join the chief under this name, no other worker's",
    )
    add_data(tune, (None, "digits, embedded"), (None, "300"))
    add_training(tune)
    tune.set_defaults(run="tune.run", check=functools.partial(check, tune))


def address(received):
    """Returns the pair of an address and a port, with room for one more."""
    place, _, port = received.rpartition(":")
    if place and port.isdecimal() and len(port) < 6 and 0 < int(port) < 65535:
        return place, int(port)
    raise wrong("ADDRESS:PORT such as 127.0.0.1:8000", received)


def check(parser, options):
    """Refuses options that do not fit each other."""
    own = check_own(parser, options, MODEL, BUILT_IN)
    if own:
        _check_own(parser, options)
    elif options.objective not in OBJECTIVES:
        parser.error(
            f"argument --objective: invalid choice: {options.objective!r} "
            f"(choose from {', '.join(map(repr, OBJECTIVES))})"
        )
    elif isinstance(options.seeds, tuple):
        parser.error("--seeds FIRST:MOST goes with --model")
    for name, _, expected, _ in RANGES:
        low, high = getattr(options, name)
        setattr(options, name, (low, high))
        if (
            low >= high
            or low < 0
            or (low == 0 and name == "backward_rate")
            or (high >= 1 and name != "sigma")
        ):
            parser.error(
                f"argument --{name.replace('_', '-')}: expected {expected}, "
                f"received {low:g} {high:g}"
            )
    if options.worker_id is not None and options.chief is None:
        parser.error("--worker-id joins a chief: give its --chief too")
    if options.worker_id is not None and options.workers is not None:
        parser.error("give --workers to start, or --worker-id to join")
    if options.worker_id is None and options.workers is None and options.chief:
        parser.error(
            "--chief needs --workers N (start it here) or --worker-id NAME "
            "(join it)"
        )


def _check_own(parser, options):
    if options.model.endswith(".keras"):
        parser.error(
            "--model: expected FILE.py:FUNCTION, for each trial builds the "
            f"model anew, received {options.model!r}"
        )
    if options.rate[0] == 0:
        parser.error("argument --rate: expected 0 < LO with --model")
    if options.objective is not None:
        name, colon, direction = options.objective.partition(":")
        if not name.startswith("val_") or (
            colon and direction not in ("max", "min")
        ):
            parser.error(
                "--objective: expected val_NAME, val_NAME:max or val_NAME:min"
            )
        options.objective = (name, direction) if colon else name
