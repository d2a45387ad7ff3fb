"""The papers' tables and figures, as data: what `dropx reproduce` runs."""

import csv
import dataclasses
import difflib
from functools import cache
from importlib import resources

from keras_dropx.errors import UserError
from keras_dropx.experiments.papers import (
    augmented,
    gaaf,
    jumpout,
    srivastava,
)
from keras_dropx.experiments.papers.digits import on_digits
from keras_dropx.experiments.papers.recipe import Recipe, on_dataset
from keras_dropx.experiments.plan import Contrast, Deviation

__all__ = ["RECIPES", "Deviation", "Recipe", "find", "printed_results"]


def find(name, dataset=None):
    """Returns a recipe, for another data set than the paper's if one is given.

    Args:
        name: Key of `RECIPES`.
        dataset: TFDS name, or None.

    Raises:
        UserError: If there is no such recipe, or it cannot be run on that data
            set.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(str(name), RECIPES, 3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UserError(f"no recipe '{name}'; dropx list shows them all{hint}")
    recipe = RECIPES[name]
    if dataset is None:
        return recipe
    try:
        if dataset == "digits":
            return on_digits(recipe)
        return on_dataset(recipe, dataset)
    except ValueError as error:
        raise UserError(f"{name} on {dataset}: {error}") from None


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
    """Returns the recipe, each plan with the contrasts of its methods."""
    plans = []
    for plan in recipe.plans:
        names = [method.name for method in plan.methods]
        found = tuple(claim for claim in claims if claim.pairs(names))
        plans.append(dataclasses.replace(plan, contrasts=found))
    return dataclasses.replace(recipe, plans=tuple(plans))


_CLAIMS = _claims()
RECIPES = {
    recipe.name: _with_claims(recipe, _CLAIMS.get(recipe.name, ()))
    for paper in (augmented, jumpout, gaaf, srivastava)
    for recipe in paper.RECIPES
}
