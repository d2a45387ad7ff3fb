"""What the papers print of a recipe: the rows of `results.csv`."""

from typing import NamedTuple

from keras_dropx.experiments import papers


class Printed(NamedTuple):
    """How a number of `results.csv` is shown beside ours.

    Attributes:
        text: Its name and unit.
        scale: What it is multiplied by.
        offset: What is added.
        digits: Decimals shown.
    """

    text: str
    scale: float
    offset: float
    digits: int


PRINTED = {
    "test_accuracy": Printed("accuracy %", 100, 0, 2),
    "test_accuracy_percent": Printed("accuracy %", 1, 0, 2),
    "test_error_percent": Printed("accuracy %", -1, 100, 2),
    "train_accuracy_percent": Printed("train accuracy %", 1, 0, 1),
    "train_epochs": Printed("epochs to converge", 1, 0, 0),
}


def rows_of(recipe):
    """Lists the rows of `results.csv` that are of a recipe's tables."""
    return [
        row
        for row in papers.printed_results()
        if row["paper"] == recipe.paper and row["table"] in recipe.tables
    ]


def text_of(rows, method, network, dataset, text):
    """Returns what the paper prints for a method, "" where it does not."""
    for row in rows:
        printed = PRINTED.get(row["metric"])
        names = row["method"].split(" and ")
        if (
            printed is not None
            and (row["network"], row["dataset"]) == (network, dataset)
            and printed.text == text
            and method in [f"{name} {row['setting']}".strip() for name in names]
        ):
            value = printed.offset + printed.scale * float(row["value"])
            error = f" ± {row['std']}" if row["std"] else ""
            return f"{value:.{printed.digits}f}{error}"
    return ""


def original(recipe, plan):
    """Returns what a plan stands for in the paper.

    Returns:
        A tuple: the pairs (network, data set) as the paper prints them, and
        the recipe's own plan where the data set is the same, else None.
    """
    plans = [
        own
        for own in papers.find(recipe.name).plans
        if own.network is plan.network
    ]
    same = [
        own
        for own in plans
        if own.dataset == plan.dataset and own.options == plan.options
    ]
    if same:
        return [same[0].printed], same[0]
    return [own.printed for own in plans], None
