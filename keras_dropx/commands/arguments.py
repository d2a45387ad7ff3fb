"""Arguments that several commands take."""

import argparse

from keras_dropx.errors import UserError

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


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
        metavar="DIR",
        help="folder of prepared data sets (default: that of TFDS)",
    )
    parser.add_argument(
        "--download",
        action="store_true",
        help="allow TFDS to download the data set",
    )


def add_training(parser):
    """Adds how to compile, and on which backend."""
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        metavar="POLICY",
        help=f"which of {', '.join(PRECISIONS)} (default: float32)",
    )
    parser.add_argument(
        "--jit", action="store_true", help="compile with XLA on a CPU too"
    )
    parser.add_argument(
        "--backend",
        metavar="NAME",
        help="which of tensorflow, jax, torch (default: that of Keras)",
    )


def check_backend(options):
    """Refuses a backend that came too late.

    Raises:
        UserError: If Keras is imported with another one.
    """
    import keras

    backend = keras.config.backend()
    if options.backend not in (None, backend):
        raise UserError(
            f"--backend {options.backend}: this process runs on {backend} by "
            "now. Use the program dropx, or set KERAS_BACKEND"
        )


def positive(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"expected a positive integer, received {text!r}"
        )
    return int(text)
