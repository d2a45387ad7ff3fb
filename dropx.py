"""Starts the command `dropx`."""

import argparse
import contextlib
import importlib.util
import os
import sys

BACKENDS = ("tensorflow", "jax", "torch")


def main():
    """Runs the command and returns its exit code."""
    # Keras asks for it once, when it is imported.
    backend = _asked_backend() or os.environ.get("KERAS_BACKEND")
    if backend:
        problem = _problem(backend)
        if problem is not None:
            print(f"dropx: {problem}", file=sys.stderr)
            return 2
        os.environ["KERAS_BACKEND"] = backend
    try:
        with _no_startup_messages():
            from keras_dropx import cli

            # On every backend it feeds the data.
            with contextlib.suppress(ImportError):
                import tensorflow

                # Without a GPU the first look for one writes a line.
                tensorflow.config.list_physical_devices()
    except ModuleNotFoundError as error:
        print(
            f"dropx: {error.name} is not installed: pip install {error.name}, "
            "or set KERAS_BACKEND to the backend that is",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("dropx: interrupted before it began", file=sys.stderr)
        return 130
    # Tables have signs that the encoding of the user's terminal may lack.
    sys.stdout.reconfigure(errors="replace")
    return cli.main()


def _asked_backend():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--backend", nargs="?")
    return parser.parse_known_args()[0].backend


def _problem(backend):
    if backend not in BACKENDS:
        return (
            f"expected a backend among {', '.join(BACKENDS)}, received "
            f"{backend!r}"
        )
    if importlib.util.find_spec(backend) is None:
        return f"the backend {backend} is not installed: pip install {backend}"
    return None


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


if __name__ == "__main__":
    sys.exit(main())
