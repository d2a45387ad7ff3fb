"""The command `dropx`."""

import argparse
import sys

COMPARE = """\
Train plain dropout and its relatives side by side on a small training set.

Three panels, each about one claim: *masks* (which pass of dropout helps),
*batchnorm* (better weights or repaired statistics) and *saturation* (GAAF or
only a larger gradient). Every run is a line of runs.jsonl in the output
folder; the same command skips what is done, and goes on with the rest.
"""

COMPARE_EXAMPLES = """\
examples:
  dropx compare
  dropx compare --panels masks --seeds 10 --output results/masks
  dropx compare --dataset mnist --download --train-size 1000
"""


def main(arguments=None):
    """Runs the command line and returns its exit code.

    A mistake of the user's is one line on stderr and exit code 2.
    """
    options = _parser().parse_args(arguments)
    from keras_dropx.experiments.datasets import DatasetError

    try:
        options.run(options)
    except DatasetError as error:
        print(f"dropx: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"dropx: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("dropx: interrupted; the same command goes on", file=sys.stderr)
        return 130
    return 0


def _parser():
    from keras_dropx import __version__

    parser = _Parser(
        prog="dropx", description="Experiments with dropout in Keras 3."
    )
    parser.add_argument(
        "--version", action="version", version=f"dropx {__version__}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    compare = commands.add_parser(
        "compare",
        help="train the methods side by side",
        description=COMPARE,
        epilog=COMPARE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    panels = ("masks", "batchnorm", "saturation")
    compare.add_argument(
        "--panels",
        nargs="+",
        choices=panels,
        default=panels,
        metavar="PANEL",
        help="which of masks, batchnorm, saturation (default: all)",
    )
    compare.add_argument(
        "--dataset",
        default="digits",
        metavar="NAME",
        help="any image set of TensorFlow Datasets (default: digits, embedded)",
    )
    compare.add_argument(
        "--seeds",
        type=_positive,
        default=3,
        metavar="N",
        help="runs of each arm, paired by seed (default: 3, a demonstration)",
    )
    compare.add_argument(
        "--epochs",
        type=_positive,
        metavar="N",
        help="epochs of training (default: each panel's own)",
    )
    compare.add_argument(
        "--train-size",
        type=_positive,
        default=300,
        metavar="N",
        help="training images (default: 300)",
    )
    compare.add_argument(
        "--output",
        default="results/compare",
        metavar="DIR",
        help="folder of runs.jsonl and figures (default: results/compare)",
    )
    compare.add_argument(
        "--data-dir",
        metavar="DIR",
        help="folder of prepared data sets (default: that of TFDS)",
    )
    compare.add_argument(
        "--download",
        action="store_true",
        help="allow TFDS to download the data set",
    )
    compare.set_defaults(run=_compare)
    return parser


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage around it."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (--help shows the usage)\n")


def _positive(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"expected a positive integer, received {text!r}"
        )
    return int(text)


def _compare(options):
    from keras_dropx.experiments.compare import compare

    compare(
        options.panels,
        options.dataset,
        options.seeds,
        options.epochs,
        options.train_size,
        options.output,
        options.data_dir,
        options.download,
    )


if __name__ == "__main__":
    sys.exit(main())
