"""The command `dropx`."""

import argparse
import sys

from keras_dropx import __version__
from keras_dropx.commands import compare, reproduce, tune
from keras_dropx.errors import ProcessError, UserError


def main(arguments=None):
    """Runs the command line and returns its exit code.

    A mistake of the user's is one line on stderr and exit code 2.
    """
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except UserError as error:
        print(f"dropx: {error}", file=sys.stderr)
        return 2
    except ProcessError as error:
        print(f"dropx: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(f"dropx: {place}{error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("dropx: interrupted; the same command goes on", file=sys.stderr)
        return 130
    return 0


def _parser():
    parser = _Parser(
        prog="dropx", description="Experiments with dropout in Keras 3."
    )
    parser.add_argument(
        "--version", action="version", version=f"dropx {__version__}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (compare, tune, reproduce):
        command.add(commands)
    return parser


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage around it."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (--help shows the usage)\n")


if __name__ == "__main__":
    sys.exit(main())
