"""The pictures that the callbacks draw of their results."""


def figure(rows=1, columns=1, width=7.0, height=4.0):
    """Returns a matplotlib figure and its axes, an array of rows × columns.

    Raises:
        ImportError: If matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "`plot` needs matplotlib: pip install matplotlib"
        ) from error
    drawn = Figure(figsize=(width, height), layout="constrained")
    return drawn, drawn.subplots(rows, columns, squeeze=False)


def layers_of(results, name):
    """Lists (layer, values) for the keys `name/<layer>`."""
    return [
        (key.removeprefix(f"{name}/"), values)
        for key, values in results.items()
        if key.startswith(f"{name}/") and values.ndim == 1
    ]


def lines(results, labels, logarithmic=False, limits=None):
    """Draws a panel for each name, a line for each layer over the training.

    Args:
        results: `measurement.Results` of at least one measurement.
        labels: Dict from a name to the label of its axis, with its unit.
        logarithmic: Whether the values are on a log scale.
        limits: Tuple, the range of the values, or None.

    Raises:
        ValueError: If nothing has been measured.
    """
    check(results)
    when = next(iter(results))
    drawn, axes = figure(1, len(labels), width=4.5 * len(labels), height=4.0)
    for axis, (name, label) in zip(axes[0], labels.items(), strict=True):
        for number, (layer, values) in enumerate(layers_of(results, name)):
            axis.plot(
                results[when],
                values,
                "osv^Dx*"[number % 7] + "-",
                markersize=4,
                label=layer,
            )
        axis.set(xlabel=LABELS[when], ylabel=label)
        axis.xaxis.get_major_locator().set_params(integer=True)
        if logarithmic:
            axis.set_yscale("log")
        if limits is not None:
            axis.set_ylim(limits)
        axis.legend(title="layer", fontsize="small")
    return drawn


def check(results):
    """Refuses results without a measurement.

    Raises:
        ValueError: If nothing has been measured.
    """
    if not results:
        raise ValueError("Nothing has been measured yet: train first.")


LABELS = {"epoch": "epoch", "step": "training steps"}
