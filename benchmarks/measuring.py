"""Measures groups of subjects and keeps the records in a JSON file."""

import json
import math
from pathlib import Path

import numpy as np

from benchmarks import (
    device,
    generators,
    operations,
    plan,
    report,
    timing,
    train_steps,
)

SCHEMA = 1
ROUNDS = {"op": 63, "train": 21, "generators": 21}
# A call that would take longer than that is left out at the next size.
LONGEST = 10.0


def measure(groups, output, rounds=None):
    """Measures, prints a table for each group and writes the JSON file.

    The file is written anew after each group, so an interrupted run keeps
    what it has.

    Args:
        groups: List of `plan.Group`, the smaller ones first.
        output: Path of the JSON file.
        rounds: Integer, how often each is timed; None for `ROUNDS`.

    Returns:
        Dict, the content of the file.
    """
    result = {
        "schema": SCHEMA,
        "machine": device.describe(),
        "measurements": [],
    }
    per_unit = {}
    for group in groups:
        group, left_out = _feasible(group, per_unit)
        print(f"\n{group.label}", flush=True)
        if left_out:
            print(f"left out: {', '.join(left_out)}")
        if not group.subjects:
            continue
        records = _records(group, rounds or ROUNDS[group.level])
        for record in records:
            per_unit[_series(group, record["subject"])] = (
                record["seconds"] / group.size
            )
        result["measurements"] += records
        print(report.group_table(records), flush=True)
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        Path(output).write_text(json.dumps(result, indent=1) + "\n")
    return result


def _feasible(group, per_unit):
    """Takes out what would not end, and everything where it would not fit."""
    slow = tuple(
        name
        for name in group.subjects
        if per_unit.get(_series(group, name), 0) * group.size > LONGEST
    )
    if group.shape is not None:
        needed = operations.memory(group.shape, group.dtype)
        if needed > 0.8 * device.free_memory():
            slow = group.subjects
    names = tuple(name for name in group.subjects if name not in slow)
    return group._replace(subjects=names), slow


def _series(group, subject):
    return group.level, group.network, group.mode, group.dtype, subject


def _records(group, rounds):
    names = group.subjects
    sizes = dict.fromkeys(names)
    if group.level == "op":
        measured = operations.measure(
            names, group.shape, group.mode, group.dtype, rounds
        )
        timings = {name: pair[0] for name, pair in measured.items()}
        sizes = {name: pair[1] for name, pair in measured.items()}
    elif group.level == "train":
        timings = train_steps.measure(
            names, group.network, group.size, group.mode, group.dtype, rounds
        )
    else:
        timings = generators.measure(names, group.size, group.mode, rounds)
    return [
        {
            "level": group.level,
            "network": group.network,
            "subject": name,
            "mode": group.mode,
            "dtype": group.dtype,
            "size": group.size,
            "shape": group.shape,
            "seconds": timings[name].median,
            "compile_seconds": timings[name].compile_seconds,
            "kept_bytes": sizes[name],
            "ratios": {
                reference: _ratio(timings[name], timings[reference])
                for reference in plan.references(group.level, name)
                if reference in timings
            },
        }
        for name in names
    ]


def _ratio(timings, reference):
    ratio = timing.paired_ratio(timings.seconds, reference.seconds)
    pairs = np.add(timings.seconds, reference.seconds)
    return {
        "median": ratio.median,
        "quartiles": [ratio.lower, ratio.upper],
        "rounds": len(pairs) - sum(map(math.isnan, pairs)),
    }
