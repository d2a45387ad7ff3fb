"""What `compare` is to hold: false alarms, power and cost."""

import math
from typing import NamedTuple

FALSE_ALARMS = 0.05
COST = 1.15
FOUND = FACTOR_HELD = 0.9


class Verdict(NamedTuple):
    """A measured number beside its limit.

    Attributes:
        what: What was measured, in words.
        value: Float.
        limit: Float.
        held: Whether the value is on the right side of it.
    """

    what: str
    value: float
    limit: float
    held: bool


def verdicts(result):
    """Lists a `Verdict` for each number of a result that has a goal.

    Args:
        result: Dict, as a part of `python -m benchmarks comparisons` writes.
    """
    return list(_PARTS[result["part"]](result))


def table(result):
    """Makes the Markdown table of the verdicts."""
    rows = [
        f"| {one.what} | {one.value:.3g} | {one.limit:.3g} | "
        f"{'held' if one.held else 'missed'} |"
        for one in verdicts(result)
    ]
    header = ["| what | measured | limit |  |", "| --- | --- | --- | --- |"]
    return "\n".join([*header, *rows])


def alarm_limit(comparisons):
    """Returns the share of false alarms that 5 % allows, 3 errors above it."""
    error = math.sqrt(FALSE_ALARMS * (1 - FALSE_ALARMS) / comparisons)
    return FALSE_ALARMS + 3 * error


def is_alarm(interval):
    """Whether an interval (low, high) excludes 0."""
    low, high = interval
    return low is not None and (low > 0 or high < 0)


def _simulated(result):
    limit = alarm_limit(result["comparisons"])
    for row in result["false_alarms"]:
        if row["looks"] < len(row["seeds"]):
            continue  # As `compare` does not do it.
        what = f"false alarms, {row['noise']}, {_seeds(row['seeds'])} seeds"
        yield _at_most(what, row["share"], limit)
    for row in result["found"]:
        if row["effect"] == 1.0 and len(row["seeds"]) > 1:
            what = f"1 SD is found, {_seeds(row['seeds'])} seeds"
            yield _at_least(what, row["share"], FOUND)
    for row in result["seeds_needed"]:
        what = f"seeds needed, after {row['pilot']}, within a factor 1.5"
        yield _at_least(what, row["within_1.5"], FACTOR_HELD)


def _real(result):
    kinds = dict.fromkeys(one["kind"] for one in result["comparisons"])
    for kind in kinds:
        found = [
            is_alarm(one["interval"])
            for one in result["comparisons"]
            if one["kind"] == kind
        ]
        what = f"false alarms, {kind}, {len(found)} comparisons"
        share = sum(found) / len(found)
        yield _at_most(what, share, alarm_limit(len(found)))


def _cost(result):
    for clock, ratio in result["ratios"].items():
        what = f"{clock} time of compare over that of its fits"
        yield _at_most(what, ratio["median"], COST)


_PARTS = {"simulated": _simulated, "real": _real, "cost": _cost}


def _seeds(counts):
    return ", ".join(map(str, counts))


def _at_most(what, value, limit):
    return Verdict(what, value, limit, value <= limit)


def _at_least(what, value, limit):
    return Verdict(what, value, limit, value >= limit)
