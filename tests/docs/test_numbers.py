"""The intervals in the text are those of the report and of `dropx compare`."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [
    DOCS / "reproductions.md",
    DOCS / "guides" / "batch_norm.md",
    *sorted((DOCS / "methods").glob("*.md")),
]
INTERVAL = re.compile(r"[(,|]\s*([-+]?\d+\.\d+)\s+to\s+([-+]?\d+\.\d+)")


def intervals(path):
    return [
        (float(low), float(high), len(high.partition(".")[2]))
        for low, high in INTERVAL.findall(path.read_text())
    ]


MEASURED = [
    (sign * low, sign * high)
    for path in (DOCS / "reproductions" / "digits" / "report.md",)
    + (DOCS / "compare.md",)
    for low, high, _ in intervals(path)
    for sign in (1, -1)
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_intervals_are_measured_ones(page):
    for low, high, digits in intervals(page):
        half = 0.5 * 10**-digits + 1e-9
        assert any(
            max(abs(low - one), abs(high - other)) <= half
            or max(abs(low - other), abs(high - one)) <= half
            for one, other in MEASURED
        ), f"{low} to {high}"


def test_there_are_intervals_to_check():
    assert sum(len(intervals(page)) for page in PAGES) > 40
