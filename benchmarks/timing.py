"""Times functions against each other, interleaved in one process."""

import math
import random
import time
from typing import Any, NamedTuple

import numpy as np


class Timings(NamedTuple):
    """What `interleave` found out about one function.

    Attributes:
        compile_seconds: How much longer the first call took than the second.
        seconds: List of the seconds per call, one number a round; NaN in the
            rounds that a slow function sat out.
    """

    compile_seconds: float
    seconds: list

    @property
    def median(self):
        return float(np.nanmedian(self.seconds))


class Ratio(NamedTuple):
    """Quartiles of the ratios of two functions in the same rounds."""

    lower: float
    median: float
    upper: float


def interleave(
    calls,
    synchronize,
    rounds,
    shortest=5e-3,
    budget=1.2,
    clock=time.perf_counter,
):
    """Times each function once a round, in an order shuffled anew.

    A measurement repeats a function until it takes `shortest` seconds. One
    that would exceed its budget takes part in every second round only, or
    every fourth, …, but in three at least. So the rounds of a slow function
    are a subset of those of a faster one, and any two can be paired.

    Args:
        calls: Dict of names and functions without arguments.
        synchronize: Function that waits until a function's result is there.
        rounds: Integer.
        shortest: Seconds.
        budget: Seconds for each function.
        clock: Function that returns the time in seconds.

    Returns:
        Dict of names and `Timings`.
    """

    def timed(call, repeats):
        start = clock()
        for _ in range(repeats):
            result = call()
        synchronize(result)
        return (clock() - start) / repeats

    timings, plan = {}, {}
    for name, call in calls.items():
        first, second = timed(call, 1), timed(call, 1)
        timings[name] = Timings(max(first - second, 0.0), [])
        repeats = max(1, math.ceil(shortest / max(second, 1e-9)))
        # The second call is warm, but not always warm enough to rely on.
        each = timed(call, repeats)
        repeats = max(1, math.ceil(shortest / max(each, 1e-9)))
        stride = 1
        while (
            rounds / stride * repeats * each > budget
            and math.ceil(rounds / (2 * stride)) >= 3
        ):
            stride *= 2
        plan[name] = repeats, stride
    order, shuffle = list(calls), random.Random(0).shuffle
    for number in range(rounds):
        shuffle(order)
        for name in order:
            repeats, stride = plan[name]
            takes_part = number % stride == 0
            timings[name].seconds.append(
                timed(calls[name], repeats) if takes_part else math.nan
            )
    return timings


def paired_ratio(seconds, reference):
    """Compares two lists of seconds round by round.

    Args:
        seconds: List of numbers, NaN for a round that was sat out.
        reference: Likewise.

    Returns:
        `Ratio` of the rounds that both have.
    """
    ratios: Any = np.asarray(seconds) / np.asarray(reference)
    ratios = ratios[~np.isnan(ratios)]
    return Ratio(*np.percentile(ratios, (25, 50, 75)).tolist())
