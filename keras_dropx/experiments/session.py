"""What the commands that train have in common."""

import sys

import keras
import tensorflow as tf
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)


def start(precision, jit):
    """Sets Keras up for trainings.

    Args:
        precision: Name of a Keras dtype policy.
        jit: Whether the trainings are compiled with XLA.

    Returns:
        Dict of what the records of these trainings share.
    """
    backend = keras.config.backend()
    if backend != "tensorflow":
        # It only feeds the data, and would take all memory of a GPU.
        tf.config.set_visible_devices([], "GPU")
    # It takes the compilation of many models for one that retraces.
    tf.get_logger().setLevel("ERROR")
    keras.config.set_dtype_policy(precision)
    return {"precision": precision, "jit": jit, "backend": backend}


def make_console(width=120):
    """Returns the console of a command.

    Args:
        width: Integer, in characters, where the output is a pipe, which has
            no width of its own.
    """
    return Console(width=None if sys.stdout.isatty() else width)


def progress_bar(console):
    """Returns a `rich.progress.Progress` that counts epochs."""
    return Progress(
        TextColumn("{task.description:<50}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeRemainingColumn(),
        console=console,
    )
