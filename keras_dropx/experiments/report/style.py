"""How all figures look: told apart by the colour-blind, and in print."""

import textwrap

import numpy as np
from cycler import cycler
from matplotlib.figure import Figure

from keras_dropx.callbacks.figures import COLOURS, line
from keras_dropx.experiments.measures import describe
from keras_dropx.experiments.statistics import by_seed, standard_error


def figure_of(title, columns, rows=1, size=(4.5, 3.9), **shared):
    """Returns a titled figure and its axes, an array of rows × columns.

    `size` is that of one of its axes, in inches; `shared` are arguments of
    `Figure.subplots`.
    """
    drawn = Figure((size[0] * columns, size[1] * rows), layout="constrained")
    axes = drawn.subplots(rows, columns, squeeze=False, **shared)
    for ax in axes.flat:
        ax.set_prop_cycle(cycler(color=COLOURS))
        ax.grid(alpha=0.25)
    headed(drawn, title, size[0] * columns)
    return drawn, axes


def headed(drawn, title, width):
    """Puts a title over a figure of a width in inches."""
    text = textwrap.fill(
        title,
        int(11 * width),
        break_long_words=False,
        break_on_hyphens=False,
    )
    drawn.suptitle(text, fontsize="medium", parse_math=False)


def legend(ax, of=None):
    """Draws a legend beside the axes, of their lines or of other axes'."""
    handles, texts = (of or ax).get_legend_handles_labels()
    ax.legend(
        handles,
        texts,
        fontsize="x-small",
        loc="upper left",
        bbox_to_anchor=(1, 1),
    )


def plain(text):
    """Returns a string in which matplotlib finds no formulas."""
    return str(text).replace("$", r"\$")


def band(ax, x, runs, text, number):
    """Draws a mean over runs and its standard error.

    The lines of a panel have their markers at different points, by which
    lines that coincide are told apart.

    Args:
        ax: Axes.
        x: Sequence of integers, increasing.
        runs: Array-like, runs × points.
        text: String, what the legend calls it.
        number: Integer, which line it is.
    """
    runs = np.array(runs, "float64")
    mean = runs.mean(axis=0)
    style = line(number)
    step = max(4, len(x) // 6)
    style["markevery"] = (number * step // 4 % step, step)
    ax.plot(x, mean, label=plain(text), **style)
    ax.xaxis.get_major_locator().set_params(integer=True)
    if len(runs) > 1:
        error = runs.std(axis=0, ddof=1) / np.sqrt(len(runs))
        ax.fill_between(
            x, mean - error, mean + error, color=style["color"], alpha=0.2
        )


def values_of(records, method, metric):
    """Returns the finite values of a method's runs, scaled, an array."""
    shown = describe(metric)
    values = np.array(
        list(by_seed(records, method, metric).values()), "float64"
    )
    return shown.scale * values[np.isfinite(values)]


def mean_error(values):
    """Returns the mean and its standard error, 0 of one value."""
    return float(np.mean(values)), standard_error(values) or 0.0
