"""The parser of `dropx` and its commands; it imports nothing of Keras."""

import argparse
import importlib.util
import pathlib
import re

from dropx import compare, reproduce, tune

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


def parse(arguments):
    """Returns the options of a command line.

    Args:
        arguments: List of strings.

    Raises:
        SystemExit: If it is wrong, with code 2 and one line on stderr, or
            asks for the help or the version.
    """
    options = make_parser().parse_args(arguments)
    if hasattr(options, "check"):
        options.check(options)
    return options


def make_parser():
    """Returns the `argparse.ArgumentParser` of all commands.

    The options of a command have `run`: "module.function" of
    `keras_dropx.commands`.
    """
    parser = _Parser(
        prog="dropx",
        usage="dropx [--help] [--version] COMMAND ...",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action=_Version, help="show the version and exit"
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


class _Version(argparse.Action):
    def __init__(self, option_strings, dest, help):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser, namespace, values, option_string=None):
        print(f"dropx {_version()}")
        parser.exit()


def _version():
    """Returns the version of the code that runs, read as setup.py reads it.

    Metadata of an installation may be another version's.
    """
    source = pathlib.Path(importlib.util.find_spec("keras_dropx").origin)
    pattern = r'^__version__ = "(.+)"$'
    return re.search(pattern, source.read_text("utf-8"), re.MULTILINE).group(1)
