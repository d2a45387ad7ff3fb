"""What the pictures of the docs show is what the formulas say."""

import math
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parents[2] / "docs"
NAMES = {
    path.name
    for pattern in ("masks.png", "batch_norm.png", "methods-*.png")
    for path in (DOCS / "images").glob(pattern)
}


@pytest.fixture(scope="module")
def pictures():
    return runpy.run_path(str(DOCS / "pictures.py"))


def panels(drawn, rows):
    """The arrays of a grid, with what is orange masked: rows × columns."""
    arrays = [axis.collections[0].get_array() for axis in drawn.axes]
    columns = len(arrays) // rows
    return [arrays[i * columns : (i + 1) * columns] for i in range(rows)]


def orange(array):
    return np.ma.getmaskarray(array)


@pytest.mark.full
def test_the_script_draws_the_pictures_of_the_docs(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["pictures.py", str(tmp_path)])
    runpy.run_path(str(DOCS / "pictures.py"), run_name="__main__")
    assert {path.name for path in tmp_path.iterdir()} == NAMES
    pages = [
        page.read_text()
        for folder in ("methods", "guides")
        for page in (DOCS / folder).glob("*.md")
    ]
    for name in NAMES:
        assert (tmp_path / name).stat().st_size > 5_000
        assert (DOCS / "images" / name).stat().st_size <= 60_000
        assert any(f"../images/{name}" in page for page in pages), name


def test_masks_of_the_overview(pictures):
    values, gradients = panels(pictures["masks"](), 2)
    none, dropout, forward, backward, augmented, jumpout = zip(
        values, gradients, strict=True
    )
    assert not orange(none[0]).any() and not orange(none[1]).any()
    assert orange(dropout[0]).any()
    for one_mask in (dropout, jumpout):
        np.testing.assert_array_equal(*map(orange, one_mask))
    for same in (forward, augmented):
        np.testing.assert_array_equal(same[0], dropout[0])
        np.testing.assert_array_equal(orange(same[0]), orange(dropout[0]))
    np.testing.assert_array_equal(forward[1], none[1])
    assert not orange(forward[1]).any() and not orange(backward[0]).any()
    np.testing.assert_array_equal(backward[0], none[0])
    np.testing.assert_array_equal(orange(backward[1]), orange(dropout[1]))
    more = orange(augmented[1])
    assert (
        more[orange(dropout[1])].all() and more.sum() > orange(dropout[1]).sum()
    )
    kept = ~orange(dropout[0])
    np.testing.assert_allclose(dropout[0][kept], none[0][kept] / 0.7, rtol=1e-4)


def test_kernel_gradients_of_both_forms(pictures):
    h, drop_in, exact = panels(pictures["masked_input"](), 3)
    for column in range(3):
        np.testing.assert_array_equal(
            orange(drop_in[column]), np.tile(orange(h[column]), (8, 1))
        )
    forward, backward, augmented = map(orange, exact)
    assert not forward.any()
    np.testing.assert_array_equal(backward, orange(drop_in[0]))
    assert augmented[orange(drop_in[2])].all()
    assert augmented.sum() > orange(drop_in[2]).sum()


@pytest.mark.parametrize("p", [0.1, 0.6])
@pytest.mark.parametrize("a", [1, 0.75, 0.5])
def test_sampled_drift_agrees_with_the_formula(pictures, p, a):
    r, *sampled = pictures["sampled_drift"](p, a)
    formula = pictures["drift"](p, a, r)
    for drawn, expected in zip(sampled, formula, strict=True):
        error = np.std(drawn, ddof=1) / math.sqrt(len(drawn))
        assert abs(np.mean(drawn) - expected) < 4 * error
        assert error < 0.01 * expected


@pytest.mark.full
def test_points_of_the_drifts_lie_on_their_lines(pictures):
    for axis in pictures["rescale"]().axes[:2]:
        for line, points in zip(axis.lines[::2], axis.lines[1::2], strict=True):
            expected = np.interp(points.get_xdata(), *line.get_data())
            np.testing.assert_allclose(points.get_ydata(), expected, rtol=0.01)


