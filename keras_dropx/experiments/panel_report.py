"""Tables and figures of a panel, made from the records of its runs."""

import textwrap

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from keras_dropx.experiments.metrics import METRICS, by_seed, compared, paired


def arm_table(panel, records):
    """Returns a `rich.table.Table` with one row an arm, mean ± sd over seeds.

    Args:
        panel: `panel.Panel`.
        records: List of run records of this panel.
    """
    plain = panel.arms[0].name
    record = records[0]
    texts = {
        "gradient": (
            "gradient: mean |∂E/∂W| per layer over plain's, output last; "
        ),
        "saturation": "saturated: share of net values per layer; ",
    }
    nested = [key for key in texts if key in record]
    caption = (
        f"{record['dataset']}, {record['train_size']} training images, "
        f"{record['epochs']} epochs; test set at the last epoch, mean ± sd "
        "over seeds (loss in nats); minus plain in points of accuracy; "
        + "".join(texts[key] for key in nested)
        + "step: time over plain's"
    )
    table = Table(
        title=f"{panel.name}: {panel.claim}",
        title_justify="left",
        caption=caption,
        caption_justify="left",
    )
    table.add_column("arm", no_wrap=True)
    metrics = [name for name in METRICS if name in record]
    headings = [METRICS[metric].heading for metric in metrics]
    names = {"gradient": "gradient", "saturation": "saturated"}
    headings += ["- plain", *[names[key] for key in nested], "step"]
    for heading in headings:
        table.add_column(heading, justify="right")
    for arm in panel.arms:
        if arm.mask_offset:
            continue
        row = [arm.name]
        row += [_mean_sd(records, arm.name, metric) for metric in metrics]
        difference = paired(records, "test_accuracy", arm.name, plain)
        row.append(f"{difference.mean():+.2f}")
        for key in nested:
            row.append(_per_layer(records, key, arm.name, plain))
        ratios = by_seed(records, arm.name, "step_ms")
        base = by_seed(records, plain, "step_ms")
        row.append(f"{np.median([ratios[s] / base[s] for s in ratios]):.2f}")
        table.add_row(*row)
    return table


