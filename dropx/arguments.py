"""Arguments that several commands take, and their types."""

import argparse
import math

BACKENDS = ("tensorflow", "jax", "torch")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
MOST = 10**9
# Of what was received, characters that an error shows.
SHOWN = 60


def add_data(
    parser,
    dataset=("digits", "digits, embedded"),
    train_size=(300, "300"),
):
    """Adds which images to train on.

    Args:
        parser: `argparse.ArgumentParser`.
        dataset: Pair, the default and what the help says of it.
        train_size: Pair, likewise.
    """
    parser.add_argument(
        "--dataset",
        type=text,
        default=dataset[0],
        metavar="NAME",
        help=f"TensorFlow Datasets name (default: {dataset[1]})",
    )
    parser.add_argument(
        "--train-size",
        type=positive,
        default=train_size[0],
        metavar="N",
        help=f"training images (default: {train_size[1]})",
    )
    parser.add_argument(
        "--data-dir",
        type=text,
        metavar="DIR",
        help="folder of prepared data sets (default: that of TFDS)",
    )
    parser.add_argument(
        "--download",
        action="store_true",
        help="allow TFDS to download the data set",
    )
    parser.add_argument(
        "--source",
        type=text,
        metavar="FOLDER",
        help="folder of the data set's original files",
    )


def add_training(parser):
    """Adds how to compile, and on which backend."""
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        metavar="POLICY",
        help="float32 (default), mixed_bfloat16 or mixed_float16",
    )
    parser.add_argument(
        "--jit", action="store_true", help="compile with XLA on a CPU too"
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        metavar="NAME",
        help="tensorflow, jax or torch (default: that of Keras)",
    )


def add_own(parser, shown=True):
    """Adds a model and data of the user's own; `check_own` sets defaults.

    Args:
        parser: `argparse.ArgumentParser`.
        shown: Whether each has a line in the help.
    """
    parser.add_argument(
        "--model",
        type=model,
        metavar="FILE",
        help="compiled .keras file; or FILE.py:FUNCTION (runs it)"
        if shown
        else argparse.SUPPRESS,
    )
    parser.add_argument(
        "--data",
        type=text,
        metavar="FILE",
        help=".npz, .csv, or a folder of images, a subfolder a class"
        if shown
        else argparse.SUPPRESS,
    )
    parser.add_argument(
        "--target",
        type=text,
        metavar="COLUMN",
        help="column of a .csv file that is to be predicted"
        if shown
        else argparse.SUPPRESS,
    )
    parser.add_argument(
        "--standardize",
        action="store_true",
        help="its other columns to mean 0 and variance 1 in training"
        if shown
        else argparse.SUPPRESS,
    )
    parser.add_argument(
        "--test-share",
        type=share,
        metavar="SHARE",
        help="of data that name no test data (default: 0.2)"
        if shown
        else argparse.SUPPRESS,
    )
    parser.add_argument(
        "--batch-size",
        type=positive,
        metavar="N",
        help="of --data, in samples (default: 32)"
        if shown
        else argparse.SUPPRESS,
    )


OWN = {
    "target": None,
    "standardize": False,
    "test_share": 0.2,
    "batch_size": 32,
}


def check_own(parser, options, own, built_in):
    """Refuses options of the other kind of a command; fills in defaults.

    Args:
        parser: `argparse.ArgumentParser`.
        options: Its `argparse.Namespace`.
        own: Dict of the defaults with --model and --data; those that
            `built_in` has not go with these alone.
        built_in: Dict of the defaults without; likewise.

    Returns:
        Whether there is a model of the user's own.
    """
    given = options.model is not None
    if given != (options.data is not None):
        parser.error("--model and --data go together: give both")
    mine, others = (own, built_in) if given else (built_in, own)
    for name in others:
        if name not in mine and getattr(options, name) not in (None, False):
            verb = "does not go" if given else "goes"
            parser.error(f"--{name.replace('_', '-')} {verb} with --model")
    for name, default in mine.items():
        if getattr(options, name) in (None, False):
            setattr(options, name, default)
    if not given:
        return False
    if not options.data.endswith(".csv"):
        for name in ("target", "standardize"):
            if getattr(options, name):
                parser.error(f"--{name} goes with a .csv file")
    if options.model.endswith(".keras") and options.precision != "float32":
        parser.error("--precision: a .keras file has its own; leave it out")
    return True


def integer(lowest, highest, expected):
    """Returns a type: integers between two limits.

    Args:
        lowest: Integer.
        highest: Integer.
        expected: String, what an error says was expected.
    """

    def convert(received):
        # Python refuses to read more than 4,300 digits.
        if received.isdecimal() and len(received) < 100:
            value = int(received)
            if lowest <= value <= highest:
                return value
        raise wrong(expected, received)

    return convert


positive = integer(1, MOST, f"a positive integer up to {MOST}")


COUNT = f"a positive integer up to {MOST}, or FIRST:MOST such as 5:40"


def seeds(received):
    """Returns how many, or a pair: look after so many, and run on to those."""
    first, colon, most = received.partition(":")
    try:
        if not colon:
            return positive(first)
        pair = positive(first), positive(most)
    except argparse.ArgumentTypeError:
        raise wrong(COUNT, received) from None
    if not 2 <= pair[0] <= pair[1]:
        raise wrong("FIRST:MOST with 2 <= FIRST <= MOST", received)
    return pair


def share(received):
    """Returns a float between 0 and 1."""
    value = number(received)
    if not 0 < value < 1:
        raise wrong("a number between 0 and 1", received)
    return value


def above_zero(received):
    """Returns a positive float."""
    value = number(received)
    if value <= 0:
        raise wrong("a number above 0", received)
    return value


def model(received):
    """Returns the place of a model: a .keras file, or a function in a .py."""
    path, colon, name = text(received).rpartition(":")
    is_function = path.endswith(".py") and name.isidentifier()
    if not is_function and not received.endswith(".keras"):
        raise wrong("FILE.keras, or FILE.py:FUNCTION", received)
    return received


def number(received):
    """Returns a finite float."""
    try:
        value = float(received)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise wrong("a finite number", received)
    return value


def text(received):
    """Returns a name or a path: an unset variable of a shell is none."""
    if not received.strip():
        raise wrong("a name", received)
    return received


def wrong(expected, received):
    """Returns the error of an argument, for a type to raise."""
    if len(received) > SHOWN:
        received = f"{received[:SHOWN]}…"
    return argparse.ArgumentTypeError(
        f"expected {expected}, received {received!r}"
    )
