import argparse
import functools
import sys

from keras_dropx.commands.arguments import add_data, positive
from keras_dropx.errors import UserError

DESCRIPTION = """\
Search the method and its hyperparameters, and plain dropout's by as many
trials; then train both winners anew on fresh seeds and compare them on test
images that no search saw. The same command goes on after any interruption.

--workers runs trials in processes here, beside a chief; other machines join by
--chief, --worker-id, the same other arguments and an --output that all see.
The chief has no authentication: whoever reaches its port can take part.
"""

EXAMPLES = """\
examples:
  dropx tune --method jumpout --network convnet_bn --sigma 0.05 0.4
  dropx tune --method augmented --tuner bayesian --trials 40 --workers 2
  dropx tune --workers 4 --chief 10.0.0.5:8000 --output /shared/tune
  dropx tune --chief 10.0.0.5:8000 --worker-id node2-0 --output /shared/tune
"""


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
    methods = ("any", "dropout", "forward", "backward", "augmented", "jumpout")
    tune.add_argument(
        "--method",
        choices=methods,
        default="any",
        metavar="NAME",
        help=f"{', '.join(methods)} (default: any)",
    )
    tuners = ("random", "bayesian", "hyperband", "grid")
    tune.add_argument(
        "--tuner",
        choices=tuners,
        default="random",
        metavar="NAME",
        help=f"{', '.join(tuners)} (default: random)",
    )
    networks = ("mlp", "convnet_bn")
    tune.add_argument(
        "--network",
        choices=networks,
        default="mlp",
        metavar="NAME",
        help=f"{', '.join(networks)} (default: mlp)",
    )
    objectives = ("val_accuracy", "val_loss")
    tune.add_argument(
        "--objective",
        choices=objectives,
        default="val_accuracy",
        metavar="NAME",
        help=f"{', '.join(objectives)} (default: val_accuracy)",
    )
    for name, value, text in (
        ("trials", 20, "trials of each of the two searches"),
        ("executions", 2, "trainings a trial"),
        ("seeds", 5, "fresh seeds of the comparison"),
    ):
        tune.add_argument(
            f"--{name}",
            type=positive,
            default=value,
            metavar="N",
            help=f"{text} (default: {value})",
        )
    tune.add_argument(
        "--epochs",
        type=positive,
        metavar="N",
        help="epochs, Hyperband's most (default: the network's own)",
    )
    for name, low, high, text in (
        ("rate", 0.0, 0.5, "drop rates"),
        ("backward-rate", 1e-5, 1e-2, "the backward ratio"),
        ("sigma", 0.05, 0.5, "Jumpout's sigma"),
    ):
        tune.add_argument(
            f"--{name}",
            nargs=2,
            type=float,
            default=(low, high),
            metavar=("LO", "HI"),
            help=f"range of {text} (default: {low:g} {high:g})",
        )
    tune.add_argument(
        "--seed",
        type=seed,
        default=0,
        metavar="N",
        help="of split, proposals and trainings (default: 0)",
    )
    tune.add_argument(
        "--output",
        default="results/tune",
        metavar="DIR",
        help="folder of all that is kept (default: results/tune)",
    )
    tune.add_argument(
        "--overwrite",
        action="store_true",
        help="forget the search in that folder and start afresh",
    )
    tune.add_argument(
        "--workers",
        type=workers,
        metavar="N",
        help="start a chief and N worker processes here",
    )
    tune.add_argument(
        "--chief",
        type=address,
        metavar="ADDRESS:PORT",
        help="the chief's place (default: 127.0.0.1, a free port)",
    )
    tune.add_argument(
        "--worker-id",
        metavar="NAME",
        help="join the chief under this name, no other worker's",
    )
    add_data(tune)
    tune.set_defaults(run=run)


def seed(text):
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(
            f"expected an integer from 0 to 2147483647, received {text!r}"
        )
    return int(text)


def workers(text):
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(
            f"expected how many processes, 0 or more, received {text!r}"
        )
    return int(text)


def address(text):
    address, _, port = text.rpartition(":")
    if not address or not port.isdecimal() or not 0 < int(port) < 65535:
        raise argparse.ArgumentTypeError(
            f"expected ADDRESS:PORT such as 127.0.0.1:8000, received {text!r}"
        )
    return address, int(port)


def run(options):
    try:
        from keras_dropx import tuner  # noqa: F401
    except ImportError as error:
        raise UserError(str(error)) from None
    from keras_dropx.experiments.search import NETWORKS, Settings
    from keras_dropx.experiments.tune import tune

    if options.worker_id is not None and options.chief is None:
        raise UserError("--worker-id joins a chief: give its --chief too")
    if options.worker_id is not None and options.workers is not None:
        raise UserError("give --workers to start, or --worker-id to join")
    if options.worker_id is None and options.workers is None and options.chief:
        raise UserError(
            "--chief needs --workers N (start it here) or --worker-id NAME "
            "(join it)"
        )
    settings = Settings(
        dataset=options.dataset,
        train_size=options.train_size,
        network=options.network,
        method=options.method,
        tuner=options.tuner,
        executions=options.executions,
        epochs=options.epochs or NETWORKS[options.network].epochs,
        objective=options.objective,
        seed=options.seed,
        rate=tuple(options.rate),
        backward_rate=tuple(options.backward_rate),
        sigma=tuple(options.sigma),
    )
    tune(
        settings,
        options.trials,
        options.seeds,
        options.output,
        options.overwrite,
        options.workers,
        options.chief,
        options.worker_id,
        _same_command(options),
        options.data_dir,
        options.download,
    )


def _same_command(options):
    """Returns the command of a process that takes part in this search."""
    command = [sys.executable, "-m", "keras_dropx.cli", "tune"]
    for name in (
        "dataset",
        "train_size",
        "data_dir",
        "network",
        "method",
        "tuner",
        "trials",
        "executions",
        "epochs",
        "objective",
        "seed",
        "rate",
        "backward_rate",
        "sigma",
        "output",
    ):
        value = getattr(options, name)
        if value is not None:
            values = value if isinstance(value, (tuple, list)) else [value]
            flag = f"--{name.replace('_', '-')}"
            command += [flag, *map(str, values)]
    return command
