"""The papers' tables and figures, as data: what `dropx reproduce` runs."""

import csv
from functools import cache
from importlib import resources

from keras_dropx.errors import UserError
from keras_dropx.experiments.panel import Contrast
from keras_dropx.experiments.recipes import (
    augmented,
    gaaf,
    jumpout,
    srivastava,
)
from keras_dropx.experiments.recipes.digits import on_digits
from keras_dropx.experiments.recipes.recipe import (
    Choice,
    Recipe,
    on_dataset,
)

__all__ = ["RECIPES", "Choice", "Recipe", "find", "printed_results"]


def find(name, dataset=None):
    """Returns a recipe, for another data set than the paper's if one is given.

    Args:
        name: Key of `RECIPES`.
        dataset: TFDS name, or None.

    Raises:
        UserError: If there is no such recipe.
    """
    if name not in RECIPES:
        raise UserError(f"no recipe '{name}'; dropx list shows them all")
    recipe = RECIPES[name]
    if dataset == "digits":
        return on_digits(recipe)
    return recipe if dataset is None else on_dataset(recipe, dataset)


@cache
def printed_results():
    """Returns the rows of `results.csv`, dicts of strings.

    Every number of the papers' tables: paper, table, network, dataset,
    method, setting, metric, value, std, runs, source_note.
    """
    return _read("results.csv")


def _read(name):
    text = resources.files(__name__).joinpath(name).read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


def _claims():
    """Returns the contrasts of `claims.csv` by recipe."""
    claims = {}
    for row in _read("claims.csv"):
        claims.setdefault(row.pop("recipe"), []).append(
            Contrast(**{**row, "margin": float(row["margin"])})
        )
    return claims


def _with_claims(recipe, claims):
    """Returns the recipe, each panel with the contrasts of its arms."""
    panels = tuple(
        panel._replace(
            contrasts=tuple(
                claim
                for claim in claims
                if claim.pairs([arm.name for arm in panel.arms])
            )
        )
        for panel in recipe.panels
    )
    return recipe._replace(panels=panels)


_CLAIMS = _claims()
RECIPES = {
    recipe.name: _with_claims(recipe, _CLAIMS.get(recipe.name, ()))
    for paper in (augmented, jumpout, gaaf, srivastava)
    for recipe in paper.RECIPES
}
