import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_in_under_100_lines(path, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # for what it writes
    monkeypatch.setattr("sys.argv", [str(path)])
    assert len(path.read_text().splitlines()) < 100
    script = runpy.run_path(str(path), run_name="__main__")
    printed = capsys.readouterr().out
    assert printed
    if path.stem == "quick_start":
        trained, reloaded = printed.splitlines()
        assert trained.split(":")[1] == reloaded.split(":")[1]
    if path.stem == "look_inside_training":
        assert_directions(script["measured"])


def assert_directions(measured):
    """What the papers say of gradients, net values and their variance."""
    hidden = [f"hidden_{number}" for number in (1, 2, 3)]
    gradients = {
        name: [
            measured[name, f"gradient_information/{layer}"]
            for layer in [*hidden, "logits"]
        ]
        for name in ("plain", "dropout")
    }
    # In every layer, the output layer's too.
    for plain, dropout in zip(*gradients.values(), strict=True):
        assert dropout > 1.5 * plain
    variance = [
        measured["dropout", f"net_variance/{layer}"]
        for layer in [*hidden, "logits"]
    ]
    assert variance[0] == 0
    assert variance == sorted(variance) and variance[1] > 0
    saturation = {
        name: measured[name, "saturation/hidden_3"]
        for name in ("plain", "dropout", "gaaf")
    }
    assert saturation["plain"] < saturation["dropout"] < saturation["gaaf"]
    for layer in [*hidden[1:], "logits"]:
        r = measured["dropout", f"variance_ratio_r/{layer}"]
        drift = measured["dropout", f"variance_drift/{layer}"]
        assert abs(drift - (1 + r)) < 0.02  # p = 0.5, a = 1
        mean = measured["dropout", f"mean_drift/{layer}"]
        assert abs(mean - 1) < 0.02
