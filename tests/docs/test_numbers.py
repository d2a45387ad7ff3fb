"""The numbers in the text are those of the records and of `dropx compare`."""

import re
import runpy
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_dropx.layers import AugmentedDropout

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REPORTS = {
    folder: "\n".join(
        page.read_text()
        for page in sorted((DOCS / "reproductions" / folder).glob("*.md"))
    )
    for folder in ("digits", "fashion_mnist")
}
REPORT = "\n".join(REPORTS.values())
COMPARE = (DOCS / "compare.md").read_text()
PAGES = [
    ROOT / "README.md",
    DOCS / "index.md",
    DOCS / "reproductions.md",
    DOCS / "guides" / "batch_norm.md",
    *sorted((DOCS / "methods").glob("*.md")),
]
INTERVAL = re.compile(r"[(,|]\s*([-+]?\d+\.\d+)\s+to\s+([-+]?\d+\.\d+)")
ERROR = re.compile(r"(\d+\.\d+)\s+±\s+(\d+\.\d+)")
# Of a logarithm the text has the factor.
LOG = re.compile(r"log10[^|]*\| [-+.\d]+ \| ([-+.\d]+) to ([-+.\d]+)")
VERDICTS = re.compile(
    r"Of (\d+) claims? (\d+) holds?, (\d+) do(?:es)? not, (\d+) not resolved"
)


def pairs(pattern, text):
    # What a program printed is not of the records.
    text = re.sub(r"^```text\n.*?^```", "", text, flags=re.M | re.S)
    return [
        (float(one), float(other), len(other.partition(".")[2]))
        for one, other in pattern.findall(text)
    ]


def close(shown, measured, digits):
    half = 0.5 * 10**-digits + 1e-9
    return all(
        abs(one - other) <= half
        for one, other in zip(shown, measured, strict=True)
    )


@pytest.fixture(scope="module")
def pictures():
    return runpy.run_path(str(DOCS / "pictures.py"))


@pytest.fixture(scope="module")
def measured(pictures):
    """Low and high ends: the report's, compare's, those before BN, factors."""
    found = [
        each[:2] for text in (REPORT, COMPARE) for each in pairs(INTERVAL, text)
    ]
    found += [
        tuple(10 ** float(end) for end in ends) for ends in LOG.findall(REPORT)
    ]
    found += [
        (interval.low, interval.high)
        for interval in pictures["batch_norm_contrasts"]().values()
    ]
    found += [(-high, -low) for low, high in found]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_intervals_are_measured_ones(page, measured):
    for low, high, digits in pairs(INTERVAL, page.read_text()):
        shown = sorted((low, high))
        assert any(close(shown, sorted(ends), digits) for ends in measured), (
            f"{low} to {high}"
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_means_and_their_errors_are_measured_ones(page):
    known = [each[:2] for t in (REPORT, COMPARE) for each in pairs(ERROR, t)]
    for mean, error, digits in pairs(ERROR, page.read_text()):
        assert any(close((mean, error), each, digits) for each in known), (
            f"{mean} ± {error}"
        )


@pytest.mark.parametrize(
    "name, folder",
    [
        ("README.md", "digits"),
        ("docs/reproductions.md", "digits"),
        ("docs/reproductions.md", "fashion_mnist"),
    ],
)
def test_verdicts_are_counted_in_the_report(name, folder):
    counts = VERDICTS.findall(REPORTS[folder])
    total, holds, fails, unresolved = (
        sum(map(int, column)) for column in zip(*counts, strict=True)
    )
    text = " ".join((ROOT / name).read_text().split())
    assert f"{holds} of {total} claims and controls hold" in text
    assert f"{fails} do not" in text and f"{unresolved} are open" in text


def test_the_first_claim_is_that_of_the_records(pictures):
    readme, home, guide = (
        " ".join((ROOT / name).read_text().split())
        for name in ("README.md", "docs/index.md", "docs/guides/batch_norm.md")
    )
    values = np.array(
        list(pictures["accuracies"](pictures["SMALL"], "dropout").values())
    )
    assert len(values) == 31
    errors = values.std(axis=0, ddof=1) / np.sqrt(31)
    shown = [
        [f"{mean:.{digits}f} ± {error:.{digits}f}" for digits in (1, 2)]
        for mean, error in zip(values.mean(axis=0), errors, strict=True)
    ]
    (trained, trained_2), (clean, clean_2) = shown
    assert f"{trained} % as trained, {clean} % re-estimated" in readme
    assert f"from {trained} % to {clean} %" in home
    assert f"| dropout | {trained_2} | {clean_2} |" in guide
    repair, none, wide, wide_none = (
        f"{each.mean:+.1f} ({each.low:+.1f} to {each.high:+.1f})"
        for each in pictures["batch_norm_contrasts"]().values()
    )
    # An interval on one side of 0 needs no signs.
    repair, none = (
        text.replace("(+", "(").replace("to +", "to ")
        for text in (repair, none)
    )
    for row in (
        f"| dropout re-estimated - as trained | small CNN, 31 | {repair} |",
        f"| the same | wide ResNet, 31 | {wide} |",
        f"dropout - dropout, both re-estimated | small CNN, 31 | {none} |",
        f"| the same | wide ResNet, 31 | {wide_none} |",
    ):
        assert row in guide, row
    assert f"{repair.replace(' (', ' points (')}, 31 seeds" in readme


def test_shares_in_bfloat16_are_what_the_layers_drop():
    def shares(kind):
        x = np.ones((2, 1_000_000), "float32")
        return [
            100
            * np.mean(
                kind(rate, seed=1, dtype="bfloat16")(x, training=True) == 0
            )
            for rate in (0.001, 0.01, 0.1)
        ]

    text = " ".join((ROOT / "README.md").read_text().split())
    theirs = re.findall(r"`Dropout\(0[.\d]+\)` drops ([.\d]+) %", text)
    (third,) = re.findall(r"`Dropout\(0.1\)` ([.\d]+) %", text)
    ours = re.search(r"`AugmentedDropout` drops (.+?), (.+?) and (.+?) %", text)
    for shown, kind in (
        ((*theirs, third), keras.layers.Dropout),
        (ours.groups(), AugmentedDropout),
    ):
        for share, measured in zip(shown, shares(kind), strict=True):
            error = 100 * (measured / 100 / 2e6) ** 0.5
            half = 0.5 * 10 ** -len(share.partition(".")[2])
            assert abs(float(share) - measured) <= half + 4 * error


def test_there_are_numbers_to_check():
    for pattern, least in ((INTERVAL, 40), (ERROR, 12)):
        found = [pairs(pattern, page.read_text()) for page in PAGES]
        assert sum(map(len, found)) > least
