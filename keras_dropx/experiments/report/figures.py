"""The figures of a plan, drawn from the records of its runs.

Points are means over the seeds, bars and bands their standard errors.
"""

import numpy as np

from keras_dropx.experiments.measures import describe, label
from keras_dropx.experiments.report.method_table import (
    runs_of,
    setting_text,
    shown_methods,
)
from keras_dropx.experiments.report.overview import (
    comparison,
    overview,
    training_losses,
)
from keras_dropx.experiments.report.style import (
    band,
    figure_of,
    legend,
    line,
    mean_error,
    plain,
    values_of,
)
from keras_dropx.experiments.statistics import seeds_text

# In one panel.
MOST_LAYERS = 7


def figure(kind, plan, records, title=None, looks=1):
    """Draws a plan.

    Args:
        kind: Key of `FIGURES`; None for the accuracies of all methods, their
            contrasts, and what else the records of a comparison hold.
        title: String, or None: the plan's name and claim. The data set and
            the number of seeds are added.
    """
    seeds = len({record["seed"] for record in records})
    title = title or f"{plan.name}: {plan.claim}"
    title = f"{title} ({setting_text(records[0])}; {seeds_text(seeds)})"
    if kind is None:
        draw = comparison if getattr(plan, "directions", None) else overview
        return draw(title, plan, records, looks)
    return FIGURES[kind](title, plan, records)


def losses(title, plan, records):
    """Training and test loss over the epochs."""
    drawn, ((training, test),) = figure_of(title, 2, sharey=True)
    training_losses(plan, records, training)
    for number, method in enumerate(shown_methods(plan, records)):
        runs = runs_of(records, method.name)
        band(
            test,
            [point["epoch"] for point in runs[0]["curve"]],
            [[p["test_loss"] for p in run["curve"]] for run in runs],
            *(label(method.name), number),
        )
    training.set_title("training, with its noise", fontsize="medium")
    test.set_title("test", fontsize="medium")
    for ax in (training, test):
        ax.set(xlabel="epoch", ylabel="loss, nats", yscale="log")
    legend(test)
    return drawn


def over_epochs(measure, *quantities):
    """Returns a function that draws what a callback measured.

    A row a method; of many layers some are in one panel, some in the next.
    """

    def draw(title, plan, records):
        methods = shown_methods(plan, records)
        found = {
            (method.name, name): list(
                _series(records, method.name, measure, name).items()
            )
            for method in methods
            for name, _ in quantities
        }
        most = max(map(len, found.values()))
        panels = -(-most // MOST_LAYERS)
        size = -(-most // panels)
        drawn, grid = figure_of(
            title, len(quantities) * panels, len(methods), (4.6, 2.8)
        )
        for method, axes in zip(methods, grid, strict=True):
            for place, ax in enumerate(axes):
                quantity, part = divmod(place, panels)
                name, text = quantities[quantity]
                series = found[method.name, name][part * size :][:size]
                if not series:
                    ax.set_axis_off()
                    continue
                # Of one quantity all panels are compared.
                first = grid[0][quantity * panels]
                if ax is not first:
                    ax.sharey(first)
                for number, (layer, points) in enumerate(series):
                    band(ax, *points, layer, number)
                ax.set(xlabel="epoch", ylabel=text)
                ax.set_title(plain(label(method.name)), fontsize="medium")
                if panels > 1 or quantity == len(quantities) - 1:
                    legend(ax)
        return drawn

    return draw


def moments(title, plan, records):
    """Mean and variance drift of each exponent, averaged over the layers."""
    names = ("mean_drift", "variance_drift")
    # Both are ratios, to be compared.
    drawn, (axes,) = figure_of(title, 2, sharey=True)
    for number, method in enumerate(shown_methods(plan, records)):
        for name, ax in zip(names, axes, strict=True):
            series = _series(records, method.name, "moment_drift", name)
            epochs = next(iter(series.values()))[0]
            values = np.mean([values for _, values in series.values()], axis=0)
            band(ax, epochs, values, label(method.name), number)
    for name, ax in zip(names, axes, strict=True):
        ax.axhline(1, color="grey", linewidth=0.8)
        ax.set(xlabel="epoch", ylabel=f"{name.replace('_', ' ')}, ratio")
    legend(axes[-1])
    return drawn


def rates(title, plan, records):
    """Accuracy against the rate, a line for each family of methods."""
    families = {}
    for method in shown_methods(plan, records):
        family, _, rate = method.name.partition(" ")
        if rate:
            families.setdefault(family, []).append((float(rate), method.name))
    metrics = ("test_accuracy", "reestimated_accuracy")
    drawn, (axes,) = figure_of(title, 2, sharey=True)
    for metric, ax in zip(metrics, axes, strict=True):
        for number, (family, members) in enumerate(families.items()):
            points = [
                (rate, *mean_error(values))
                for rate, name in members
                if len(values := values_of(records, name, metric))
            ]
            if points:
                x, y, errors = zip(*points, strict=True)
                x = np.array(x) + 0.002 * (number - (len(families) - 1) / 2)
                style = line(number)
                ax.errorbar(x, y, errors, capsize=2, label=family, **style)
        ax.set(xlabel="rate, moved a little", ylabel=describe(metric).text)
    legend(axes[-1], axes[0])
    return drawn


def net_distribution(title, plan, records):
    """Histograms of the net values of each layer, of the first seed."""
    layers = {}
    for method in shown_methods(plan, records):
        last = runs_of(records, method.name)[0]["measured"][-1][
            "net_distribution"
        ]
        for layer, counts in _by_layer(last, "net_value_counts").items():
            edges = last[f"net_value_edges/{layer}"]
            layers.setdefault(layer, []).append((method.name, counts, edges))
    drawn, (axes,) = figure_of(
        f"{title}; first seed", max(len(layers), 1), sharex=True, sharey=True
    )
    for (layer, found), ax in zip(layers.items(), axes, strict=True):
        for number, (name, counts, edges) in enumerate(found):
            density = np.array(counts) / np.sum(counts) / np.diff(edges)
            style = line(number, marked=False)
            ax.stairs(density, edges, label=plain(label(name)), **style)
        ax.set(xlabel=f"net value of {layer}", ylabel="density")
    legend(axes[-1])
    return drawn


FIGURES = {
    "losses": losses,
    "moments": moments,
    "rates": rates,
    "net_distribution": net_distribution,
    "gradient_information": over_epochs(
        "gradient_information",
        ("gradient_information", "mean |∂E/∂W|"),
        ("gradient_information_normalized", "over the output error"),
    ),
    "net_variance": over_epochs(
        "net_variance", ("net_variance", "variance of net values")
    ),
    "active_fraction": over_epochs(
        "active_fraction", ("active_fraction", "active fraction q⁺")
    ),
}


def _series(records, method, measure, name):
    """Returns (epochs, values of each run) by layer."""
    runs = [record["measured"] for record in runs_of(records, method)]
    epochs = [point["epoch"] for point in runs[0]]
    return {
        layer: (
            epochs,
            [
                [point[measure][f"{name}/{layer}"] for point in run]
                for run in runs
            ],
        )
        for layer in _by_layer(runs[0][0][measure], name)
    }


def _by_layer(measured, name):
    """Returns what was measured under a name, by layer."""
    return {
        key.partition("/")[2]: found
        for key, found in measured.items()
        if key.startswith(f"{name}/")
    }
