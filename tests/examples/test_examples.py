import math
import runpy
from pathlib import Path

import pytest

import keras_dropx

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.mark.full
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
    if path.stem.startswith("does_it_help"):
        sentence = printed.splitlines()[0]
        assert sentence.count(" ") > 5 and "no dropout" in printed
    if path.stem == "look_inside_training":
        assert_directions(script["measured"])
    if path.stem == "tune_sigma_and_backward_ratio":
        assert_best_is_trained_again(script)
    if path.stem == "tune_the_method":
        assert_methods_have_their_parameters(script)
        runpy.run_path(str(path), run_name="__main__")
        assert capsys.readouterr().out == printed
    if path.stem == "tune_with_gradient_information":
        assert_largest_gradients_are_chosen(script)
    if path.stem.startswith("tune"):
        assert not list(tmp_path.iterdir())


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


RANGES = {
    "dropout_rate": (0.0, 0.5),
    "dropout_backward_rate": (1e-5, 1e-2),
    "dropout_sigma": (0.05, 0.5),
}


def assert_in(ranges, values):
    assert values.keys() == ranges.keys()
    for name, (low, high) in ranges.items():
        assert low <= values[name] <= high


def assert_best_is_trained_again(script):
    trials = script["tuner"].oracle.get_best_trials(6)
    ranges = {
        "dropout_sigma": (0.05, 0.5),
        "dropout_backward_rate": (1e-4, 0.3),
        "learning_rate": (3e-4, 1e-2),
    }
    for trial in trials:
        assert_in(ranges, trial.hyperparameters.values)
    best, model = trials[0], script["model"]
    assert best.score == min(trial.score for trial in trials)
    sites = [
        layer
        for layer in model.layers
        if isinstance(layer, keras_dropx.layers.Jumpout)
    ]
    values = best.hyperparameters.values
    assert [site.sigma for site in sites] == 2 * [values["dropout_sigma"]]
    ratio = values["dropout_backward_rate"]
    assert [site.backward_rate for site in sites] == 2 * [ratio]
    # The weights are those of the trial's best epoch.
    loss, _ = model.evaluate(script["x_val"], script["y_val"], verbose=0)
    assert math.isclose(loss, best.score, rel_tol=1e-3)


def assert_methods_have_their_parameters(script):
    methods = set()
    for trial in script["tuner"].oracle.get_best_trials(8):
        assert trial.status == "COMPLETED"
        values = dict(trial.hyperparameters.values)
        method = values.pop("dropout_method")
        names = {
            "augmented": ("dropout_rate", "dropout_backward_rate"),
            "jumpout": ("dropout_sigma",),
            "none": (),
        }.get(method, ("dropout_rate",))
        assert_in({name: RANGES[name] for name in names}, values)
        methods.add(method)
    assert len(methods) > 2


def assert_largest_gradients_are_chosen(script):
    trials = script["trials"]
    for trial in trials:
        values = trial.hyperparameters.values
        assert_in({"gaaf_width": (0.1, 2), "dropout_rate": (0, 0.5)}, values)
    scores = [trial.score for trial in trials]
    assert scores == sorted(scores, reverse=True) and scores[-1] > 0
    # A wider shape function lets larger gradients through.
    widths = [trial.hyperparameters.values["gaaf_width"] for trial in trials]
    assert widths == sorted(widths, reverse=True)
    accuracies = script["accuracies"]
    by_accuracy = accuracies[trials.index(script["by_accuracy"])]
    assert by_accuracy == max(accuracies) > 0.9
