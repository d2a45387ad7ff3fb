"""What a command prints once its runs are there."""

from keras_dropx.experiments.report.contrast_table import contrast_table
from keras_dropx.experiments.report.method_table import (
    layer_table,
    method_table,
)
from keras_dropx.experiments.report.sentence import noise_floor, sentence
from keras_dropx.experiments.report.text import rich_text


def results(plan, records, recipe=None, looks=1):
    """Lists what is said of a plan: strings, and `Table`s."""
    parts = [sentence(plan, records, looks)]
    parts.append(method_table(plan, records, recipe))
    if recipe is not None:
        parts.append(layer_table(recipe, records))
    if plan.contrasts:
        parts.append(contrast_table(plan, records, looks))
    parts.append(noise_floor(plan, records))
    return [part for part in parts if part]


def show(plan, records, console, recipe=None, looks=1):
    """Prints the sentence, the tables and the noise floor of a plan.

    The `rich.console.Console` may have any width: no number is cut.
    """
    parts = [f"{plan.name}: no run yet"]
    if records:
        parts = results(plan, records, recipe, looks)
    for part in parts:
        console.print(rich_text(part) if isinstance(part, str) else part)
