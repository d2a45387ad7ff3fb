"""What the commands that train have in common."""

import contextlib
import fcntl
import sys
from pathlib import Path

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

from keras_dropx.errors import UserError


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


@contextlib.contextmanager
def locked(output, command, remedy="Wait for it, or give another --output"):
    """Keeps a second command out of a folder, which is made.

    Args:
        output: Path of the folder.
        command: String, what works in it.
        remedy: String, what the user can do.

    Raises:
        UserError: If another process works there.
    """
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    with (output / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another {command} works in {output}. {remedy}"
            ) from None
        except OSError:
            pass  # Some network file systems have no locks.
        yield


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
