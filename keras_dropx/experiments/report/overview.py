"""A plan at a glance: accuracies, contrasts, what else was measured."""

import functools

import numpy as np
from matplotlib.figure import Figure

from keras_dropx.experiments.measures import describe, label
from keras_dropx.experiments.report.method_table import (
    gradient_ratios,
    runs_of,
    shown_methods,
)
from keras_dropx.experiments.report.style import (
    COLOURS,
    band,
    figure_of,
    headed,
    legend,
    line,
    mean_error,
    plain,
    values_of,
)
from keras_dropx.experiments.statistics import (
    by_seed,
    compared,
    contrasted,
    paired,
)

MOST_COLUMNS = 3
NAMES_OF_LOSSES = {
    "train_loss": "training loss, with its noise",
    "val_loss": "validation loss",
}


def overview(title, plan, records, looks=1):
    """Accuracies and contrasts; gradients and saturation where they are."""
    draw = [_accuracies]
    if plan.contrasts:
        draw.append(functools.partial(contrasts, looks=looks))
    for key, function in (
        ("gradient", _gradients),
        ("epochs_to_loss", _training),
        ("saturation", _saturation),
    ):
        if all(key in record for record in records):
            draw.append(function)
    size = (max(5.0, 0.3 * len(shown_methods(plan, records)) + 2), 4.5)
    columns = min(len(draw), MOST_COLUMNS)
    drawn, axes = figure_of(title, columns, -(-len(draw) // columns), size)
    for ax in axes.flat[len(draw) :]:
        ax.set_axis_off()
    for function, ax in zip(draw, axes.flat, strict=False):
        function(plan, records, ax)
        ax.yaxis.label.set_fontsize("small")  # No higher than its axes.
    return drawn


def comparison(title, plan, records, looks=1):
    """Contrasts and methods, and below a training loss for each method."""
    shown = shown_methods(plan, records)
    rows = -(-len(shown) // 4)
    drawn = Figure((10, 4.2 + 2.2 * rows), layout="constrained")
    headed(drawn, title, 10)
    above, below = drawn.subfigures(2, 1, height_ratios=(4, 2.2 * rows))
    left, right = above.subplots(1, 2, width_ratios=(1.2, 1))
    if not plan.contrasts:
        left.set_axis_off()
    else:
        contrasts(plan, records, left, looks)
        better = describe(plan.contrasts[0].metric, plan).better
        more = {"max": "higher", "min": "lower"}[better]
        left.set_xlabel(f"{left.get_xlabel()} ({more} is better)")
    _accuracies(plan, records, right)
    grid = below.subplots(
        rows, min(len(shown), 4), squeeze=False, sharex=True, sharey=True
    )
    for ax in grid.flat[len(shown) :]:
        ax.set_axis_off()
    for method, ax in zip(shown, grid.flat, strict=False):
        _losses(records, method.name, ax)
    for ax in (left, right, *grid.flat):
        ax.grid(alpha=0.25)
    key = "val_loss" if "val_loss" in records[0] else "train_loss"
    below.supylabel(NAMES_OF_LOSSES[key], fontsize="medium")
    below.supxlabel(
        "epoch; black: this method, a line a seed; grey: others",
        fontsize="medium",
    )
    return drawn


def _losses(records, method, ax):
    """The losses of a method, a line a seed, before those of all others."""
    key = "val_loss" if "val_loss" in records[0] else "train_loss"
    others = [run for run in records if run["method"] != method]
    for runs, colour, width in (
        (others, "0.8", 0.8),
        (runs_of(records, method), "black", 1.1),
    ):
        for run in runs:
            epochs = range(1, len(run[key]) + 1)
            style = "." if len(epochs) == 1 else "-"
            ax.plot(epochs, run[key], style, color=colour, linewidth=width)
    ax.set_title(plain(label(method)), fontsize="medium")


def _accuracies(plan, records, ax):
    """A dot a seed; the mean with its standard error beside them."""
    known = getattr(plan, "directions", None)
    metrics = [
        metric
        for metric in known or ("test_accuracy", "reestimated_accuracy")
        if any(metric in record for record in records)
    ]
    metrics = metrics or [
        plan.contrasts[0].metric if plan.contrasts else "loss"
    ]
    names = [method.name for method in shown_methods(plan, records)]
    for number, metric in enumerate(metrics):
        style = {"color": COLOURS[number], "marker": "os"[number]}
        places, means, errors = [], [], []
        for place, name in enumerate(names):
            values = values_of(records, name, metric)
            if len(values):
                x = place + 0.36 * number - 0.18 * (len(metrics) - 1)
                ax.plot(
                    np.full(len(values), x - 0.06),
                    values,
                    linestyle="none",
                    markersize=4,
                    alpha=0.4,
                    **style,
                )
                mean, error = mean_error(values)
                places, means = [*places, x + 0.06], [*means, mean]
                errors.append(error)
        ax.errorbar(
            places,
            means,
            errors,
            linestyle="none",
            capsize=3,
            label=describe(metric, plan).text,
            **style,
        )
    names = [plain(label(name)) for name in names]
    slant = {"rotation": 60, "ha": "right"} if len(names) > 3 else {}
    ax.set_xticks(range(len(names)), names, **slant)
    ax.set_ylabel(plain(describe(metrics[0], plan).text))
    many = len(metrics) > 1
    ax.set_title(
        "a dot a seed; mean ± standard error",
        fontsize="medium",
        pad=20 if many else None,
    )
    if many:  # Between the title and the axes, where no data are.
        ax.legend(
            fontsize="x-small",
            loc="lower center",
            bbox_to_anchor=(0.5, 1),
            ncols=len(metrics),
            frameon=False,
        )


def contrasts(plan, records, ax, looks=1):
    """Paired differences of the first metric, their intervals, the floor."""
    metric = plan.contrasts[0].metric
    results = compared(records, plan.contrasts, looks)
    chosen = [
        (contrast, result)
        for contrast, result in zip(plan.contrasts, results, strict=True)
        if contrast.metric == metric
    ]
    floor, note = plan.floor, ""
    if floor is not None and floor.metric == metric:
        spread = paired(records, metric, floor.treatment, floor.control)
        if len(spread) > 1 and np.isfinite(spread).all():
            mean, error = mean_error(spread)
            ax.axvspan(
                mean - error,
                mean + error,
                color="grey",
                alpha=0.25,
            )
            note = "\ngrey: other masks alone, mean ± SE"
    ax.axvline(0, color="black", linewidth=0.8)
    for place, (contrast, result) in enumerate(chosen):
        values = contrasted(records, contrast)
        values = values[np.isfinite(values)]
        ax.plot(
            values,
            np.full(len(values), place + 0.15),
            ".",
            color=COLOURS[1],
            alpha=0.6,
        )
        if result.low is not None:
            ax.plot([result.low, result.high], [place] * 2, color=COLOURS[0])
        if result.mean is not None:
            ax.plot(result.mean, place, "o", color=COLOURS[0])
    names = [
        plain(f"{label(c.treatment)} - {label(c.control)}") for c, _ in chosen
    ]
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)  # The first on top, dots beside lines.
    ax.set_xlabel(f"difference, {plain(describe(metric, plan).text)}")
    ax.set_title(
        f"95 % intervals together; a dot a seed{note}", fontsize="medium"
    )


def _gradients(plan, records, ax):
    first = plan.methods[0].name
    for number, method in enumerate(shown_methods(plan, records)):
        ratios = gradient_ratios(records, method.name, first)
        name = plain(label(method.name))
        ax.plot(*zip(*ratios.items()), label=name, **line(number))  # noqa: B905
    ax.set(yscale="log", ylabel=f"mean |∂E/∂W| over that of {label(first)}")
    ax.set_title("gradient ratio per layer", fontsize="medium")
    legend(ax)


def training_losses(plan, records, ax):
    """A line a method, over the epochs."""
    for number, method in enumerate(shown_methods(plan, records)):
        losses = [run["train_loss"] for run in runs_of(records, method.name)]
        epochs = np.arange(1, len(losses[0]) + 1)
        band(ax, epochs, losses, label(method.name), number)


def _training(plan, records, ax):
    training_losses(plan, records, ax)
    ax.set(xlabel="epoch", ylabel="loss with its noise, nats", yscale="log")
    ax.set_title("speed of training", fontsize="medium")
    legend(ax)


def _saturation(plan, records, ax):
    for number, method in enumerate(shown_methods(plan, records)):
        runs = list(by_seed(records, method.name, "saturation").values())
        found = [mean_error([run[layer] for run in runs]) for layer in runs[0]]
        means, errors = zip(*found, strict=True)
        ax.errorbar(
            list(runs[0]),
            means,
            errors,
            capsize=2,
            label=plain(label(method.name)),
            **line(number),
        )
    ax.set_ylabel("share of |z| > 1.818 on test data")
    ax.set_title("saturated net values", fontsize="medium")
    legend(ax)
