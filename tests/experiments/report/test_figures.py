"""What figures owe their readers: shared axes, lines told apart, no cover."""

import types

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from keras_dropx.experiments.plan import Contrast, Method
from keras_dropx.experiments.report import figures, overview, style


def plan_of(*names):
    return types.SimpleNamespace(
        name="a plan",
        claim="Does it?",
        methods=[Method(name) for name in names],
        contrasts=[],
        floor=None,
    )


def records_of(layers, measure, name):
    """Returns runs of two methods, of which one has half the layers."""
    return [
        {
            "method": method,
            "seed": seed,
            "epochs": 8,
            "dataset": "digits",
            "measured": [
                {
                    "epoch": epoch,
                    measure: {
                        f"{name}/layer_{k}": k + seed + 0.1 * epoch
                        for k in range(count)
                    },
                }
                for epoch in range(1, 9)
            ],
        }
        for seed in range(3)
        for method, count in (("a", layers), ("b", layers // 2))
    ]


def lines_of(ax):
    return {line.get_label(): line for line in ax.lines}


def test_many_layers_are_in_several_panels_on_one_scale():
    records = records_of(12, "active_fraction", "active_fraction")
    drawn = figures.figure("active_fraction", plan_of("a", "b"), records)
    first, second, third, empty = drawn.axes
    assert list(lines_of(first)) == [f"layer_{k}" for k in range(6)]
    assert list(lines_of(second)) == [f"layer_{k}" for k in range(6, 12)]
    assert list(lines_of(third)) == [f"layer_{k}" for k in range(6)]
    assert not empty.axison
    for ax in (first, second, third):
        colours = [line.get_color() for line in ax.lines]
        assert len(set(colours)) == len(colours)
        assert ax.get_ylim() == first.get_ylim()
    assert "(digits, 8 epochs; 3 seeds)" in drawn.get_suptitle()


def test_lines_that_coincide_are_marked_at_different_points():
    axes = style.figure_of("a title", 1)[1][0, 0]
    for points in (8, 100):
        axes.clear()
        for number in range(4):
            style.band(axes, range(points), [[1.0] * points] * 2, "", number)
        marked = [
            set(range(points)[slice(start, None, step)])
            for start, step in (line.get_markevery() for line in axes.lines)
        ]
        assert all(marked)
        assert not set.intersection(*marked[:2])
        assert sum(map(len, marked)) == len(set.union(*marked))


@pytest.mark.parametrize("kind", ["losses", "moments", "rates"])
def test_no_legend_covers_its_axes(kind):
    rng = np.random.default_rng(0)
    names = ["x 0.1", "x 0.2", "y 0.1"]
    records = [
        {
            "method": name,
            "seed": seed,
            "epochs": 4,
            "dataset": "digits",
            "train_loss": list(rng.random(4)),
            "curve": [
                {"epoch": k + 1, "test_loss": rng.random()} for k in range(4)
            ],
            "measured": [
                {
                    "epoch": k,
                    "moment_drift": {
                        "mean_drift/l": rng.random(),
                        "variance_drift/l": rng.random(),
                    },
                }
                for k in range(4)
            ],
            "test_accuracy": rng.random(),
            "reestimated_accuracy": rng.random(),
        }
        for name in names
        for seed in range(2)
    ]
    drawn = figures.figure(kind, plan_of(*names), records)
    FigureCanvasAgg(drawn).draw()
    legends = [ax.get_legend() for ax in drawn.axes if ax.get_legend()]
    assert legends
    for found in legends:
        box = found.get_window_extent()
        for ax in drawn.axes:
            own = ax.get_window_extent()
            across = min(box.x1, own.x1) - max(box.x0, own.x0)
            down = min(box.y1, own.y1) - max(box.y0, own.y0)
            # The frame of the legend touches that of the axes.
            assert min(across, down) < 1
    left, right = drawn.axes
    assert left.get_ylim() == right.get_ylim()


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_dots_of_a_contrast_are_nearer_to_it_than_to_others(count):
    names = ["base", *(f"m{k}" for k in range(count))]
    plan = plan_of(*names)
    metric = "test_accuracy"
    plan.contrasts = [Contrast(metric, name, "base", 0.5) for name in names[1:]]
    rng = np.random.default_rng(0)
    records = [
        {"method": name, "seed": seed, metric: rng.random()}
        for name in names
        for seed in range(3)
    ]
    axes = style.figure_of("a title", 1)[1][0, 0]
    overview.contrasts(plan, records, axes)
    bottom, top = axes.get_ylim()
    assert bottom > top  # the first on top
    shown = [line for line in axes.lines if line.get_color() != "black"]
    for dots, interval, mean in zip(*[iter(shown)] * 3, strict=True):
        assert len(dots.get_xdata()) == 3
        apart = abs(dots.get_ydata()[0] - interval.get_ydata()[0])
        assert apart < 0.2 * (bottom - top) and mean.get_ydata()[0] < bottom


def test_five_panels_are_in_two_rows():
    names = ["base", "m"]
    plan = plan_of(*names)
    plan.contrasts = [Contrast("test_accuracy", "m", "base", 0.5)]
    layers = {"hidden": 1.0, "logits": 2.0}
    records = [
        {
            "method": name,
            "seed": seed,
            "epochs": 4,
            "dataset": "digits",
            "test_accuracy": 0.5 + 0.1 * seed,
            "gradient": layers,
            "saturation": layers,
            "epochs_to_loss": 3.0,
            "train_loss": [4.0, 3.0, 2.0, 1.0],
        }
        for name in names
        for seed in range(2)
    ]
    drawn = figures.figure(None, plan, records)
    FigureCanvasAgg(drawn).draw()
    *shown, empty = drawn.axes
    assert len(shown) == 5 and not empty.axison
    (title,) = drawn.texts
    for ax in shown:
        assert not ax.get_tightbbox().overlaps(title.get_window_extent())
