import math

import numpy as np
import pytest

from benchmarks import timing


class Machine:
    """A clock, and functions that take known seconds of it."""

    def __init__(self):
        self.now = 0.0
        self.log = []
        self.speed = 1.0

    def clock(self):
        return self.now

    def function(self, name, seconds, first=None):
        def call():
            durations = first if first and name not in self.log else seconds
            self.now += durations * self.speed
            self.log.append(name)
            return name

        return call

    def interleave(self, calls, rounds=8, **options):
        return timing.interleave(
            calls, lambda _: None, rounds, clock=self.clock, **options
        )


def test_seconds_are_those_of_one_call():
    machine = Machine()
    calls = {
        "fast": machine.function("fast", 1e-4),
        "slow": machine.function("slow", 3e-4),
    }
    timings = machine.interleave(calls)
    assert timings["fast"].seconds == pytest.approx([1e-4] * 8)
    assert timings["slow"].median == pytest.approx(3e-4)
    ratio = timing.paired_ratio(
        timings["slow"].seconds, timings["fast"].seconds
    )
    assert ratio == pytest.approx((3, 3, 3))


def test_a_measurement_lasts_as_long_as_asked_for():
    machine = Machine()
    timing_of = {"f": machine.function("f", 1e-3)}
    machine.interleave(timing_of, rounds=4, shortest=0.01)
    # Two calls and one measurement to warm up.
    assert len(machine.log) == 2 + 5 * 10


def test_compiling_is_what_the_first_call_takes_longer():
    machine = Machine()
    calls = {"f": machine.function("f", 0.5, first=2.5)}
    assert machine.interleave(calls)["f"].compile_seconds == 2.0


def test_the_machine_is_waited_for_within_a_measurement():
    machine = Machine()

    def wait(result):
        assert result == "f"
        machine.now += 1.0

    timings = timing.interleave(
        {"f": machine.function("f", 0.5)}, wait, 3, clock=machine.clock
    )
    assert timings["f"].seconds == [1.5] * 3


def test_every_round_has_its_own_order():
    machine = Machine()
    names = "abcd"
    calls = {name: machine.function(name, 1.0) for name in names}
    machine.interleave(calls, rounds=16, budget=math.inf)
    timed = machine.log[-4 * 16 :]
    rounds = ["".join(timed[i : i + 4]) for i in range(0, 64, 4)]
    assert all(sorted(one) == list(names) for one in rounds)
    assert len(set(rounds)) > 4


def test_slow_functions_sit_rounds_out_and_can_still_be_paired():
    machine = Machine()
    calls = {
        "fast": machine.function("fast", 0.1),
        "slow": machine.function("slow", 1.0),
        "slowest": machine.function("slowest", 100.0),
    }
    timings = machine.interleave(calls, rounds=12, budget=6.0)
    took_part = {
        name: np.flatnonzero(~np.isnan(timings[name].seconds)).tolist()
        for name in calls
    }
    assert took_part["fast"] == list(range(12))
    assert took_part["slow"] == list(range(0, 12, 2))
    assert took_part["slowest"] == [0, 4, 8]
    ratio = timing.paired_ratio(
        timings["slowest"].seconds, timings["slow"].seconds
    )
    assert ratio.median == pytest.approx(100)


def test_ratios_are_of_the_same_round():
    # The machine is slower in every round; the ratio of medians is not 2.
    reference = [1.0, 2.0, 4.0, 8.0, 16.0]
    seconds = [2.0, 4.0, math.nan, 16.0, 48.0]
    ratio = timing.paired_ratio(seconds, reference)
    assert ratio == (2.0, 2.0, 2.25)
