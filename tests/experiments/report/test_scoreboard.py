"""The claims of the papers at a glance: the table and the figure."""

import numpy as np
import pytest

from keras_dropx.experiments.measures import describe
from keras_dropx.experiments.plan import Contrast
from keras_dropx.experiments.report.forest import forest
from keras_dropx.experiments.report.scoreboard import (
    Claim,
    counts,
    scoreboard,
)
from keras_dropx.experiments.statistics import Interval

RESULTS = {
    "holds": Interval(2.0, 1.0, 3.0, 5, "higher"),
    "does not hold": Interval(-2.0, -3.0, -1.0, 5, "lower"),
    "not resolved": Interval(0.1, -1.0, 1.2, 5, "not resolved"),
}


def claim(outcome, dataset="digits", network="A", metric="test_accuracy"):
    return Claim(
        *("gaaf", "gaaf-table-3", network, dataset, f"{dataset}, 3 epochs", 5),
        Contrast(metric, "gaaf", "plain", 0.5, "GAAF | helps", "+"),
        describe(metric),
        RESULTS[outcome],
    )


def test_each_data_set_has_a_column_and_each_network_a_row():
    table = scoreboard(
        [
            claim("holds"),
            claim("not resolved", "mnist"),
            claim("does not hold", network="B"),
            claim("holds", metric="test_loss"),
        ]
    )
    assert table.headings[3:] == ["digits", "mnist"]
    holds = "✓ holds: +2.00 points (+1.00 to +3.00)"
    open_ = "○ not resolved: +0.10 points (-1.00 to +1.20)"
    fails = "✗ does not hold: -2.00 points (-3.00 to -1.00)"
    assert [row[3:] for row in table.rows[:2]] == [[holds, open_], [fails, ""]]
    # What is said once is not said again.
    assert [row[:2] for row in table.rows] == [
        ["GAAF | helps", "gaaf is above no dropout"],
        ["", ""],
        ["", "gaaf is above no dropout in loss"],
    ]


def test_a_plan_in_two_settings_says_which_is_which():
    table = scoreboard([claim("holds"), claim("does not hold")])
    (cell,) = (row[3] for row in table.rows)
    assert cell.count("digits, 3 epochs") == 2
    assert "✓ holds" in cell and "✗ does not hold" in cell


@pytest.mark.parametrize(
    "result, expected",
    [
        (Interval(None, None, None, 0, "not resolved"), "(no pair of runs)"),
        (
            Interval(1.0, None, None, 1, "not resolved"),
            ": +1.00 points (one seed: no interval)",
        ),
    ],
)
def test_where_there_is_no_interval_the_reason_stands(result, expected):
    found = claim("holds")._replace(result=result).found
    assert found.startswith("○ not resolved") and found.endswith(expected)


def test_claims_are_counted_for_each_data_set():
    claims = [claim(name) for name in RESULTS] + [claim("holds", "mnist")]
    lines = counts(claims, ["gaaf"]).splitlines()
    assert lines[2:] == [
        "| [GAAF](gaaf.md) | digits | 3 | 1 | 1 | 1 |",
        "| [GAAF](gaaf.md) | mnist | 1 | 1 | 0 | 0 |",
    ]


def test_forest_divides_by_the_margin():
    drawn = forest([claim("holds"), claim("does not hold", "mnist")])
    left, right = drawn.axes
    for ax, middle in ((left, 4.0), (right, -4.0)):
        lines = [np.asarray(line.get_xdata()).tolist() for line in ax.lines]
        assert [middle - 2, middle + 2] in lines and [middle] in lines
        assert ax.get_xlim()[0] == -ax.get_xlim()[1] < -6
    names = [text.get_text() for text in left.get_yticklabels()]
    assert names == ["gaaf-table-3", "gaaf > no dropout, A"]
    assert "(digits, mnist; 5 seeds)" in drawn.get_suptitle()


def test_forest_draws_what_has_no_interval():
    none = Interval(None, None, None, 0, "not resolved")
    one = Interval(1.0, None, None, 1, "not resolved")
    claims = [
        claim("holds", network=name)._replace(result=result)
        for name, result in (("A", none), ("B", one))
    ]
    (ax,) = forest(claims).axes
    points = [line.get_xdata() for line in ax.lines if line.get_marker() == "D"]
    assert [list(x) for x in points] == [[2.0]]
