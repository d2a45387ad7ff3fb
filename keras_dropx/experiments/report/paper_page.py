"""A page for each paper, and the page with the scoreboard before them."""

from keras_dropx.experiments import papers
from keras_dropx.experiments.papers import printed
from keras_dropx.experiments.plan import Deviation
from keras_dropx.experiments.report.method_table import setting_text
from keras_dropx.experiments.report.recipe_list import SIZES
from keras_dropx.experiments.report.scoreboard import (
    PAPERS,
    counts,
    network_of,
    scoreboard,
)
from keras_dropx.experiments.report.show import results
from keras_dropx.experiments.report.table import Table
from keras_dropx.experiments.report.text import (
    markdown_paragraph,
    markdown_text,
)
from keras_dropx.experiments.statistics import seeds_text

HOW = (
    "Every number is a mean over paired seeds at the last epoch, ± its "
    "standard error (SE). A verdict is read from a paired t interval, all "
    "contrasts of a plan together at the 95 % level (Bonferroni)."
)
# A longer table is folded, in Markdown as in HTML.
LONG = 4


def first_page(head, claims, papers):
    """Returns the scoreboard: what the papers claim, and what was found."""
    parts = [
        head,
        counts(claims, papers),
        "A claim holds, or it does not: the interval shows the opposite, or "
        "a difference smaller than the margin of what matters. Else it is "
        "not resolved. *Our control* and *our words* mark what the paper "
        "does not say itself; \\* is the mean over all settings.",
    ]
    for paper in papers:
        parts += [f"## {PAPERS[paper]}", f"[Tables and figures]({paper}.md)"]
        own = [claim for claim in claims if claim.paper == paper]
        if own:
            name = forest_name(paper)
            parts.append(f"![{PAPERS[paper]}: claims and intervals]({name})")
            parts.append(scoreboard(own).markdown())
    return "\n\n".join(parts)


def forest_name(paper):
    """Returns the file name of the figure of a paper's claims."""
    return f"forest-{paper}.png"


def paper_page(paper, made, sections, studies):
    """Returns the page of a paper, Markdown.

    Args:
        paper: Key of `PAPERS`.
        made: String, with what the runs were made.
        sections: List of strings, what `paper_section` returns.
        studies: List of (recipe, plan, records) that are on the page.
    """
    head = (
        f"# {PAPERS[paper]}\n\nMade by `dropx report` ({made}). {HOW} "
        "[All claims](report.md)"
    )
    return "\n\n".join([head, *sections, *_deviations(studies)]) + "\n"


def paper_section(recipe, plan, records, image):
    """Returns the Markdown of a recipe's plan."""
    where = f"{network_of(recipe, plan)} on {plan.dataset}"
    title = markdown_text(f"{recipe.name}: {where}")
    parts = [
        f"## {title}",
        f"**{markdown_text(recipe.title)}.** {summary(plan, records)}"
        f"{difference_from_paper(recipe, plan, records[0])}",
    ]
    found = results(plan, records, recipe)
    if isinstance(found[0], str):
        parts.append(markdown_paragraph(found.pop(0)))
    parts.append(f"![{title}]({image})")
    for part in found:
        if isinstance(part, str):
            parts.append(markdown_paragraph(part))
        elif "claim" in part.headings:
            parts.append(folded(part, "claims, with intervals"))
        else:
            parts.append(folded(part, "methods, with the paper's numbers"))
    return "\n\n".join(parts)


def plan_section(plan, records, image):
    """Returns the Markdown of a plan that is of no recipe."""
    title = markdown_text(f"{plan.name}: {plan.claim}")
    parts = map(as_markdown, results(plan, records))
    figure = f"![{title}]({image})"
    return "\n\n".join([f"## {title}", summary(plan, records), *parts, figure])


def summary(plan, records):
    """Returns a paragraph: what a plan is about, and what was run."""
    seeds = len({record["seed"] for record in records})
    return (
        f"*{markdown_text(plan.claim)}* Data set "
        f"{markdown_text(training_text(records[0]))}; "
        f"{seeds_text(seeds)}{': a demonstration' if seeds < 5 else ''}."
    )


def as_markdown(part):
    """Returns a string or a `Table` as a paragraph of Markdown."""
    if isinstance(part, str):
        return markdown_paragraph(part)
    return part.markdown()


def folded(table, what):
    """Returns the Markdown of a table, folded where it is long."""
    text = table.markdown()
    if len(table.rows) <= LONG:
        return text
    return (
        f'<details markdown="1">\n<summary>{len(table.rows)} {what}</summary>'
        f"\n\n{text}\n\n</details>"
    )


def training_text(record):
    """Returns on what a record was trained, and how."""
    data = [setting_text(record)]
    names = {"batch_size": "batch", "learning_rate": "learning rate"}
    for key, name in names.items():
        if key in record:
            data.append(f"{name} {record[key]:g}")
    data.append(record.get("precision"))
    return ", ".join(filter(None, data))


def difference_from_paper(recipe, plan, record):
    """Returns what a run has less than the recipe, after a space, or ""."""
    _, origin = printed.original(recipe, plan)
    if origin is None:
        return (
            " The paper's numbers are of other images: only orderings compare."
        )
    size = SIZES[origin.dataset][0]
    if (record["train_size"], record["epochs"]) == (size, origin.epochs):
        return ""
    return (
        f" This is less than the recipe, which trains on {size:,} images for "
        f"{origin.epochs} epochs."
    )


def _deviations(studies):
    """Lists Markdown: what the paper does not state, each once."""
    places = {}
    for recipe, plan, records in studies:
        name = recipe.name.partition("-")[2]
        for found in [*recipe.deviations, *_less(recipe, plan, records)]:
            row = (found.what, found.printed, found.used, found.why)
            places.setdefault(row, {})[name] = None
    if not places:
        return []
    rows = [[*row, ", ".join(names)] for row, names in places.items()]
    headings = ["paper", "printed", "here", "why", "in"]
    table = Table(headings, rows, tuple(headings))
    return [
        "## What the paper does not state, or prints wrongly",
        folded(table, "choices"),
    ]


def _less(recipe, plan, records):
    """Lists the `Deviation` of images, epochs and seeds from the recipe's."""
    # The paper may have several data sets for a network.
    own = min(
        (
            own
            for own in papers.find(recipe.name).plans
            if own.network is plan.network
        ),
        key=lambda own: own.dataset != plan.dataset,
    )
    seeds = len({record["seed"] for record in records})
    first = records[0]
    size = SIZES[own.dataset][0]
    here = first["dataset"], first["train_size"], first["epochs"], seeds
    if here == (own.dataset, size, own.epochs, max(seeds, recipe.seeds)):
        return []
    return [
        Deviation(
            f"training of {network_of(recipe, plan)}",
            f"{own.dataset}, {size:,} images, {own.epochs} epochs; "
            f"{seeds_text(recipe.seeds)} in the recipe",
            f"{here[0]}, {here[1]:,} images, {here[2]} epochs; "
            f"{seeds_text(seeds)}",
            "the data and the time at hand: only orderings compare",
        )
    ]
