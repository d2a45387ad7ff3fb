"""Which runs of a folder belong together: what a page is made of."""

import functools
import json
from types import SimpleNamespace

from keras_dropx.experiments import papers
from keras_dropx.experiments.papers.ours import PLANS
from keras_dropx.experiments.plan import Contrast
from keras_dropx.experiments.records import TRAINING, select

# What several runs of one plan have in common beside the plan itself.
SHARED = (
    "dataset",
    "data_version",
    "epochs",
    "train_size",
    "num_classes",
    "input_shape",
    "precision",
    "jit",
    "backend",
    "weights",
)
# What else makes runs of a plan that is known from its records alone.
SETTINGS = (
    *SHARED,
    "network",
    "measures",
    *TRAINING,
    "search_seed",
    "hyperparameters",
)


class FoundContrast(Contrast):
    """A contrast of methods that are in the records, whatever their names."""

    def __post_init__(self):
        pass

    def pairs(self, methods):
        """Returns the pair, if there are runs of both."""
        pair = (self.treatment, self.control)
        return [pair] if set(pair) <= set(methods) else []


def studies(records):
    """Lists (recipe or None, plan, records) for what has been run.

    The records are of trainings that differ in nothing but method and seed, one
    for each. A plan of recipes that lacks a method waits while another one of
    its runs is whole; else it is shown as far as it is.

    Args:
        records: List of run records.
    """
    groups = {}
    for record in records:
        group = groups.setdefault(_key(record, SHARED), {})
        group.setdefault(record["plan"], []).append(record)
    listed = []
    for place, group in enumerate(groups.values()):
        for name, members in group.items():
            for (recipe_number, plan_number), *study in _of_plan(name, members):
                listed.append(((recipe_number, place, plan_number), study))
    listed.sort(key=lambda pair: pair[0])
    return [tuple(study) for _, study in listed]


def _of_plan(name, members):
    """Lists (order, recipe or None, plan, records) of one name and source."""
    source = {key: members[0].get(key) for key in SHARED}
    known = _known(str(source["dataset"])).get(name)
    if known is None:
        end = len(papers.RECIPES)
        return [((end, 0), None, *found) for found in _unknown(members)]
    whole, begun = [], []
    for order, recipe, plan in known:
        found = select(members, plan, source["epochs"], source)
        missing = len(plan.methods) - len({r["method"] for r in found})
        if found and not missing:
            whole.append((order, recipe, plan, found))
        elif found:
            begun.append((missing, (order, recipe, plan, found)))
    if begun and not whole:
        whole.append(min(begun, key=lambda pair: (pair[0], pair[1][0]))[1])
    return whole


@functools.cache
def _known(dataset):
    """Returns a dict from names to [(order, recipe or None, plan)]."""
    known = {}
    for number, plan in enumerate(PLANS.values()):
        known[plan.name] = [((-1, number), None, plan)]
    for number, name in enumerate(papers.RECIPES):
        recipe = papers.find(name)
        if dataset not in {plan.dataset for plan in recipe.plans}:
            recipe = papers.find(name, dataset)
        for place, plan in enumerate(recipe.plans):
            known.setdefault(plan.name, []).append(
                ((number, place), recipe, plan)
            )
    return known


def _unknown(records):
    """Yields (plan, records) for runs whose plan is only in their records."""
    groups = {}
    for record in records:
        groups.setdefault(_key(record, SETTINGS), []).append(record)
    for group in groups.values():
        details = {r["method"]: r.get("method_details", {}) for r in group}
        found = {
            (record["method"], record["seed"]): record
            for record in group
            # Of a method that was changed, the last form.
            if record.get("method_details", {}) == details[record["method"]]
        }
        kept = list(found.values())
        yield _plan_of(kept[0], details), kept


def _plan_of(record, details):
    """Returns what stands for the plan of a record: each against dropout."""
    methods = [
        SimpleNamespace(
            name=name,
            mask_offset=detail.get("mask_offset", 0),
            dropout=detail.get("layer"),
        )
        for name, detail in details.items()
    ]
    methods.sort(key=lambda m: m.dropout is not None)
    metric = next(
        (key for key in ("test_accuracy", "test_loss") if key in record), "loss"
    )
    margin = 0.5 if metric == "test_accuracy" else None
    names = [method.name for method in methods if not method.mask_offset]
    remasked = [method.name for method in methods if method.mask_offset]
    if not names:
        names, remasked = remasked, []
    base = "dropout" if "dropout" in names else names[0]
    pairs = []
    for name in names:
        if name in ("plain", "none") and base != name:
            pairs.append((base, name))
        elif name != base:
            pairs.insert(0, (name, base))
    floor = None
    if remasked:
        floor = FoundContrast(metric, remasked[0], base, margin)
    return SimpleNamespace(
        name=record["plan"],
        claim="Which method is better?",
        methods=methods,
        contrasts=[FoundContrast(metric, *pair, margin) for pair in pairs],
        floor=floor,
    )


def _key(record, keys):
    return json.dumps([record.get(key) for key in keys], sort_keys=True)
