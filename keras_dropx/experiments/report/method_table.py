"""The table of a plan's methods, and a paper's tables of layers."""

import numpy as np

from keras_dropx.experiments.measures import describe, label
from keras_dropx.experiments.papers import printed
from keras_dropx.experiments.papers.printed import PRINTED
from keras_dropx.experiments.report.table import Table
from keras_dropx.experiments.statistics import (
    by_seed,
    paired,
    seeds_text,
    standard_error,
)

SHOWN = (
    "test_accuracy",
    "reestimated_accuracy",
    "test_loss",
    "reestimated_loss",
    "train_accuracy",
    "epochs_to_loss",
    "mean_saturation",
)
# The rows of results.csv that are layers, and our names of what has the kernel
# and of what takes the net value.
LAYERS = {
    "layer1": ("hidden_1", "activation_1"),
    "layer1 (text)": ("hidden_1", "activation_1"),
    "layer2": ("hidden_2", "activation_2"),
    "layer3": ("hidden_3", "activation_3"),
    "last layer": ("logits", "logits"),
}


def method_table(plan, records, recipe=None):
    """Returns a table with a row a method, mean ± standard error over seeds.

    In the last columns stand the printed numbers of the recipe; without one,
    differences from the first method, if that has no noise, mean gradients and
    times of a step.
    """
    methods = shown_methods(plan, records)
    names = getattr(plan, "directions", None) or dict.fromkeys(
        (*SHOWN, *(c.metric for c in plan.contrasts), "loss")
    )
    shown = [
        name
        for name in names
        if any(by_seed(records, method.name, name) for method in methods)
    ]
    columns = [("method", [label(method.name) for method in methods])]
    for name in shown:
        column = [cell(records, m.name, name, plan) for m in methods]
        columns.append((f"{describe(name, plan).heading} ± SE", column))
    notes = [setting_text(records[0]), "at the last epoch"]
    counts = {len(runs_of(records, method.name)) for method in methods}
    seeds = seeds_text(max(counts))
    if len(counts) > 1:
        seeds = f"{min(counts)} to {seeds}"
    notes.append(f"SE: standard error over {seeds}")
    if any("nats" in describe(name, plan).text for name in shown):
        notes.append("loss in nats")
    if recipe is None:
        columns += _differences_and_costs(plan, methods, records, shown, notes)
    else:
        columns += _printed(recipe, plan, methods)
    headings, cells = zip(*columns, strict=True)
    return Table(
        list(headings),
        [list(row) for row in zip(*cells, strict=True)],
        ("method",),
        f"{plan.name}: {plan.claim}",
        "; ".join(notes),
    )


def layer_table(recipe, records):
    """Returns a table of what the paper prints layer by layer, or None."""
    rows = printed.rows_of(recipe)
    lines = []
    for row in rows:
        if row["setting"] not in LAYERS:
            continue
        measure, (layer, activation) = row["metric"], LAYERS[row["setting"]]
        first = 0
        if measure == "net_variance":  # of the trained network
            layer, first = activation, -1
        values = [
            np.mean(
                [
                    point[measure][f"{measure}/{layer}"]
                    for point in record["measured"][first:]
                ]
            )
            for record in runs_of(records, row["method"])
        ]
        if not values:
            continue
        lines.append(
            [
                label(row["method"]),
                layer,
                measure.replace("_", " "),
                mean_error(values, lambda number: f"{number:.3g}"),
                row["value"],
            ]
        )
    if not lines:
        return None
    loose = [
        row["value"]
        for row in rows
        if row["setting"].startswith("one of layers")
    ]
    caption = ""
    if loose:
        caption = (
            f"For GAAF the paper prints {', '.join(loose)}, and not which "
            "layer each is of."
        )
    return Table(
        ["method", "layer", "quantity", "here ± SE", "paper"],
        lines,
        ("method", "layer", "quantity"),
        "Layer by layer",
        caption,
    )


