import argparse

from dropx.arguments import add_data, add_training, positive, text

REPRODUCE = """\
Run a table or a figure of a paper.

Every run is a line of runs.jsonl in the output folder; the same command skips
what is done, and goes on in the middle of a run that was killed. `dropx
report` makes tables and figures of it.
"""

REPRODUCE_EXAMPLES = """\
examples:
  dropx reproduce augmented-table-3 --download
  dropx reproduce jumpout-table-1 --dataset digits --seeds 10
  dropx reproduce augmented-table-2 --precision mixed_bfloat16 --jit
  dropx report results/reproduce
"""

REPORT = """\
Write report.md, a page of each paper, their figures and a self-contained
report.html into the folder.
"""


def add(commands):
    """Adds `list`, `reproduce` and `report` to the commands."""
    shown = commands.add_parser(
        "list",
        usage="dropx list",
        description="Show all recipes: data set, network, runs and cost.",
        epilog="examples:\n  dropx list",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shown.set_defaults(run="reproduce.show")
    reproduce = commands.add_parser(
        "reproduce",
        usage="dropx reproduce RECIPE [OPTION ...]",
        description=REPRODUCE,
        epilog=REPRODUCE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    reproduce.add_argument(
        "recipe",
        type=text,
        metavar="RECIPE",
        help="a name that dropx list shows",
    )
    reproduce.add_argument(
        "--seeds",
        type=positive,
        metavar="N",
        help="runs a method, paired by seed (default: the paper's number)",
    )
    reproduce.add_argument(
        "--epochs",
        type=positive,
        metavar="N",
        help="epochs of training (default: the recipe's)",
    )
    reproduce.add_argument(
        "--output",
        type=text,
        default="results/reproduce",
        metavar="DIR",
        help="folder of runs.jsonl (default: results/reproduce)",
    )
    reproduce.add_argument(
        "--weights",
        type=text,
        metavar="FILE",
        help="weights to start from, as Keras saves them",
    )
    add_data(
        reproduce,
        dataset=(None, "the paper's; digits is embedded"),
        train_size=(None, "all, of digits 300"),
    )
    add_training(reproduce)
    reproduce.set_defaults(run="reproduce.run")
    report = commands.add_parser(
        "report",
        usage="dropx report DIR",
        description=REPORT,
        epilog="examples:\n  dropx report results/reproduce",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    report.add_argument(
        "folder", type=text, metavar="DIR", help="folder of runs.jsonl"
    )
    report.set_defaults(run="reproduce.make_report")
