"""A figure of many claims: differences, intervals, and what matters."""

import numpy as np
from matplotlib.figure import Figure

from keras_dropx.experiments.measures import label
from keras_dropx.experiments.report.scoreboard import OUTCOMES, PAPERS
from keras_dropx.experiments.report.style import COLOURS, headed, plain
from keras_dropx.experiments.statistics import seeds_text

# Colour and marker; what is not resolved is hollow.
STYLES = {
    "holds": (COLOURS[0], "o", COLOURS[0]),
    "does not hold": (COLOURS[1], "s", COLOURS[1]),
    "not resolved": ("0.35", "D", "white"),
}
SIGNS = {"+": ">", "-": "<", "=": "="}
INCHES = 0.2  # of a row
WIDTH = 4.6  # of a data set's panel


def forest(claims):
    """Draws the claims of a paper, a panel for each data set.

    Differences and intervals are divided by the margin of their contrast, as
    their units differ: what lies within ± 1 does not matter. The axis is
    linear there and logarithmic beyond.

    Args:
        claims: List of `scoreboard.Claim`s of one paper, with margins.
    """
    rows, names = _rows(claims)
    datasets = list(dict.fromkeys(claim.dataset for claim in claims))
    size = (4.2 + WIDTH * len(datasets), 1.7 + INCHES * len(names))
    drawn = Figure(size, layout="constrained")
    headed(drawn, _title(claims), size[0])
    axes = drawn.subplots(
        1, len(datasets), squeeze=False, sharey=True, sharex=True
    )[0]
    for dataset, ax in zip(datasets, axes, strict=True):
        ax.axvspan(-1, 1, color="0.88", label="within the margin")
        ax.axvline(0, color="black", linewidth=0.8)
        for outcome in OUTCOMES:
            own = [
                (place, claim)
                for place, claim in rows
                if (claim.dataset, claim.outcome) == (dataset, outcome)
                and claim.result.count
            ]
            _draw(ax, own, outcome)
        ax.set_xscale("symlog", linthresh=1, linscale=0.8)
        ax.xaxis.set_major_formatter("{x:g}")
        ax.set_title(plain(dataset), fontsize="medium")
        ax.grid(axis="x", alpha=0.25)
        ax.set_xlabel("difference over its margin")
    ends = [
        abs(end) / claim.contrast.margin
        for claim in claims
        for end in (claim.result.low, claim.result.mean, claim.result.high)
        if end is not None
    ]
    reach = 1.3 * max([3.0, *ends])
    axes[0].set_xlim(-reach, reach)
    axes[0].set_yticks(
        range(len(names)), [plain(n) for n in names], fontsize="small"
    )
    axes[0].tick_params(axis="y", length=0)
    axes[0].set_ylim(len(names) - 0.4, -0.8)
    recipes = {claim.recipe for claim in claims}
    for text in axes[0].get_yticklabels():
        if text.get_text() in recipes:
            text.set_fontweight("bold")
    handles, texts = axes[0].get_legend_handles_labels()
    drawn.legend(
        handles, texts, loc="outside lower center", ncols=4, fontsize="small"
    )
    return drawn


def _rows(claims):
    """Returns [(row, claim)], and what each row is called.

    A recipe is a row of its own, above those of its claims.
    """
    places, names, rows = {}, [], []
    for recipe in dict.fromkeys(claim.recipe for claim in claims):
        names.append(recipe)
        for claim in claims:
            if claim.recipe == recipe:
                name = _name(claim)
                if (recipe, name) not in places:
                    places[recipe, name] = len(names)
                    names.append(name)
                rows.append((places[recipe, name], claim))
    return rows, names


def _name(claim):
    contrast = claim.contrast
    name = (
        f"{label(contrast.treatment)} {SIGNS[contrast.sign]} "
        f"{label(contrast.control)}, {claim.network}"
    )
    if contrast.metric != "test_accuracy":
        name += f": {claim.metric.heading.removesuffix(', %')}"
    return name


def _draw(ax, own, outcome):
    """Draws a point for each claim of an outcome, and its interval."""
    colour, marker, face = STYLES[outcome]
    for place, claim in own:
        if claim.result.low is not None:
            ends = np.array([claim.result.low, claim.result.high])
            ends /= claim.contrast.margin
            ax.plot(ends, [place] * 2, color=colour, linewidth=1.6)
    ax.plot(
        [claim.result.mean / claim.contrast.margin for _, claim in own],
        [place for place, _ in own],
        marker,
        color=colour,
        markerfacecolor=face,
        markersize=5,
        label=outcome,
    )


def _title(claims):
    seeds = sorted({claim.seeds for claim in claims})
    many = seeds_text(seeds[-1])
    many = many if len(seeds) == 1 else f"{seeds[0]} to {many}"
    return (
        f"{PAPERS[claims[0].paper]}: what is claimed, and the difference with "
        "its interval, over the margin within which two methods are equal; "
        "expected: > above, < below, = equal "
        f"({', '.join(dict.fromkeys(c.dataset for c in claims))}; {many})"
    )
