"""Simulated comparisons: how often the intervals err, and what they find.

The differences are drawn; the intervals, the verdicts and the seeds needed
are those of `keras_dropx.experiments.statistics.compare`, which `compare`
uses. All is in units of the standard deviation of a paired difference.
"""

import numpy as np

from benchmarks import comparison_goals, device
from keras_dropx.experiments import statistics
from keras_dropx.experiments.named_methods import CONTROLS

SCHEMA = 1
METHODS = ("none", "dropout", "augmented", "forward", "backward", "jumpout")
CONTRASTS = tuple((m, CONTROLS[m]) for m in METHODS if m in CONTROLS)
PLANTED = "forward"
FIXED, LOOKED = (5,), (5, 10, 20, 40)
EFFECTS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
COUNTS = (3, 5, 10, 20, 40, 80)
PILOTS = (3, 5, 10, 20, 35, 40, 60)
TRUE_SEEDS = 100
# Of the margin; times the seeds needed.
DIFFERENCES, TIMES = (0.0, 0.5, 1.0, 2.0), (1, 1.5, 2, 4)
# What a run's number is spread by, about a mean that the seed sets.
NOISE = {
    "normal": lambda rng, shape: rng.normal(size=shape) / np.sqrt(2),
    "heavy-tailed": lambda rng, shape: rng.standard_t(2, size=shape),
}
SEED_SPREAD = 3.0


def measure(comparisons=2000):
    """Simulates comparisons.

    Args:
        comparisons: Integer, how many for each number.

    Returns:
        Dict of lists of dicts, as JSON takes it.
    """
    return {
        "schema": SCHEMA,
        "part": "simulated",
        "machine": device.describe(),
        "comparisons": comparisons,
        "contrasts": len(CONTRASTS),
        "false_alarms": [
            {
                "noise": noise,
                "seeds": list(counts),
                "looks": looks,
                "share": false_alarms(noise, counts, comparisons, looks),
            }
            for noise in NOISE
            # The last one does not split its level: what that would cost.
            for counts, looks in ((FIXED, 1), (LOOKED, 4), (LOOKED, 1))
        ],
        "found": [
            {
                "effect": effect,
                "seeds": [count],
                "share": found(effect, (count,), comparisons),
            }
            for effect in EFFECTS
            for count in COUNTS
        ]
        + [
            {
                "effect": effect,
                "seeds": list(LOOKED),
                "share": found(effect, LOOKED, comparisons),
            }
            for effect in EFFECTS
        ],
        "seeds_needed": [seeds_needed(pilot, comparisons) for pilot in PILOTS],
        "resolved": [
            {
                "difference": difference,
                "times": times,
                "share": resolved(difference, times, comparisons),
            }
            for difference in DIFFERENCES
            for times in TIMES
        ],
    }


def drawn(rng, noise, seeds, effect=0.0):
    """Draws one comparison.

    Args:
        rng: `np.random.Generator`.
        noise: Key of `NOISE`.
        seeds: Integer.
        effect: Float, by how much `PLANTED` is better than all others.

    Returns:
        Array of shape (contrasts, seeds), treatment minus control.
    """
    values = NOISE[noise](rng, (len(METHODS), seeds))
    values += SEED_SPREAD * rng.normal(size=seeds)
    values[METHODS.index(PLANTED)] += effect
    rows = [[METHODS.index(name) for name in pair] for pair in CONTRASTS]
    return np.array([values[a] - values[b] for a, b in rows])


def looked_at(differences, counts, looks):
    """Lists the intervals of each look, as `compare` takes them.

    Args:
        differences: Array of shape (contrasts, seeds).
        counts: Sequence of integers, the seeds of each look.
        looks: Integer, over how many looks the level is split.

    Returns:
        List of lists of `statistics.compare`'s results.
    """
    margins = [None] * len(differences)
    return [
        statistics.compare(differences[:, :count], margins, looks)
        for count in counts
    ]


def false_alarms(noise, counts, comparisons, looks):
    """Returns the share of comparisons with an interval that excludes 0.

    At any look: who stops at the first does not see fewer.
    """
    rng = np.random.default_rng(17)
    alarms = 0
    for _ in range(comparisons):
        seen = looked_at(drawn(rng, noise, counts[-1]), counts, looks)
        alarms += any(
            comparison_goals.is_alarm((one.low, one.high))
            for intervals in seen
            for one in intervals
        )
    return alarms / comparisons


def found(effect, counts, comparisons):
    """Returns the share of comparisons that find a planted difference."""
    rng = np.random.default_rng(18)
    place = [a for a, _ in CONTRASTS].index(PLANTED)
    right = 0
    for _ in range(comparisons):
        differences = drawn(rng, "normal", counts[-1], effect)
        seen = looked_at(differences, counts, len(counts))
        right += any(one[place].verdict == "higher" for one in seen)
    return right / comparisons


def seeds_needed(pilot, comparisons):
    """Compares the seeds that a small comparison names with the true number.

    True is what `seeds_needed` would be of the standard deviation itself.

    Returns:
        Dict: the share within a factor of 1.5, and the 5 %, 50 % and 95 %
        quantiles of the seeds named, over the true number.
    """
    rng = np.random.default_rng(19)
    margins = [_margin()] * len(CONTRASTS)
    named = []
    for _ in range(comparisons):
        intervals = statistics.compare(drawn(rng, "normal", pilot), margins)
        # One contrast of each: those of a comparison are not independent.
        named.append((intervals[0].seeds_needed or 0) / TRUE_SEEDS)
    right = [1 / 1.5 <= ratio <= 1.5 for ratio in named]
    return {
        "pilot": pilot,
        "within_1.5": float(np.mean(right)),
        "quantiles": np.quantile(named, [0.05, 0.5, 0.95]).tolist(),
    }


def resolved(difference, times, comparisons):
    """Returns the share of contrasts resolved with the true seeds needed.

    Args:
        difference: Float, the true difference over the margin.
        times: Float, times how many seeds.
        comparisons: Integer.
    """
    rng = np.random.default_rng(20)
    seeds = round(times * TRUE_SEEDS)
    margins = [_margin()] * len(CONTRASTS)
    share = 0
    for _ in range(comparisons):
        values = rng.normal(difference * margins[0], size=(1, seeds))
        values = np.repeat(values, len(CONTRASTS), axis=0)
        one = statistics.compare(values, margins)[0]
        share += one.verdict != "not resolved"
    return share / comparisons


def _margin():
    """Returns half the width of the intervals of `TRUE_SEEDS` seeds."""
    level = statistics.LEVEL / len(CONTRASTS)
    return float(statistics.half_width(1.0, TRUE_SEEDS, level))