def cell(records, method, metric, plan=None):
    """Returns mean ± standard error of a method, a string."""
    shown = describe(metric, plan)
    found = by_seed(records, method, metric).values()
    values = [shown.scale * v for v in found if np.isfinite(v)]
    if not values:
        if found:
            return "diverged"
        return "never" if metric == "epochs_to_loss" else ""
    text = mean_error(values, shown.format)
    runs = len(runs_of(records, method))
    return text if len(values) == runs else f"{text} ({len(values)} of {runs})"


def setting_text(record):
    """Returns what was trained on and how long, as a record says it."""
    parts = [record["dataset"]] if "dataset" in record else []
    if "train_size" in record:
        images = len(record.get("input_shape") or ()) == 3
        things = "images" if images else "examples"
        parts.append(f"{record['train_size']:,} training {things}")
    if "epochs" in record:
        parts.append(f"{record['epochs']} epoch{'s' * (record['epochs'] > 1)}")
    return ", ".join(parts)


def runs_of(records, method):
    """Returns the records of a method."""
    return [record for record in records if record["method"] == method]


def shown_methods(plan, records):
    """Returns the methods with runs, but for other masks."""
    return [
        method
        for method in plan.methods
        if not method.mask_offset and runs_of(records, method.name)
    ]


def gradient_ratios(records, method, first):
    """Returns a dict from layer to a mean gradient over that of `first`."""
    base, own = (
        list(by_seed(records, name, "gradient").values())
        for name in (first, method)
    )
    return {
        layer: float(
            np.mean([run[layer] for run in own])
            / np.mean([run[layer] for run in base])
        )
        for layer in base[0]
    }


def mean_error(values, form):
    """Returns mean ± standard error, a string; `form` formats a number."""
    text, error = form(np.mean(values)), standard_error(values)
    return text if error is None else f"{text} ± {form(error).lstrip('+')}"


def _differences_and_costs(plan, methods, records, shown, notes):
    """Returns what a plan of our own shows besides: (heading, column)."""
    first = methods[0]
    added = []
    if first.dropout is None and shown:
        metric = describe(shown[0], plan)
        column = []
        for method in methods:
            d = paired(records, shown[0], method.name, first.name)
            d = d[np.isfinite(d)]
            column.append(metric.format(d.mean(), "+") if len(d) else "")
        unit = metric.unit.removeprefix("in ")
        added.append((f"- {label(first.name)}", column))
        notes.append(f"minus {label(first.name)} in {unit}")
    if all(by_seed(records, m.name, "gradient") for m in methods):
        column = []
        for method in methods:
            ratios = gradient_ratios(records, method.name, first.name)
            column.append(" ".join(f"{r:.1f}" for r in ratios.values()))
        added.append(("gradient", column))
        notes.append(
            "gradient: mean |∂E/∂W| per layer over that of "
            f"{label(first.name)}, output last"
        )
    base = by_seed(records, first.name, "step_ms")
    column = []
    for method in methods:
        times = by_seed(records, method.name, "step_ms")
        ratios = [times[s] / base[s] for s in times.keys() & base.keys()]
        column.append(f"{np.median(ratios):.2f}" if ratios else "")
    if any(column):
        added.append(("step", column))
        notes.append(f"step: time over that of {label(first.name)}")
    return added


def _printed(recipe, plan, methods):
    """Returns what the paper prints: (heading, column)."""
    pairs, _ = printed.original(recipe, plan)
    rows = [
        row
        for row in printed.rows_of(recipe)
        if (row["network"], row["dataset"]) in pairs
    ]
    columns = dict.fromkeys(
        (row["network"], row["dataset"], PRINTED[row["metric"]].text)
        for row in rows
        if row["metric"] in PRINTED
    )
    return [
        (
            f"paper: {', '.join(column)}",
            [printed.text_of(rows, method.name, *column) for method in methods],
        )
        for column in columns
    ]
