"""Starts the command `dropx`."""

import contextlib
import os


def main():
    with _no_startup_messages():
        from keras_dropx import cli
    return cli.main()


@contextlib.contextmanager
def _no_startup_messages():
    """Keeps TensorFlow's start-up messages from burying a user's error.

    Part of them obeys the environment variable; the rest is written by C++
    while it is imported. Python's exceptions are not affected.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
