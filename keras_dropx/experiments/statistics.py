"""Paired differences: simultaneous t intervals, the verdicts they allow."""

import bisect
import functools
import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from keras_dropx.experiments.measures import describe, value

LEVEL = 0.05
MOST_SEEDS = 100_000


class Interval(NamedTuple):
    """The paired difference of two methods.

    Attributes:
        mean: Mean difference over the seeds, None without a pair.
        low: Lower end of the interval, None where there is no interval.
        high: Upper end of the interval, likewise.
        count: Number of pairs of finite numbers.
        verdict: "higher", "lower", "equal" (within the margin) or
            "not resolved".
        seeds_needed: Number of seeds that would about resolve it, None where
            it is resolved or where nothing says so: without spread, say.
        diverged: Number of pairs with a number that is not finite.
    """

    mean: float | None
    low: float | None
    high: float | None
    count: int
    verdict: str
    seeds_needed: int | None = None
    diverged: int = 0

    @property
    def has_no_spread(self):
        """Whether equal differences are all there is, and too few."""
        return self.count > 1 and self.low is None

    @property
    def why_no_interval(self):
        """Why `low` and `high` are None, a string."""
        if self.has_no_spread:
            return f"no spread in {seeds_text(self.count)}"
        if self.diverged:
            return "diverged"
        return "one seed: no interval" if self.count else "no pair of runs"


def compare(differences, margins, looks=1):
    """Compares pairs of methods, all together at the 95 % level.

    Each of m differences gets the paired t interval of level
    1 - 0.05 / (m · looks), by Bonferroni: the probability that some interval,
    at some look, misses its mean is at most 5 %. All verdicts are read from
    these intervals.

    Equal differences have no spread to make a t interval of. The median lies
    between the smallest and the largest of n numbers with probability
    1 - 2 · 0.5ⁿ: with fewer seeds than that asks for there is no interval, and
    nothing to estimate from how many seeds are needed.

    The seeds needed are the smallest n whose half interval, from the standard
    deviation of the differences, is at most the margin; without a margin, at
    most the mean difference seen.

    A pair in which a run diverged has no difference; the others show an
    interval, but no verdict, as they were selected by their outcome.

    Args:
        differences: List of m arrays, treatment minus control per seed.
        margins: List of m positive numbers, what counts as equal, or None:
            nothing does.
        looks: Integer, how often the differences are compared as seeds are
            added. The level is split evenly.

    Returns:
        List of m `Interval`s in the given order.
    """
    level = LEVEL / (max(len(differences), 1) * looks)
    return [
        _compare(np.asarray(difference, "float64"), margin, level)
        for difference, margin in zip(differences, margins, strict=True)
    ]


def standard_error(values):
    """Returns the standard error of a mean, None for fewer than two values."""
    if len(values) < 2:
        return None
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


def half_width(sd, count, level):
    """Returns half the width of a t interval; it misses the mean at `level`."""
    return _quantile(count - 1, level) * sd / math.sqrt(count)


def seeds_text(count):
    """Returns "1 seed", "2 seeds", …"""
    return f"{count:,} seed" + ("" if count == 1 else "s")


def _compare(difference, margin, level):
    finite = difference[np.isfinite(difference)]
    count, diverged = len(finite), len(difference) - len(finite)
    mean = float(finite.mean()) if count else None
    none = Interval(mean, None, None, count, "not resolved", None, diverged)
    if count < 2:
        return none
    sd = float(finite.std(ddof=1))
    if np.ptp(finite) <= 1e-9 * abs(finite).max():
        if count < math.ceil(1 - math.log2(level)):
            return none
        sd = 0.0
    half = float(half_width(sd, count, level))
    low, high = mean - half, mean + half
    verdict = "not resolved"
    if diverged:
        pass
    elif low > 0 or high < 0:
        verdict = "higher" if mean > 0 else "lower"
    elif margin is not None and -margin < low and high < margin:
        verdict = "equal"
    needed = None
    if verdict == "not resolved" and not diverged:
        goal = abs(mean) if margin is None else margin
        needed = _seeds_needed(sd, goal, level)
        if needed is not None and needed <= count:
            # Precise enough, but across the margin: what tells the mean seen
            # from 0, or from the margin.
            goal = max(abs(mean), margin - abs(mean))
            needed = _seeds_needed(sd, goal, level)
            needed = needed and max(needed, count + 1)
    return Interval(mean, low, high, count, verdict, needed, diverged)


def _seeds_needed(sd, goal, level):
    """Returns the smallest n whose half interval is at most `goal`, or None."""
    if half_width(sd, MOST_SEEDS, level) > goal:
        return None
    return bisect.bisect_left(
        range(MOST_SEEDS),
        True,
        lo=2,
        key=lambda count: half_width(sd, count, level) <= goal,
    )


@functools.cache
def _quantile(degrees, level):
    return stats.t.ppf(1 - level / 2, degrees)


def by_seed(records, method, metric="test_accuracy"):
    """Returns a dict from seed to the number of a method's run."""
    return {
        record["seed"]: number
        for record in records
        if record["method"] == method
        and (number := value(record, metric)) is not None
    }


def paired(records, metric, treatment, control):
    """Returns treatment minus control, an array over the seeds both have."""
    return _array(_differences(records, metric, treatment, control))


def contrasted(records, contrast):
    """Returns a contrast's difference, an array over seeds.

    Of several pairs the mean is taken, over the seeds that all have.
    """
    methods = list(dict.fromkeys(record["method"] for record in records))
    pairs = [
        _differences(records, contrast.metric, *pair)
        for pair in contrast.pairs(methods)
    ]
    if not pairs:
        return np.array([])
    seeds = set.intersection(*map(set, pairs))
    return _array(
        {seed: np.mean([pair[seed] for pair in pairs]) for seed in seeds}
    )


def compared(records, contrasts, looks=1):
    """Returns an `Interval` for each contrast, all together."""
    return compare(
        [contrasted(records, contrast) for contrast in contrasts],
        [contrast.margin for contrast in contrasts],
        looks,
    )


def _differences(records, metric, treatment, control):
    treated = by_seed(records, treatment, metric)
    controls = by_seed(records, control, metric)
    scale = describe(metric).scale
    return {
        seed: scale * (treated[seed] - controls[seed])
        for seed in treated.keys() & controls.keys()
    }


def _array(differences):
    return np.array([differences[seed] for seed in sorted(differences)])
