"""How the pictures of the callbacks look; the numbers are made up."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from keras_dropx.callbacks import figures

TITLE = "Net values after a mask: training over inference (20 masks)"
SAME = np.linspace(0.1, 0.2, 8)
RESULTS = {
    "epoch": np.arange(8),
    "active/hidden_with_a_long_name": SAME,
    "active/drop": SAME,
    "changed/drop": SAME / 2,
}


@pytest.fixture
def drawn():
    return figures.lines(
        RESULTS,
        TITLE,
        {"active": "share", "changed": "share"},
        levels=["active"],
    )


def test_a_layer_has_one_style_in_all_panels(drawn):
    (level, _, first), (second,) = (axis.lines for axis in drawn.axes)
    for read in ("get_color", "get_linestyle", "get_marker"):
        assert getattr(first, read)() == getattr(second, read)()
    assert set(level.get_ydata()) == {1}


def test_lines_that_coincide_are_told_apart(drawn):
    _, first, second = drawn.axes[0].lines
    np.testing.assert_array_equal(first.get_ydata(), second.get_ydata())
    assert first.get_color() != second.get_color()
    assert first.get_linestyle() != second.get_linestyle()
    marked = [
        set(range(start, 8, step))
        for start, step in (line.get_markevery() for line in (first, second))
    ]
    assert all(marked) and not set.intersection(*marked)


@pytest.mark.parametrize("names", [["active"], ["active", "changed"]])
def test_the_legend_covers_nothing(names):
    drawn = figures.lines(RESULTS, TITLE, dict.fromkeys(names, "share"))
    FigureCanvasAgg(drawn).draw()
    (legend,) = drawn.legends
    (title,) = drawn.texts
    assert title.get_text() == TITLE
    boxes = [axis.get_tightbbox() for axis in drawn.axes]
    boxes += [legend.get_window_extent(), title.get_window_extent()]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
