import numpy as np
import pytest
from scipy import stats

from keras_dropx.experiments.plan import Contrast
from keras_dropx.experiments.statistics import (
    compare,
    contrasted,
    half_width,
    seeds_text,
    standard_error,
)


def t_interval(difference, level):
    return tuple(stats.ttest_1samp(difference, 0).confidence_interval(level))


@pytest.mark.parametrize("looks", [1, 4])
@pytest.mark.parametrize("number", [1, 2, 7])
def test_every_interval_has_the_simultaneous_level(number, looks):
    differences = [
        np.array([5.0, 5.1, 4.9, 5.0]),
        np.array([1.0, -1.0, 2.0, 0.5]),
        *np.random.default_rng(0).normal(size=(5, 6)),
    ][:number]
    results = compare(differences, [0.5] * number, looks)
    for result, difference in zip(results, differences, strict=True):
        expected = t_interval(difference, 1 - 0.05 / number / looks)
        assert (result.low, result.high) == pytest.approx(expected)
        assert result.mean == pytest.approx(np.mean(difference))
        assert result.count == len(difference)


def test_verdicts_are_read_from_that_interval():
    # Alone, at 95 %, both leave out 0; together, at 97.5 %, they do not.
    first = np.array([1.0, 2.0, 3.0, 2.0, 0.1, -0.2])
    second = -first - 0.01
    assert compare([first], [0.1])[0].verdict == "higher"
    together = compare([first, second], [0.1, 0.1])
    assert [result.verdict for result in together] == ["not resolved"] * 2


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        ([3.0, 3.1, 2.9], "higher"),
        ([-3.0, -3.1, -2.9], "lower"),
        ([0.01, -0.01, 0.02], "equal"),
        ([3.0, -3.0, 2.0], "not resolved"),
        ([0.0] * 6, "equal"),
        ([1.0], "not resolved"),
        ([], "not resolved"),
    ],
)
def test_verdict(difference, verdict):
    (result,) = compare([difference], [0.5])
    assert result.verdict == verdict


def test_without_a_margin_nothing_is_equal():
    difference = [0.01, -0.01, 0.02]
    (result,) = compare([difference], [None])
    assert result.verdict == "not resolved"
    # What would tell the mean seen from 0.
    (at_margin,) = compare([difference], [np.mean(difference)])
    assert result.seeds_needed == at_margin.seeds_needed > 3
    assert compare([[1.0, -1.0]], [None])[0].seeds_needed is None
    (result,) = compare([[3.0, 3.1, 2.9]], [None])
    assert result.verdict == "higher"


def test_no_interval_without_two_seeds():
    one, none = compare([[1.5], []], [0.5, 0.5])
    assert one[:4] == (1.5, None, None, 1)
    assert one.why_no_interval == "one seed: no interval"
    assert none[:4] == (None, None, None, 0)
    assert none.why_no_interval == "no pair of runs"


@pytest.mark.parametrize("value", [0.0, 2.0, 100 * (0.9 - 0.8)])
@pytest.mark.parametrize("number, enough", [(1, 6), (4, 8)])
def test_equal_differences_are_no_verdict_until_the_median_is_known(
    value, number, enough
):
    """2 · 0.5⁶ = 3 % is below 5 %, 2 · 0.5⁸ = 0.8 % below 5 % / 4."""
    for count in (2, 3, enough - 1):
        result = compare([[value] * count] * number, [0.5] * number)[0]
        assert result[1:] == (None, None, count, "not resolved", None, 0)
        assert result.has_no_spread
        assert result.why_no_interval == f"no spread in {count} seeds"
    result = compare([[value] * enough] * number, [0.5] * number)[0]
    assert result.low == result.high == pytest.approx(value)
    assert not result.has_no_spread
    assert result.verdict == ("higher" if value else "equal")


def test_rounding_is_no_spread():
    difference = 100 * (np.array([0.9, 0.8, 0.7]) - np.array([0.8, 0.7, 0.6]))
    assert np.ptp(difference) > 0
    assert compare([difference], [0.5])[0].low is None


