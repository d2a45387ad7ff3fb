"""The pictures that the callbacks draw, and the lines of all pictures.

Lines are told apart by the colour-blind, and in print.
"""

# Okabe and Ito 2008, without the yellow that is faint on white.
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#E69F00",
    "#000000",
)
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def line(number, marked=True):
    """Returns the style of one of several lines, different for 42 of them.

    Args:
        number: Integer.
        marked: Whether the points are marked.
    """
    style = {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": LINES[number % len(LINES)],
    }
    if marked:
        style |= {"marker": MARKERS[number % len(MARKERS)], "markersize": 4}
    return style


def figure(title, columns, width=4.0, height=3.9):
    """Returns a titled matplotlib figure and its axes, a row of columns.

    `width` is that of one column, in inches.

    Raises:
        ImportError: If matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "`plot` needs matplotlib: pip install matplotlib"
        ) from error
    drawn = Figure((width * columns + 1.4, height), layout="constrained")
    drawn.suptitle(title, fontsize="medium")
    axes = drawn.subplots(1, columns, squeeze=False)[0]
    for axis in axes:
        axis.grid(alpha=0.25)
    return drawn, axes


def legend(drawn, named, title=None):
    """Draws one legend beside all panels, where it covers nothing.

    Args:
        drawn: Figure.
        named: Dict from a text to one of its lines.
        title: String, or None.
    """
    drawn.legend(
        named.values(),
        named.keys(),
        title=title,
        fontsize="small",
        loc="outside right center",
        ncols=1 + len(named) // 16,
    )


def layers_of(results, name):
    """Lists (layer, values) for the keys `name/<layer>`."""
    return [
        (key.removeprefix(f"{name}/"), values)
        for key, values in results.items()
        if key.startswith(f"{name}/") and values.ndim == 1
    ]


def lines(results, title, labels, logarithmic=False, limits=None, levels=()):
    """Draws a panel for each name, a line for each layer over the training.

    A layer has one style in all panels. Lines have their markers at different
    points, by which those that coincide are told apart.

    Args:
        results: `measurement.Results` of at least one measurement.
        title: String, of the figure.
        labels: Dict from a name to the label of its axis, with its unit.
        logarithmic: Whether the values are on a log scale.
        limits: Tuple, the range of the values, or None.
        levels: Names whose panels have a line at 1.

    Raises:
        ValueError: If nothing has been measured.
    """
    check(results)
    when = next(iter(results))
    found = {name: layers_of(results, name) for name in labels}
    layers = list(
        dict.fromkeys(key for pairs in found.values() for key, _ in pairs)
    )
    drawn, axes = figure(title, len(labels))
    named = {}
    for axis, (name, label) in zip(axes, labels.items(), strict=True):
        if name in levels:
            axis.axhline(1, color="grey", linewidth=0.8)
        for layer, values in found[name]:
            number = layers.index(layer)
            step = min(len(layers), max(1, len(values) // 2))
            (named[layer],) = axis.plot(
                results[when],
                values,
                markevery=(number % step, step),
                **line(number),
            )
        axis.set(xlabel=LABELS[when], ylabel=label)
        axis.xaxis.get_major_locator().set_params(integer=True)
        if logarithmic:
            axis.set_yscale("log")
        if limits is not None:
            axis.set_ylim(limits)
    legend(drawn, {layer: named[layer] for layer in layers}, "layer")
    return drawn


def check(results):
    """Refuses results without a measurement.

    Raises:
        ValueError: If nothing has been measured.
    """
    if not results:
        raise ValueError("Nothing has been measured yet: train first.")


LABELS = {"epoch": "epoch", "step": "training steps"}
