import pytest

from benchmarks import report


def run(median=1.0, half_width=0.05, kept=100, **fields):
    ratio = {
        "median": median,
        "quartiles": [median - half_width, median + half_width],
        "rounds": 9,
    }
    record = {
        "level": "op",
        "network": None,
        "subject": "augmented",
        "mode": "graph",
        "dtype": "float32",
        "size": 100,
        "shape": [10, 10],
        "seconds": 1e-3,
        "compile_seconds": 0.1,
        "kept_bytes": kept,
        "ratios": {"keras": ratio},
        **fields,
    }
    return {"measurements": [record]}


def test_slower_beyond_the_noise_is_found():
    lines, compared = report.slower(run(1.0), run(1.3))
    assert compared == 1
    assert len(lines) == 1
    assert (
        "augmented: 1.00 [0.95, 1.05] -> 1.30 [1.25, 1.35] of keras" in lines[0]
    )


@pytest.mark.parametrize(
    "old, new",
    [
        (run(1.0), run(1.0)),
        (run(1.3), run(1.0)),  # faster
        (run(1.0, 0.2), run(1.3, 0.2)),  # the quartiles overlap
        (run(1.0, 0.01), run(1.18, 0.01)),  # as one run to the next
    ],
)
def test_what_is_within_the_noise_is_not_slower(old, new):
    assert report.slower(old, new) == ([], 1)


def test_a_faster_reference_makes_nothing_slower():
    old, new = run(1.0), run(1.5)
    for result, median in ((old, 4.0), (new, 4.1)):
        (record,) = result["measurements"]
        quartiles = [median - 0.01, median + 0.01]
        record["ratios"]["copy"] = {"median": median, "quartiles": quartiles}
    assert report.slower(old, new) == ([], 1)
    new["measurements"][0]["ratios"]["copy"] |= {
        "median": 6.0,
        "quartiles": [5.9, 6.1],
    }
    assert len(report.slower(old, new)[0]) == 1


def test_more_memory_is_found():
    lines, _ = report.slower(run(kept=100), run(kept=200))
    assert len(lines) == 1 and "100 -> 200 bytes kept" in lines[0]


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": "xla"},
        {"shape": [100]},
        {"subject": "jumpout"},
        {"network": "mlp"},
    ],
)
def test_only_the_same_measurements_are_compared(fields):
    assert report.slower(run(1.0), run(9.0, **fields)) == ([], 0)


def test_table_shows_ratios_and_bytes_per_element():
    (record,) = run(0.5)["measurements"]
    header, row = report.group_table([record]).splitlines()
    assert "/ keras" in header
    assert row.split() == "augmented 1.000 0.50 [0.45, 0.55] 1.00 0.10".split()


def test_a_cliff_shows_as_growth_of_the_time_per_element():
    records = []
    for exponent, seconds in ((16, 1.0), (20, 2**20), (22, 2**22), (24, 3e7)):
        size = 2**exponent
        fields = {"size": size, "shape": [size // 256, 256]}
        (record,) = run(seconds=seconds, **fields)["measurements"]
        records.append(record)
    growth = report.steepest(records)["augmented"]
    assert growth == pytest.approx(3e7 / 2**24)
