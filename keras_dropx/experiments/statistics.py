"""Paired comparisons: t intervals, Holm, and a verdict read from them."""

from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.05


class Comparison(NamedTuple):
    """The paired difference of two arms.

    Attributes:
        mean: Mean difference over the seeds.
        low: Lower end of the interval.
        high: Upper end of the interval.
        count: Number of pairs.
        verdict: "higher", "lower", "equal" (within the margin) or
            "not resolved".
    """

    mean: float
    low: float
    high: float
    count: int
    verdict: str


def compare(differences, margins):
    """Compares pairs of arms, correcting for their number by Holm's method.

    Of m differences the one with the k-th smallest p value gets the t
    interval of level 1 - 0.05/(m - k + 1). It is resolved while its interval
    and those of all smaller p values leave out 0. The probability of one
    false "higher" or "lower" among the m is then at most 5 %.

    Args:
        differences: List of m arrays, treatment minus control per seed.
        margins: List of m positive numbers: what counts as equal.

    Returns:
        List of m `Comparison`s in the given order.
    """
    differences = [np.asarray(d, "float64") for d in differences]
    errors = [_standard_error(d) for d in differences]
    p_values = [
        _p_value(d, error) for d, error in zip(differences, errors, strict=True)
    ]
    comparisons = [None] * len(differences)
    resolved = True
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        d, error = differences[index], errors[index]
        level = LEVEL / (len(differences) - rank)
        mean = d.mean() if len(d) else np.nan
        half = np.inf
        if len(d) > 1:
            half = stats.t.ppf(1 - level / 2, len(d) - 1) * error
        low, high = mean - half, mean + half
        resolved = resolved and (low > 0 or high < 0)
        if resolved:
            verdict = "higher" if mean > 0 else "lower"
        elif -margins[index] < low and high < margins[index]:
            verdict = "equal"
        else:
            verdict = "not resolved"
        comparisons[index] = Comparison(
            float(mean), float(low), float(high), len(d), verdict
        )
    return comparisons


def _standard_error(difference):
    if len(difference) < 2:
        return np.inf
    return difference.std(ddof=1) / np.sqrt(len(difference))


def _p_value(difference, error):
    if len(difference) < 2:
        return 1.0
    if error == 0:
        return float(difference[0] == 0)
    return 2 * stats.t.sf(abs(difference.mean()) / error, len(difference) - 1)
