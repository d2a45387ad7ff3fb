"""The figures of the papers, drawn from the records of a panel's runs."""

import numpy as np
from matplotlib.figure import Figure

from keras_dropx.experiments.metrics import METRICS, by_seed


def figure(kind, panel, records):
    """Draws a panel.

    Args:
        kind: Key of `FIGURES`, or None for the accuracies of all arms.
        panel: `panel.Panel`.
        records: List of run records of this panel.

    Returns:
        `matplotlib.figure.Figure`.
    """
    return FIGURES[kind](panel, records)


def accuracies(panel, records):
    """A dot a seed and a line the mean, for each arm."""
    names = [a.name for a in panel.arms if by_seed(records, a.name)]
    drawn = Figure((max(5.0, 0.42 * len(names) + 2), 4.2), layout="constrained")
    ax = drawn.subplots()
    for place, name in enumerate(names):
        for shift, metric in enumerate(
            ("test_accuracy", "reestimated_accuracy")
        ):
            values = 100 * np.array(
                list(by_seed(records, name, metric).values())
            )
            if not len(values):
                continue
            x = place + 0.2 * shift
            style = {"color": f"C{shift}"}
            ax.plot(np.full(len(values), x), values, ".", alpha=0.5, **style)
            label = METRICS[metric].text if place == 0 else None
            ax.hlines(values.mean(), x - 0.1, x + 0.1, label=label, **style)
    ax.set_xticks(range(len(names)), names, rotation=60, ha="right")
    ax.set_ylabel("test accuracy at the last epoch, %")
    ax.legend(fontsize="small")
    return drawn


def losses(panel, records):
    """Training and test loss over the epochs, means over the seeds."""
    drawn, axes = _axes(2)
    for arm in _shown(panel, records):
        runs = _runs(records, arm.name)
        training = np.mean([run["train_loss"] for run in runs], axis=0)
        axes[0].plot(np.arange(1, len(training) + 1), training, label=arm.name)
        points = [point["epoch"] for point in runs[0]["curve"]]
        test = [[p["test_loss"] for p in run["curve"]] for run in runs]
        axes[1].plot(points, np.mean(test, axis=0), label=arm.name)
    axes[0].set_title("training, with its noise", fontsize="medium")
    axes[1].set_title("test", fontsize="medium")
    for ax in axes:
        ax.set(xlabel="epoch", ylabel="loss, nats", yscale="log")
    axes[1].legend(fontsize="x-small")
    return drawn


def over_epochs(measure, *quantities):
    """Returns a function that draws what a callback measured."""

    def draw(panel, records):
        arms = _shown(panel, records)
        drawn = Figure(
            (4.2 * len(quantities), 3.2 * len(arms)), layout="constrained"
        )
        grid = drawn.subplots(len(arms), len(quantities), squeeze=False)
        for arm, axes in zip(arms, grid, strict=True):
            for (name, label), ax in zip(quantities, axes, strict=True):
                series = _series(records, arm.name, measure, name)
                for layer, (epochs, values) in series.items():
                    ax.plot(epochs, values, label=layer)
                ax.set(xlabel="epoch", ylabel=label, title=arm.name)
                ax.legend(fontsize="x-small")
        return drawn

    return draw


def moments(panel, records):
    """Mean and variance drift of each exponent, averaged over the layers."""
    drawn, axes = _axes(2)
    names = ("mean_drift", "variance_drift")
    for arm in _shown(panel, records):
        for name, ax in zip(names, axes, strict=True):
            series = _series(records, arm.name, "moment_drift", name)
            epochs = next(iter(series.values()))[0]
            mean = np.mean([values for _, values in series.values()], axis=0)
            ax.plot(epochs, mean, label=arm.name)
    for name, ax in zip(names, axes, strict=True):
        ax.axhline(1, color="grey", linewidth=0.8)
        ax.set(xlabel="epoch", ylabel=f"{name.replace('_', ' ')}, ratio")
    axes[0].legend(fontsize="small")
    return drawn


def rates(panel, records):
    """Accuracy against the rate, a line for each family of arms."""
    drawn, axes = _axes(2)
    families = {}
    for arm in _shown(panel, records):
        family, _, rate = arm.name.partition(" ")
        if rate:
            families.setdefault(family, []).append((float(rate), arm.name))
    for metric, ax in zip(
        ("test_accuracy", "reestimated_accuracy"), axes, strict=True
    ):
        for family, members in families.items():
            points = [
                (rate, 100 * np.mean(list(found.values())))
                for rate, name in members
                if (found := by_seed(records, name, metric))
            ]
            if points:
                ax.plot(*zip(*points, strict=True), "o-", label=family)
        ax.set(xlabel="rate", ylabel=METRICS[metric].text)
    axes[0].legend(fontsize="small")
    return drawn


def net_distribution(panel, records):
    """Histograms of the net values of each layer, of the first seed."""
    shown = _shown(panel, records)
    layers = {}
    for arm in shown:
        last = _runs(records, arm.name)[0]["measured"][-1]["net_distribution"]
        for key, counts in last.items():
            name, _, layer = key.partition("/")
            if name == "net_value_counts":
                edges = last[f"net_value_edges/{layer}"]
                layers.setdefault(layer, []).append((arm.name, counts, edges))
    drawn, axes = _axes(len(layers))
    for (layer, found), ax in zip(layers.items(), axes, strict=True):
        for name, counts, edges in found:
            density = np.array(counts) / np.sum(counts) / np.diff(edges)
            ax.stairs(density, edges, label=name)
        ax.set(xlabel=f"net value of {layer}", ylabel="density")
    axes[0].legend(fontsize="small")
    return drawn


FIGURES = {
    None: accuracies,
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


def _axes(count):
    drawn = Figure((4.5 * count, 3.8), layout="constrained")
    return drawn, drawn.subplots(1, count, squeeze=False)[0]


def _runs(records, arm):
    return [record for record in records if record["arm"] == arm]


def _shown(panel, records):
    return [
        arm
        for arm in panel.arms
        if not arm.mask_offset and _runs(records, arm.name)
    ]


def _series(records, arm, measure, name):
    """Returns (epochs, values) by layer, means over the seeds."""
    runs = [record["measured"] for record in _runs(records, arm)]
    epochs = [point["epoch"] for point in runs[0]]
    layers = [
        key.partition("/")[2]
        for key in runs[0][0][measure]
        if key.partition("/")[0] == name
    ]
    return {
        layer: (
            epochs,
            np.mean(
                [
                    [point[measure][f"{name}/{layer}"] for point in run]
                    for run in runs
                ],
                axis=0,
            ),
        )
        for layer in layers
    }
