"""`dropx report`: a page of Markdown and one of HTML from the runs."""

import base64
import io
import os
from pathlib import Path
from typing import NamedTuple

import markdown
import numpy as np

from keras_dropx.errors import UserError
from keras_dropx.experiments import recipes
from keras_dropx.experiments.metrics import (
    METRICS,
    by_seed,
    compared,
    paired,
)
from keras_dropx.experiments.recipe_figures import figure
from keras_dropx.experiments.reproduce import SIZES, recipe_for
from keras_dropx.experiments.runs import Runs, settings_of

# What several runs of one recipe have in common.
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
CSS = """\
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .6rem; }
img { max-width: 100%; }
"""


def report(folder):
    """Writes `report.md`, its figures and `report.html` into a folder.

    The HTML page holds its figures.

    Args:
        folder: Folder with the `runs.jsonl` of `dropx reproduce`.

    Returns:
        Path of the HTML page.

    Raises:
        UserError: If there are no runs of any recipe.
    """
    folder = Path(folder)
    if not (folder / "runs.jsonl").is_file():
        raise UserError(f"no runs.jsonl in '{folder}'")
    records = Runs(folder).records
    sections, images = [], {}
    for recipe, panel, found in studies(records):
        # The same panel may be there in several precisions, say.
        name = f"{len(sections)}-{recipe.name}"
        buffer = io.BytesIO()
        figure(recipe.figure, panel, found).savefig(
            buffer, dpi=110, metadata={"Software": None}
        )
        images[f"{name}.png"] = buffer.getvalue()
        sections.append(section(recipe, panel, found, f"{name}.png"))
    if not sections:
        raise UserError(f"'{folder}' holds no finished runs of a recipe")
    text = "\n\n".join([heading(records), *sections]) + "\n"
    body = markdown.markdown(text, extensions=["tables"])
    for name, image in images.items():
        _write(folder / name, image)
        encoded = base64.b64encode(image).decode()
        body = body.replace(
            f'src="{name}"', f'src="data:image/png;base64,{encoded}"'
        )
    _write(folder / "report.md", text.encode())
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>Reproductions</title>\n<style>\n{CSS}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )
    _write(folder / "report.html", page.encode())
    return folder / "report.html"


def studies(records):
    """Yields (recipe, panel, records) for what has been run of the recipes.

    The records are of trainings that differ in nothing but arm and seed, one
    for each.

    Args:
        records: List of run records.
    """
    shared = [{k: record.get(k) for k in SHARED} for record in records]
    groups = [s for i, s in enumerate(shared) if s not in shared[:i]]
    for name in recipes.RECIPES:
        for group in groups:
            recipe = recipe_for(name, None)
            if group["dataset"] not in {p.dataset for p in recipe.panels}:
                recipe = recipe_for(name, group["dataset"])
            for panel in recipe.panels:
                if panel.dataset != group["dataset"]:
                    continue
                found = {}
                for arm in panel.arms:
                    settings = settings_of(panel, arm, 0, 0, group)
                    del settings["seed"]
                    for record in records:
                        if all(record.get(k) == settings[k] for k in settings):
                            found[arm.name, record["seed"]] = record
                if {arm for arm, _ in found} == {a.name for a in panel.arms}:
                    yield recipe, panel, list(found.values())


def heading(records):
    """Returns the head of the page."""
    versions = list(
        dict.fromkeys(
            ", ".join(f"{k} {v}" for k, v in record["versions"].items())
            for record in records
        )
    )
    return (
        "# Reproductions\n\n"
        f"Made by `dropx report` from {len(records)} runs "
        f"({'; '.join(versions)}). Every number is a mean over paired seeds "
        "at the last epoch, ± its standard error. A verdict is read from a "
        "paired t interval, all contrasts of a panel together at the 95 % "
        "level by Holm's method."
    )