@pytest.mark.full
def test_exponent_that_keeps_the_variance(pictures):
    lines = pictures["rescale"]().axes[2].lines
    for line, p in zip(lines, (0.1, 0.3, 0.5), strict=False):
        for r, a in zip(*line.get_data(), strict=True):
            assert pictures["drift"](p, a, r)[1] == pytest.approx(1)


def test_accuracies_before_batch_norm_are_those_of_the_report(pictures):
    report = (DOCS / "reproductions" / "digits" / "jumpout.md").read_text()
    left, right = pictures["batch_norm"]().axes
    drawn = {line.get_label(): line.get_data() for line in left.lines}
    for number, name in enumerate(("as trained", "re-estimated")):
        for rate, mean in zip(*drawn[name], strict=True):
            if rate:
                row = rf"^\| dropout {rate:.2g} (?:\| ([\d.]+) ± [\d.]+ ){{2}}"
                row = row.replace("{2}", f"{{{number + 1}}}")
                found = re.search(row, report, re.M)[1]
                assert mean == pytest.approx(float(found), abs=0.006)
    pairs = [line for line in right.lines if len(line.get_xdata()) == 2]
    assert len(pairs) == 3 * 31
    means = [line.get_ydata()[0] for line in right.lines if line not in pairs]
    rows = re.findall(
        r"^\| (?:no dropout|dropout|dropout\+III) "
        r"\| ([\d.]+) ± [\d.]+ \| ([\d.]+) ± [\d.]+ ",
        report.partition("## jumpout-table-2")[2].partition("\n## ")[0],
        re.M,
    )
    np.testing.assert_allclose(means, np.array(rows, float).ravel(), atol=0.006)


def test_rates_of_jumpout(pictures):
    axis, mean = pictures["jumpout"]().axes
    samples = 20_000
    for step, q in zip(axis.patches, (1, 0.6, 0.3), strict=True):
        shares, edges, _ = step.get_data()
        assert sum(shares) == pytest.approx(1) and edges[-2] == 0.6
        share = math.erfc((0.6 * q - 0.01) / 0.2 / math.sqrt(2))
        error = math.sqrt(share * (1 - share) / samples)
        assert abs(shares[-1] - share) < 4 * error
    # p = min(0.01 + |N(0, 0.2)|, end) has this mean and a deviation below 0.12.
    for line, adaptive in zip(mean.lines, (False, True), strict=True):
        for q, changed in zip(*line.get_data(), strict=True):
            end = (0.6 * q if adaptive else 0.6) - 0.01
            z = end / 0.2 / math.sqrt(2)
            below = 0.2 * math.sqrt(2 / math.pi) * (1 - math.exp(-(z**2)))
            p = 0.01 + below + end * math.erfc(z)
            expected = p if adaptive else p * q
            assert abs(changed - expected) < 4 * 0.12 / math.sqrt(2_000)


def test_slopes_of_gaaf(pictures):
    tanh, sigmoid, relu, _ = pictures["gaaf"]().axes
    x = tanh.lines[0].get_xdata()
    logistic = 1 / (1 + np.exp(-x))
    for axis, slope, shape in (
        (tanh, 1 - np.tanh(x) ** 2, np.exp(-(x**2) / 4)),
        (sigmoid, logistic * (1 - logistic), np.exp(-(x**2) / 16) / 4),
        (relu, x > 0, 1 / (1 + np.exp(-5 * (x + 0.5)))),
    ):
        lines = {line.get_label(): line.get_ydata() for line in axis.lines}
        np.testing.assert_allclose(lines["φ′"], slope, atol=1e-5)
        np.testing.assert_allclose(lines["s"], shape, atol=1e-5)
        np.testing.assert_allclose(lines["φ′ + s"], slope + shape, atol=1e-5)
