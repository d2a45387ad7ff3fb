"""The command `dropx`."""

import argparse
import os
import sys

from keras_dropx import __version__
from keras_dropx.commands import compare, reproduce, tune
from keras_dropx.errors import ProcessError, UserError

DESCRIPTION = """\
Experiments with dropout in Keras 3.

commands:
  compare    train the methods side by side
  tune       search the hyperparameters, on one machine or many
  list       show the papers' tables and figures that can be run
  reproduce  run one of them
  report     make tables and figures of what was run
"""

EPILOG = """\
dropx COMMAND --help shows what a command takes.

exit codes:
  0    done
  1    a process of the command failed, or a reader of its output left
  2    a mistake in the arguments, the files or the machine, said in one line
  130  interrupted by Ctrl-C; the same command goes on

examples:
  dropx compare
  dropx tune --method jumpout --network convnet_bn
  dropx reproduce augmented-table-3 --dataset digits
  dropx report results/reproduce
"""


def main(arguments=None):
    """Runs the command line and returns its exit code.

    A mistake of the user's is one line on stderr and exit code 2. So is
    output that cannot be written; of a reader that has left, such as `head`,
    nothing is said, and the code is 1, as Rich has it.
    """
    code = 0
    try:
        try:
            code = _run(sys.argv[1:] if arguments is None else arguments)
            return code
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
        return 1
    except OSError as error:
        _forget_output()
        # With a code, its line is written already.
        return code or _fail(f"standard output: {error.strerror}", 2)


def _run(arguments):
    parser = _parser()
    if not arguments:
        parser.print_help(sys.stderr)
        return 2
    options = parser.parse_args(arguments)
    try:
        options.run(options)
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


def _fail(message, code):
    # Names that the user gave and errors of libraries may have line breaks.
    print("dropx:", " ".join(str(message).split()), file=sys.stderr)
    return code


def _forget_output():
    # Python would try to write it again at its exit, and complain.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _parser():
    parser = _Parser(
        prog="dropx",
        usage="dropx [--help] [--version] COMMAND ...",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"dropx {__version__}",
        help="show the version and exit",
    )
    # The description lists them.
    commands = parser.add_subparsers(
        prog="dropx",
        required=True,
        metavar="COMMAND",
        help=argparse.SUPPRESS,
    )
    for command in (compare, tune, reproduce):
        command.add(commands)
    return parser


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage around it."""

    def error(self, message):
        message = " ".join(message.split())
        self.exit(2, f"{self.prog}: {message} (--help shows the usage)\n")


if __name__ == "__main__":
    sys.exit(main())
