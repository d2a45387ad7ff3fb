import numpy as np
import pytest
from scipy import stats

from keras_dropx.experiments.statistics import compare


def test_one_difference_gets_the_t_interval():
    difference = np.array([1.0, 2.0, 4.0, 3.0])
    (result,) = compare([difference], [0.5])
    interval = stats.ttest_1samp(difference, 0).confidence_interval(0.95)
    assert result.mean == 2.5
    assert (result.low, result.high) == pytest.approx(tuple(interval))
    assert result.count == 4
    assert result.verdict == "higher"


def test_holm_widens_the_interval_of_the_smallest_p_value_most():
    clear = np.array([5.0, 5.1, 4.9, 5.0])
    vague = np.array([1.0, -1.0, 2.0, 0.5])
    second, first = compare([vague, clear], [0.5, 0.5])
    for result, difference, level in (
        (first, clear, 0.975),
        (second, vague, 0.95),
    ):
        interval = stats.ttest_1samp(difference, 0).confidence_interval(level)
        assert (result.low, result.high) == pytest.approx(tuple(interval))


def test_holm_stops_at_the_first_that_is_not_resolved():
    # Alone, at 95 %, both leave out 0; the smaller p value fails at 97.5 %.
    first = np.array([1.0, 2.0, 3.0, 2.0, 0.1, -0.2])
    second = -first - 0.01
    alone = compare([first], [0.1])[0]
    assert alone.verdict == "higher"
    together = compare([first, second], [0.1, 0.1])
    assert [result.verdict for result in together] == ["not resolved"] * 2


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        ([3.0, 3.1, 2.9], "higher"),
        ([-3.0, -3.1, -2.9], "lower"),
        ([0.01, -0.01, 0.02], "equal"),
        ([3.0, -3.0, 2.0], "not resolved"),
        ([0.0, 0.0, 0.0], "equal"),
        ([1.0], "not resolved"),
        ([], "not resolved"),
    ],
)
def test_verdict(difference, verdict):
    (result,) = compare([difference], [0.5])
    assert result.verdict == verdict


def test_family_wise_error_is_held():
    rng = np.random.default_rng(0)
    false = sum(
        any(
            result.verdict in ("higher", "lower")
            for result in compare(rng.normal(size=(4, 6)), [1e-9] * 4)
        )
        for _ in range(2000)
    )
    # 5 % and four standard errors of it.
    assert false / 2000 < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 2000)
    assert false / 2000 > 0.02
