"""The tables of `dropx report`: Markdown from the records of a panel."""

import numpy as np

from keras_dropx.experiments import printed
from keras_dropx.experiments.metrics import (
    METRICS,
    by_seed,
    compared,
    paired,
)
from keras_dropx.experiments.printed import PRINTED

SHOWN = (
    "test_accuracy",
    "reestimated_accuracy",
    "test_loss",
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


def arm_table(recipe, panel, records):
    """Returns a table with a row an arm, the paper's values in the last."""
    shown = [
        name
        for name in SHOWN
        if any(by_seed(records, arm.name, name) for arm in panel.arms)
    ]
    pairs, _ = printed.original(recipe, panel)
    rows = [
        row
        for row in printed.rows_of(recipe)
        if (row["network"], row["dataset"]) in pairs
    ]
    columns = list(
        dict.fromkeys(
            (row["network"], row["dataset"], PRINTED[row["metric"]].text)
            for row in rows
            if row["metric"] in PRINTED
        )
    )
    lines = []
    for arm in panel.arms:
        if arm.mask_offset:
            continue
        line = [arm.name]
        line += [mean_error(records, arm.name, name) for name in shown]
        line += [printed.text_of(rows, arm.name, *column) for column in columns]
        lines.append(line)
    headings = ["arm", *(METRICS[name].heading for name in shown)]
    headings += [f"paper: {', '.join(column)}" for column in columns]
    return table(headings, lines)


def layer_table(recipe, records):
    """Returns a table of what the paper prints layer by layer, or None."""
    rows = printed.rows_of(recipe)
    lines = []
    for row in rows:
        if row["setting"] not in LAYERS:
            continue
        measure = row["metric"]
        layer, first = LAYERS[row["setting"]][0], 0
        if measure == "net_variance":  # of the trained network
            layer, first = LAYERS[row["setting"]][1], -1
        runs = [
            np.mean(
                [
                    point[measure][f"{measure}/{layer}"]
                    for point in record["measured"][first:]
                ]
            )
            for record in records
            if record["arm"] == row["method"]
        ]
        lines.append(
            [
                row["method"],
                layer,
                measure.replace("_", " "),
                _mean_error(np.array(runs), "{:.3g}"),
                row["value"],
            ]
        )
    if not lines:
        return None
    text = table(["arm", "layer", "quantity", "here", "paper"], lines)
    loose = [
        row["value"]
        for row in rows
        if row["setting"].startswith("one of layers")
    ]
    if loose:
        text += (
            f"\n\nFor GAAF the paper prints {', '.join(loose)}, and not which "
            "layer each is of."
        )
    return text


def claim_table(panel, records):
    """Returns a table of what the paper says and what came out."""
    seeds = {record["seed"] for record in records}
    lines = []
    for contrast, result in zip(
        panel.contrasts, compared(records, panel.contrasts), strict=True
    ):
        digits = METRICS[contrast.metric].digits
        lines.append(
            [
                contrast.sentence,
                f"{contrast.treatment} - {contrast.control}, "
                f"{METRICS[contrast.metric].text}",
                contrast.sign,
                f"{result.mean:+.{digits}f}",
                f"{result.low:+.{digits}f} to {result.high:+.{digits}f}",
                f"{result.count} of {len(seeds)}",
                f"**{verdict(contrast, result)}**",
            ]
        )
    return table(
        ["claim", "contrast", "sign", "mean", "interval", "seeds", "verdict"],
        lines,
    )


def verdict(contrast, result):
    """Returns what an interval says of a claim.

    Args:
        contrast: `panel.Contrast` with a sign.
        result: `statistics.Comparison`.

    Returns:
        "holds", "does not hold" or "not resolved".
    """
    equal = -contrast.margin < result.low and result.high < contrast.margin
    if contrast.sign == "=":
        if equal:
            return "holds"
        resolved = result.verdict in ("higher", "lower")
        return "does not hold" if resolved else "not resolved"
    expected = {"+": "higher", "-": "lower"}[contrast.sign]
    if result.verdict == expected:
        return "holds"
    if result.verdict == "not resolved":
        return "not resolved"
    return "does not hold"


def noise_floor(records):
    """Returns a sentence on what other masks alone do, or None."""
    names = {record["arm"] for record in records}
    remasked = next((n for n in names if n.startswith("remasked")), None)
    if remasked is None:
        return None
    setting = remasked.removeprefix("remasked").strip()
    control = f"standard {setting}".strip()
    if control not in names:
        control = "dropout"
    if control not in names:
        return None
    difference = paired(records, "test_accuracy", remasked, control)
    return (
        f"Noise floor: {control} under other masks differs by "
        f"{_mean_error(difference, '{:+.2f}')} points of accuracy, standard "
        f"deviation {difference.std(ddof=1) if len(difference) > 1 else 0:.2f}."
    )


def mean_error(records, arm, metric):
    """Returns mean ± standard error of an arm, a string."""
    runs = sum(record["arm"] == arm for record in records)
    values = np.array(list(by_seed(records, arm, metric).values()))
    if not len(values):
        return "" if metric != "epochs_to_loss" else "never"
    _, _, scale, digits = METRICS[metric]
    text = _mean_error(scale * values, f"{{:.{digits}f}}")
    return text if len(values) == runs else f"{text} ({len(values)} of {runs})"


def _mean_error(values, form):
    text = form.format(values.mean())
    if len(values) > 1:
        error = values.std(ddof=1) / np.sqrt(len(values))
        text += " ± " + form.replace("+", "").format(error)
    return text


def table(headings, lines):
    """Returns a table of strings, row by row."""
    rows = [headings, ["---"] * len(headings), *lines]
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return "\n".join("| " + " | ".join(row) + " |" for row in escaped)
