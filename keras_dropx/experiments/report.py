"""`dropx report`: a page of Markdown and one of HTML from the runs."""

import base64
import io
import os
from pathlib import Path

import markdown

from keras_dropx.errors import UserError
from keras_dropx.experiments import printed, recipe_tables, recipes
from keras_dropx.experiments.recipe_figures import figure
from keras_dropx.experiments.recipe_list import SIZES
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
    # Records may come from elsewhere.
    body = markdown.markdown(text.replace("<", "&lt;"), extensions=["tables"])
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
            recipe = recipes.find(name)
            if group["dataset"] not in {p.dataset for p in recipe.panels}:
                recipe = recipes.find(name, group["dataset"])
            for panel in recipe.panels:
                names = {arm.name for arm in panel.arms}
                # The data set is a part of the name.
                named = [
                    record
                    for record, own in zip(records, shared, strict=True)
                    if own == group and record.get("panel") == panel.name
                ]
                if not names <= {record.get("arm") for record in named}:
                    continue
                found = {}
                for arm in panel.arms:
                    settings = settings_of(panel, arm, 0, 0, group)
                    del settings["seed"]
                    for record in named:
                        if all(record.get(k) == settings[k] for k in settings):
                            found[arm.name, record["seed"]] = record
                if {arm for arm, _ in found} == names:
                    yield recipe, panel, list(found.values())


def heading(records):
    """Returns the head of the page."""
    versions = list(
        dict.fromkeys(
            ", ".join(f"{k} {v}" for k, v in record["versions"].items())
            for record in records
            if "versions" in record
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
    _, origin = printed.original(recipe, panel)
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
    parts.append(recipe_tables.arm_table(recipe, panel, records))
    layers = recipe_tables.layer_table(recipe, records)
    if layers:
        parts.append(layers)
    if panel.contrasts:
        parts.append(recipe_tables.claim_table(panel, records))
    floor = recipe_tables.noise_floor(records)
    if floor:
        parts.append(floor)
    parts.append(f"![{recipe.title}]({image})")
    parts.append(
        recipe_tables.table(
            ["paper", "printed", "here", "why"],
            [list(choice) for choice in recipe.choices],
        )
    )
    return "\n\n".join(parts)


def _write(path, data):
    new = path.with_name(path.name + ".new")
    new.write_bytes(data)
    os.replace(new, path)