def section(recipe, panel, records, image):
    """Returns the Markdown of one panel of a recipe."""
    record = records[0]
    seeds = {record["seed"] for record in records}
    _, origin = original(recipe, panel)
    parts = [
        f"## {recipe.name}: {recipe.title}",
        f"*{panel.claim}* Data set {record['dataset']}, "
        f"{record['train_size']:,} training images, {record['epochs']} "
        f"epochs, batch {record['batch_size']}, learning rate "
        f"{record['learning_rate']:g}, {record['precision']}; {len(seeds)} "
        + ("seeds." if len(seeds) >= 5 else "seeds: a demonstration."),
    ]
    if origin is None:
        parts.append(
            "The paper's numbers are of other images: only orderings compare."
        )
    elif (record["train_size"], record["epochs"]) != (
        SIZES[origin.dataset][0],
        origin.epochs,
    ):
        parts.append(
            "This is less than the recipe, which trains on "
            f"{SIZES[origin.dataset][0]:,} images for {origin.epochs} epochs."
        )
    parts.append(arm_table(recipe, panel, records))
    layers = layer_table(recipe, records)
    if layers:
        parts.append(layers)
    if panel.contrasts:
        parts.append(claim_table(panel, records))
    floor = noise_floor(records)
    if floor:
        parts.append(floor)
    parts.append(f"![{recipe.title}]({image})")
    parts.append(
        _table(
            ["paper", "printed", "here", "why"],
            [list(choice) for choice in recipe.choices],
        )
    )
    return "\n\n".join(parts)


def arm_table(recipe, panel, records):
    """Returns a table with a row an arm, the paper's values in the last."""
    shown = [
        name
        for name in SHOWN
        if any(by_seed(records, arm.name, name) for arm in panel.arms)
    ]
    printed, _ = original(recipe, panel)
    rows = [
        row
        for row in recipes.printed_results()
        if row["paper"] == recipe.paper
        and row["table"] in recipe.tables
        and (row["network"], row["dataset"]) in printed
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
        line += [printed_value(rows, arm.name, *column) for column in columns]
        lines.append(line)
    headings = ["arm", *(METRICS[name].heading for name in shown)]
    headings += [f"paper: {', '.join(column)}" for column in columns]
    return _table(headings, lines)


def printed_value(rows, arm, network, dataset, text):
    """Returns what the paper prints for an arm, "" where it prints nothing."""
    for row in rows:
        printed = PRINTED.get(row["metric"])
        names = row["method"].split(" and ")
        if (
            printed is not None
            and (row["network"], row["dataset"]) == (network, dataset)
            and printed.text == text
            and arm in [f"{name} {row['setting']}".strip() for name in names]
        ):
            value = printed.offset + printed.scale * float(row["value"])
            error = f" ± {row['std']}" if row["std"] else ""
            return f"{value:.{printed.digits}f}{error}"
    return ""


def original(recipe, panel):
    """Returns what a panel stands for in the paper.

    Returns:
        A tuple: the pairs (network, data set) as the paper prints them, and
        the recipe's own panel where the data set is the same, else None.
    """
    panels = [
        own
        for own in recipe_for(recipe.name, None).panels
        if own.network is panel.network
    ]
    same = [
        own
        for own in panels
        if own.dataset == panel.dataset and own.options == panel.options
    ]
    if same:
        return [same[0].printed], same[0]
    return [own.printed for own in panels], None


def layer_table(recipe, records):
    """Returns a table of what the paper prints layer by layer, or None."""
    rows = [
        row
        for row in recipes.printed_results()
        if row["paper"] == recipe.paper
        and row["table"] in recipe.tables
        and row["setting"] in LAYERS
    ]
    lines = []
    for row in rows:
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
                row["metric"].replace("_", " "),
                _mean_error(np.array(runs), "{:.3g}"),
                row["value"],
            ]
        )
    if not lines:
        return None
    table = _table(["arm", "layer", "quantity", "here", "paper"], lines)
    loose = [
        row["value"]
        for row in recipes.printed_results()
        if row["paper"] == recipe.paper
        and row["table"] in recipe.tables
        and row["setting"].startswith("one of layers")
    ]
    if loose:
        table += (
            f"\n\nFor GAAF the paper prints {', '.join(loose)}, and not which "
            "layer each is of."
        )
    return table


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
    return _table(
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
        control = "standard" if "standard" in names else "dropout"
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


def _table(headings, lines):
    rows = [headings, ["---"] * len(headings), *lines]
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return "\n".join("| " + " | ".join(row) + " |" for row in escaped)


def _write(path, data):
    new = path.with_name(path.name + ".new")
    new.write_bytes(data)
    os.replace(new, path)