def test_runs_that_diverged_leave_no_verdict():
    (result,) = compare([[3.0, np.nan, 3.1, 2.9, -np.inf]], [0.5])
    expected = t_interval([3.0, 3.1, 2.9], 0.95)
    assert (result.low, result.high) == pytest.approx(expected)
    assert (result.count, result.diverged) == (3, 2)
    assert result.verdict == "not resolved" and result.seeds_needed is None
    (result,) = compare([[np.nan] * 3], [0.5])
    assert (result.mean, result.low, result.count) == (None, None, 0)
    assert result.why_no_interval == "diverged"


@pytest.mark.parametrize("looks", [1, 4])
def test_seeds_needed_is_the_smallest_number_that_will_do(looks):
    differences = [np.array([3.0, -3.0, 2.0, 0.2]), np.array([1.0, -1.0, 0.1])]
    margins = (0.5, 0.7)
    results = compare(differences, margins, looks)
    for result, d, margin in zip(results, differences, margins, strict=True):
        half = [
            stats.t.ppf(1 - 0.05 / 2 / looks / 2, n - 1)
            * np.std(d, ddof=1)
            / np.sqrt(n)
            for n in (result.seeds_needed - 1, result.seeds_needed)
        ]
        assert half[0] > margin >= half[1]


def test_more_seeds_are_needed_of_what_lies_across_the_margin():
    difference = 0.35 + 0.6 * np.tile([-1.0, 1.0], 6)
    (result,) = compare([difference], [0.5])
    sd = np.std(difference, ddof=1)
    assert half_width(sd, 12, 0.05) < 0.5 and result.low < 0 < 0.5 < result.high
    assert half_width(sd, result.seeds_needed, 0.05) <= 0.35
    assert half_width(sd, result.seeds_needed - 1, 0.05) > 0.35


def test_what_is_resolved_needs_no_seeds():
    results = compare([[3.0, 3.1, 2.9], [0.01, -0.01, 0.02]], [0.5, 0.5])
    assert [result.seeds_needed for result in results] == [None, None]


@pytest.mark.parametrize("number", [4, 10])
def test_intervals_hold_together(number):
    """With effects well apart; at Holm's step levels 10 % to 14 % miss."""
    tables, seeds = 4000, 10
    rng = np.random.default_rng(0)
    means = 5.0 * np.arange(number)
    missed = 0
    for table in rng.normal(means[:, None], 1, (tables, number, seeds)):
        results = compare(table, [0.5] * number)
        missed += any(
            not result.low < mean < result.high
            for result, mean in zip(results, means, strict=True)
        )
    # 5 % (1 - 0.95^(1/m) would be exact) and four standard errors of it.
    error = 4 * np.sqrt(0.05 * 0.95 / tables)
    assert 0.048 - error < missed / tables < 0.05 + error


def test_looks_hold_together():
    """Some interval at some look misses 0 in at most 5 % of comparisons."""
    looks, false, comparisons = (5, 10, 20, 40), 0, 2000
    for table in np.random.default_rng(1).normal(size=(comparisons, 3, 40)):
        false += any(
            result.verdict in ("higher", "lower")
            for count in looks
            for result in compare(table[:, :count], [None] * 3, len(looks))
        )
    assert 0.01 < false / comparisons < 0.05


def test_standard_error():
    values = [0.8, 0.9, 0.94]
    assert standard_error(values) == pytest.approx(stats.sem(values))
    assert standard_error([0.8]) is None


def test_one_seed_two_seeds():
    assert [seeds_text(n) for n in (1, 2, 1000)] == [
        *("1 seed", "2 seeds", "1,000 seeds"),
    ]


def test_contrast_over_settings_is_the_mean_of_their_pairs():
    accuracies = {"a 1": (0.5, 0.6), "a 2": (0.7, 0.9), "b 1": (0.4, 0.4)}
    accuracies["b 2"] = (0.5, 0.6)
    runs = [
        {"method": method, "seed": seed, "test_accuracy": value}
        for method, values in accuracies.items()
        for seed, value in enumerate(values)
    ]
    contrast = Contrast("test_accuracy", "a *", "b *", 0.5)
    np.testing.assert_allclose(contrasted(runs, contrast), [15, 25])
    # A seed that one of them lacks is left out.
    np.testing.assert_allclose(contrasted(runs[1:], contrast), [25])