def contrast_table(panel, records):
    """Returns a `rich.table.Table` of the primary contrasts of a panel.

    Args:
        panel: `panel.Panel`.
        records: List of run records of this panel.
    """
    seeds = {record["seed"] for record in records}
    title = f"Contrasts fixed before running, {len(seeds)} paired seeds"
    if len(seeds) < 5:
        title += " (a demonstration, not a test)"
    table = Table(
        title=title,
        title_justify="left",
        caption="t intervals, together at the 95 % level by Holm's method",
        caption_justify="left",
    )
    for heading in ("contrast", "metric"):
        table.add_column(heading, no_wrap=True)
    for heading in ("difference", "interval"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    comparisons = compared(records, panel.contrasts)
    for contrast, result in zip(panel.contrasts, comparisons, strict=True):
        metric = METRICS[contrast.metric]
        verdict = result.verdict
        if verdict == "equal":
            verdict += f" within {contrast.margin:g}"
        if result.count < len(seeds):
            verdict += f" ({result.count} of {len(seeds)} pairs reached it)"
        table.add_row(
            f"{contrast.treatment} - {contrast.control}",
            metric.text,
            f"{result.mean:+.{metric.digits}f}",
            f"{result.low:+.{metric.digits}f} to "
            f"{result.high:+.{metric.digits}f}",
            verdict,
        )
    return table


def noise_floor(panel, records):
    """Returns a sentence: what other masks alone do to one method."""
    floor = panel.floor
    difference = paired(records, floor.metric, floor.treatment, floor.control)
    return (
        f"Noise floor: {floor.control} under other masks differs by "
        f"{difference.mean():+.2f} (each seed: "
        + ", ".join(f"{value:+.2f}" for value in difference)
        + f") in {METRICS[floor.metric].text}."
    )


def figure(panel, records):
    """Draws a panel.

    Args:
        panel: `panel.Panel`.
        records: List of run records of this panel.

    Returns:
        `matplotlib.figure.Figure`.
    """
    draw = {
        "masks": (_draw_accuracy, _draw_gradients),
        "batchnorm": (_draw_accuracy, _draw_losses),
        "saturation": (_draw_accuracy, _draw_losses, _draw_saturation),
    }[panel.name]
    figure = Figure((4.5 * len(draw), 4.2), layout="constrained")
    figure.suptitle(textwrap.fill(panel.claim, 30 * len(draw)))
    axes = figure.subplots(1, len(draw), squeeze=False)[0]
    for function, ax in zip(draw, axes, strict=True):
        function(panel, records, ax)
    return figure


def _mean_sd(records, arm, metric):
    values = np.array(list(by_seed(records, arm, metric).values()))
    runs = sum(record["arm"] == arm for record in records)
    if not len(values):
        return "never"
    _, _, scale, digits = METRICS[metric]
    text = f"{scale * values.mean():.{digits}f}"
    if len(values) > 1:
        text += f" ± {scale * values.std(ddof=1):.{digits}f}"
    if len(values) < runs:
        text += f" ({len(values)} of {runs})"
    return text


def _layer_means(records, arm, key):
    rows = list(by_seed(records, arm, key).values())
    return {
        layer: float(np.mean([row[layer] for row in rows])) for layer in rows[0]
    }


def _per_layer(records, key, arm, plain):
    means = _layer_means(records, arm, key)
    digits = 2
    if key == "gradient":
        digits = 1
        base = _layer_means(records, plain, key)
        means = {layer: means[layer] / base[layer] for layer in means}
    return " ".join(f"{value:.{digits}f}" for value in means.values())


def _shown(panel):
    return [arm.name for arm in panel.arms if not arm.mask_offset]


def _draw_accuracy(panel, records, ax):
    metrics = [
        metric
        for metric in ("test_accuracy", "reestimated_accuracy")
        if metric in records[0]
    ]
    labels = {
        "test_accuracy": "as trained",
        "reestimated_accuracy": "BN statistics re-estimated",
    }
    for shift, metric in enumerate(metrics):
        for place, arm in enumerate(_shown(panel)):
            values = 100 * np.array(
                list(by_seed(records, arm, metric).values())
            )
            x = place + 0.15 * (2 * shift - len(metrics) + 1)
            style = {"color": f"C{shift}"}
            ax.plot(np.full(len(values), x), values, "o", alpha=0.5, **style)
            label = labels[metric] if place == 0 else None
            ax.hlines(values.mean(), x - 0.13, x + 0.13, label=label, **style)
    ax.set_xticks(range(len(_shown(panel))), _shown(panel), rotation=30)
    for tick in ax.get_xticklabels():
        tick.set_horizontalalignment("right")
    ax.set_ylabel("test accuracy at the last epoch, %")
    if len(metrics) > 1:
        ax.legend()
    ax.set_title("A dot a seed, a line the mean", fontsize="medium")


def _draw_gradients(panel, records, ax):
    plain = panel.arms[0].name
    base = _layer_means(records, plain, "gradient")
    for arm in _shown(panel):
        means = _layer_means(records, arm, "gradient")
        ratios = [means[layer] / base[layer] for layer in base]
        ax.plot(list(base), ratios, "o-", label=arm)
    ax.set_yscale("log")
    ax.set_ylabel(f"mean |∂E/∂W| over that of {plain}")
    ax.set_title("Gradient ratio per layer", fontsize="medium")
    ax.legend(loc="center right", fontsize="small")


def _draw_losses(panel, records, ax):
    for arm in _shown(panel):
        losses = np.mean(
            list(by_seed(records, arm, "train_loss").values()), axis=0
        )
        ax.plot(np.arange(1, len(losses) + 1), losses, label=arm)
    ax.set_yscale("log")
    ax.set_xlabel("epoch")
    ax.set_ylabel("training loss in training mode, nats")
    ax.set_title("Speed of training", fontsize="medium")
    ax.legend(fontsize="small")


def _draw_saturation(panel, records, ax):
    for arm in _shown(panel):
        means = _layer_means(records, arm, "saturation")
        ax.plot(list(means), list(means.values()), "o-", label=arm)
    ax.set_ylabel("share of |z| > 1.818 on test data")
    ax.set_title("Saturated net values", fontsize="medium")
    ax.legend(fontsize="small")
