"""`tune`: a search over a model of one's own, and the winner on fresh seeds."""

import html
import inspect
import json
import re
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import dropx
import keras_dropx
from keras_dropx.errors import UserError
from keras_dropx.experiments import Tuning, tune, tuning
from keras_dropx.experiments.search import notes, own
from keras_dropx.experiments.tuning_result import code_of
from keras_dropx.layers import (
    AugmentedDropout,
    BackwardDropout,
    ForwardDropout,
    Jumpout,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype("float32")
Y = (X.sum(axis=1) > 0).astype("int32")
TRAIN, VALIDATION, TEST = (
    (X[part], Y[part]) for part in (slice(24), slice(24, 42), slice(42, 60))
)
FAST = {"trials": 2, "seeds": 2, "epochs": 1, "batch_size": 8, "verbose": 0}


def build(dropout):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(6, activation="relu"),
            # As DropoutHyperModel allows it.
            dropout(),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    # XLA would only take longer to compile.
    model.compile(
        "adam", "binary_crossentropy", metrics=["accuracy"], jit_compile=False
    )
    return model


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A folder of a search, what it returned, and what `compare` was given."""
    folder = tmp_path_factory.mktemp("tuned") / "output"
    given = []
    with pytest.MonkeyPatch.context() as patch:
        original = tuning.comparison.compare

        def compare(*positional, **named):
            given.append((positional, named))
            return original(*positional, **named)

        patch.setattr(tuning.comparison, "compare", compare)
        result = tune(
            build, TRAIN, VALIDATION, TEST, output=folder, seed=3, **FAST
        )
    return folder, result, given[0]


def test_the_winner_meets_tuned_dropout_on_the_test_data(tuned):
    folder, result, ((model, train, test, methods), named) = tuned
    assert isinstance(result, Tuning)
    assert train is TRAIN and test is TEST
    assert [one["method"] for one in result.searches] == ["any", "dropout"]
    assert all(one["trials"] == 2 for one in result.searches)
    # Dropout is there at the rate of its own search.
    rates = []
    model(lambda rate: rates.append(rate) or keras.layers.Dropout(rate))
    found = result.searches[1]["hyperparameters"]
    assert rates == [found["dropout_rate"]]
    assert list(methods) == ["winner", "no dropout"]
    (winner,) = {code_of(methods["winner"](rate)) for rate in (0.1, 0.2)}
    assert winner == result.code == code_of(result.best)
    names = [row["method"] for row in result.rows]
    assert names == ["dropout", "winner", "no dropout", "remasked"]
    pairs = [(c["treatment"], c["control"]) for c in result.contrasts]
    assert pairs == [("winner", "dropout"), ("no dropout", "dropout")]
    assert len(result.records) == 8


def test_the_text_ends_with_a_line_of_python_and_the_sentence(tuned, tmp_path):
    _, result, _ = tuned
    *_, code, sentence = str(result).splitlines()[-3::2]
    assert (code, sentence) == (result.code, result.verdict)
    assert str(result).count(result.verdict) == 1
    made = eval(result.code, {"keras_dropx": keras_dropx})
    configs = [layer.get_config() for layer in (made, result.best)]
    for config in configs:
        del config["name"]
    assert configs[0] == configs[1]
    for name in ("page.html", "page.md"):
        result.report(tmp_path / name)
        page = (tmp_path / name).read_text()
        assert "The search" in page and "Does it help?" in page
        assert result.code.replace('"', "&quot;") in page or result.code in page
        assert page.rstrip().endswith("</html>") == (name == "page.html")
        call = html.unescape(page)
        assert "keras_dropx.experiments.tune(build, train, valid" in call
        assert "experiments.compare(" not in call
    assert result.figure().axes


def test_the_winner_is_the_trial_with_the_best_objective(tuned):
    folder, result, _ = tuned
    for found in result.searches:
        trials = notes.read_trials(folder / found["method"])
        assert found["score"] == max(trial.score for trial in trials)
        best = max(trials, key=lambda trial: trial.score)
        for name, value in found["hyperparameters"].items():
            given = best.hyperparameters.values[name]
            if isinstance(value, float):
                assert value == pytest.approx(given, rel=5e-3)
                assert len(re.sub(r"e.*|\D", "", repr(value)).strip("0")) <= 3
            else:
                assert value == given


@pytest.mark.full
def test_it_goes_on_from_its_folder(tuned):
    folder, result, _ = tuned
    before = {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.name in ("trial.json", "runs.jsonl")
    }
    again = tune(build, TRAIN, VALIDATION, TEST, output=folder, seed=3, **FAST)
    assert str(again) == str(result)
    for path, content in before.items():
        assert path.read_bytes() == content
    more = {**FAST, "trials": 3}
    tune(build, TRAIN, VALIDATION, TEST, output=folder, seed=3, **more)
    for method in ("any", "dropout"):
        assert len(notes.read_trials(folder / method)) == 3


def test_the_folder_of_another_search_is_refused(tuned, tmp_path, capsys):
    folder, *_ = tuned
    arguments = {**FAST, "output": folder, "seed": 3}
    other = (X[:24], 1 - Y[:24])
    for words, data, change in (
        ("another seed", TRAIN, {"seed": 4}),
        ("another tuner", TRAIN, {"tuner": "grid"}),
        ("another space", TRAIN, {"rate": (0.1, 0.3)}),
        ("another objective", TRAIN, {"objective": "val_loss"}),
        ("another data", other, {}),
    ):
        with pytest.raises(UserError, match=words):
            tune(build, data, VALIDATION, TEST, **{**arguments, **change})
    (tmp_path / "mine.txt").write_text("mine")
    arguments["output"] = tmp_path
    with pytest.raises(UserError, match="mine.txt, which is no part"):
        tune(build, TRAIN, VALIDATION, TEST, **arguments)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "mine.txt"]
    assert dropx.main(["tune", "--output", str(folder)]) == 2
    assert "over a model of your own" in capsys.readouterr().err


def test_without_test_data_the_validation_data_are_halved():
    weights = np.arange(18)
    chosen, test = tuning._halves((*VALIDATION, weights), 0)
    rows = [set(part[2]) for part in (chosen, test)]
    assert not rows[0] & rows[1] and rows[0] | rows[1] == set(range(18))
    assert [len(part) for part in rows] == [9, 9]
    for part in (chosen, test):
        np.testing.assert_array_equal(part[0], VALIDATION[0][part[2]])
        np.testing.assert_array_equal(part[1], VALIDATION[1][part[2]])
    assert set(tuning._halves((*VALIDATION, weights), 1)[0][2]) != rows[0]
    x, y, none = tuning._halves((*VALIDATION, None), 0)[0]
    assert none is None and len(x) == 9


@pytest.mark.parametrize(
    "layer, code",
    [
        (AugmentedDropout(0.25), "AugmentedDropout(0.25)"),
        (
            AugmentedDropout(0.25, 0.0004, rescale="batchnorm", seed=1),
            'AugmentedDropout(0.25, backward_rate=0.0004, rescale="batchnorm")',
        ),
        (ForwardDropout(0.3), "ForwardDropout(0.3)"),
        (BackwardDropout(0.3, name="b"), "BackwardDropout(0.3)"),
        (
            Jumpout(sigma=0.2, rescale="mean"),
            'Jumpout(sigma=0.2, rescale="mean")',
        ),
    ],
)
def test_the_line_of_a_layer_makes_it_again(layer, code):
    assert code_of(layer) == f"keras_dropx.layers.{code}"
    again = eval(code_of(layer), {"keras_dropx": keras_dropx})
    for key, value in layer.get_config().items():
        if key not in ("name", "seed"):
            assert again.get_config()[key] == value


@pytest.mark.full
@pytest.mark.parametrize(
    "tuner, executions", [("hyperband", 1), ("grid", 2), ("bayesian", 1)]
)
def test_each_tuner(tuner, executions):
    # The Bayesian tuner models trials from the fourth on.
    arguments = {**FAST, "epochs": 3, "executions": executions, "trials": 4}
    result = tune(
        build,
        TRAIN,
        VALIDATION,
        method="jumpout",
        tuner=tuner,
        objective="val_loss",
        **arguments,
    )
    assert result.comparison.direction == "min"
    assert result.code.startswith("keras_dropx.layers.Jumpout(sigma=")
    assert 'rescale="mean"' in result.code


@pytest.mark.full
def test_dropout_alone_and_data_in_batches():
    def batches(x, y):
        return tf.data.Dataset.from_tensor_slices((x, y)).batch(8)

    data = [batches(*part) for part in (TRAIN, VALIDATION, TEST)]
    result = tune(build, *data, method="dropout", **FAST)
    assert [one["method"] for one in result.searches] == ["dropout"]
    names = [row["method"] for row in result.rows]
    assert names == ["dropout", "no dropout", "remasked"]
    with pytest.raises(ValueError, match="`test`.*not arrays"):
        tune(build, *data[:2], **FAST)


@pytest.mark.full
def test_a_search_in_which_all_fails_says_why(tmp_path):
    class Fails(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            raise ArithmeticError("too bad")

    with pytest.raises(RuntimeError, match="no trial of any.*too bad"):
        tune(
            build,
            TRAIN,
            VALIDATION,
            output=tmp_path,
            fit={"callbacks": [Fails()]},
            **FAST,
        )


def with_hp(dropout, hp):
    return build(dropout)


def uncompiled(dropout):
    return keras.Sequential([keras.Input((4,)), dropout(0.5)])


@pytest.mark.parametrize(
    "words, change",
    [
        ("`build`.*build.dropout", {"build": 3}),
        ("`build`.*`hp`.*DropoutHyperModel", {"build": with_hp}),
        ("`model`.*compiled", {"build": uncompiled}),
        ("`train`.*one length", {"train": (X[:5], Y[:4])}),
        ("`validation`", {"validation": X}),
        ("`test`", {"test": X}),
        ("`method`.*'jumpout'", {"method": "none"}),
        ("`tuner`.*'grid'", {"tuner": "genetic"}),
        ("`trials`", {"trials": 0}),
        ("`executions`", {"executions": True}),
        ("`seed`", {"seed": -1}),
        ("`rate`.*0 < low", {"rate": (0.0, 0.5)}),
        ("`rate`", {"rate": (0.5, 0.1)}),
        ("`sigma`", {"sigma": (0.5, 0.1)}),
        ("`objective`.*'val_'", {"objective": "accuracy"}),
        ("`metric`.*'accuracy'", {"objective": "val_auc"}),
        ("`fit`.*'epochs'", {"fit": {"epochs": 3}}),
    ],
)
def test_mistakes_are_said_before_anything_is_trained(
    tmp_path, words, change, monkeypatch
):
    monkeypatch.setattr(own, "search", trained)
    output = tmp_path / "output"
    arguments = {
        "build": build,
        "train": TRAIN,
        "validation": VALIDATION,
        **FAST,
        "output": output,
        **change,
    }
    with pytest.raises(ValueError, match=words) as caught:
        tune(**arguments)
    assert "\n" not in str(caught.value)
    assert not output.exists()


def trained(*arguments, **named):
    raise AssertionError("trained")


def test_the_settings_are_noted(tuned):
    folder, *_ = tuned
    kept = json.loads((folder / "search.json").read_text())
    assert kept["kind"] == "own" and kept["objective"] == "val_accuracy"
    assert kept["space"]["rescale"] == "mean"


def test_the_call_repeats_the_whole_search(tuned):
    """Called as it says, `tune` gets each argument as it was."""
    call = tuned[1].comparison.call
    space = {"build": build, "train": TRAIN, "validation": VALIDATION}
    space["test"] = TEST
    asked = {}

    def record(*positional, **named):
        asked.update(
            inspect.signature(tune).bind(*positional, **named).arguments
        )

    module = types.SimpleNamespace(
        experiments=types.SimpleNamespace(tune=record)
    )
    eval(call, {"keras_dropx": module, **space})
    named = {k: v for k, v in FAST.items() if k != "verbose"}
    assert {key: asked[key] for key in named} == named
    assert {key: asked[key] for key in space} == space
    assert (asked["seed"], asked["method"]) == (3, "any")
    assert asked["objective"] == ("val_accuracy", "max")
    assert asked["rate"] == tuning.RATE and "output" not in asked
