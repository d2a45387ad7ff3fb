"""The command `dropx`: parses, and only then imports what it needs.

Importing any part of `keras_dropx` imports Keras, which takes seconds and asks
for its backend once. So the parsers are here, and nothing else is.
"""

import contextlib
import importlib
import importlib.util
import os
import shlex
import sys

from dropx.arguments import BACKENDS
from dropx.parser import make_parser, parse


def main(arguments=None):
    """Runs the command line and returns its exit code.

    A mistake of the user's is one line on stderr and exit code 2. So is
    output that cannot be written; of a reader that has left, such as `head`,
    nothing is said, and the code is 1, as Rich has it.

    Args:
        arguments: List of strings, or None for those of the process.
    """
    if not _open_streams():
        return _fail("standard output is closed", 2)
    code = 0
    try:
        try:
            code = _run(sys.argv[1:] if arguments is None else arguments)
            return code
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _forget(sys.stdout)
        return 1
    except OSError as error:
        _forget(sys.stdout)
        # With a code, its line is written already.
        return code or _fail(f"standard output: {error.strerror}", 2)


def _run(arguments):
    if not arguments:
        make_parser().print_help(sys.stderr)
        return 2
    options = parse(arguments)
    options.command = shlex.join(["dropx", *arguments])
    try:
        problem = _choose_backend(getattr(options, "backend", None))
        if problem is not None:
            return _fail(problem, 2)
        command = _import(options.run)
    except ModuleNotFoundError as error:
        return _fail(
            f"{error.name} is not installed: pip install {error.name}, "
            "or set KERAS_BACKEND to the backend that is",
            2,
        )
    except KeyboardInterrupt:
        return _fail("interrupted before it began", 130)
    # Tables have signs that the encoding of the user's terminal may lack.
    sys.stdout.reconfigure(errors="replace")
    from keras_dropx.errors import ProcessError, UserError

    try:
        command(options)
    except UserError as error:
        return _fail(error, 2)
    except ProcessError as error:
        return _fail(error, 1)
    except ModuleNotFoundError as error:
        return _fail(
            f"{error.name} is not installed: pip install "
            "'keras-dropx[experiments,tuner]'",
            2,
        )
    except BrokenPipeError:
        raise
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(f"{place}{error.strerror or error}", 2)
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on", 130)
    return 0


def _open_streams():
    """Opens closed standard streams; returns whether there is an output.

    Else the next file that is opened, of records or of weights, would take
    the place of one and get what C++ prints.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(descriptor)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)
        return False
    return True


def _fail(message, code):
    # Names that the user gave and errors of libraries may have line breaks.
    try:
        print("dropx:", " ".join(str(message).split()), file=sys.stderr)
    except OSError:
        _forget(sys.stderr)
    return code


def _forget(stream):
    # Python would try to write it again at its exit, and complain.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _choose_backend(backend):
    """Tells Keras the backend; returns what speaks against it, or None."""
    keras = sys.modules.get("keras")
    if keras is not None:
        loaded = keras.config.backend()
        if backend in (None, loaded):
            return None
        return (
            f"--backend {backend}: this process runs on {loaded} by now. Use "
            "the program dropx, or set KERAS_BACKEND"
        )
    backend = backend or os.environ.get("KERAS_BACKEND")
    if not backend:
        return None
    if backend not in BACKENDS:
        return (
            f"expected a backend among {', '.join(BACKENDS)}, received "
            f"{backend!r}"
        )
    if importlib.util.find_spec(backend) is None:
        return f"the backend {backend} is not installed: pip install {backend}"
    os.environ["KERAS_BACKEND"] = backend


def _import(place):
    """Returns the function at "module.function" of `keras_dropx.commands`."""
    module, name = place.split(".")
    with _no_startup_messages():
        command = importlib.import_module(f"keras_dropx.commands.{module}")
        # On every backend it feeds the data.
        with contextlib.suppress(ImportError):
            import tensorflow

            # Without a GPU the first look for one writes a line.
            tensorflow.config.list_physical_devices()
    return getattr(command, name)


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
