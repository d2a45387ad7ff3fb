import math
import subprocess
import sys

import keras
import keras_tuner
import pytest

from keras_dropx import layers, tuner
from keras_dropx.tuner.search_spaces import METHODS


def parameters(space, **kwargs):
    """Returns the declared hyperparameters by name."""
    hp = keras_tuner.HyperParameters()
    space(hp, **kwargs)
    return {parameter.name: parameter for parameter in hp.space}


def test_augmented_dropout_declares_its_rates():
    found = parameters(tuner.augmented_dropout)
    assert list(found) == ["dropout_rate", "dropout_backward_rate"]
    rate, backward = found.values()
    assert (rate.min_value, rate.max_value) == (0.0, 0.5)
    assert (rate.sampling, rate.default) == ("linear", 0.25)
    assert (backward.min_value, backward.max_value) == (1e-5, 1e-2)
    assert backward.sampling == "log"
    assert backward.default == pytest.approx(10**-3.5)


def test_jumpout_declares_sigma_and_on_demand_the_ratio():
    assert list(parameters(tuner.jumpout)) == ["dropout_sigma"]
    sigma = parameters(tuner.jumpout, name="x", sigma=(0.1, 0.3))["x_sigma"]
    assert (sigma.min_value, sigma.max_value) == (0.1, 0.3)
    assert sigma.default == pytest.approx(0.2)
    found = parameters(tuner.jumpout, backward_rate=(1e-4, 1e-3))
    assert set(found) == {"dropout_sigma", "dropout_backward_rate"}
    assert found["dropout_backward_rate"].sampling == "log"


def test_gaaf_declares_its_width_on_a_log_scale():
    found = parameters(tuner.gaaf, activation="tanh")
    assert list(found) == ["gaaf_width"]
    assert found["gaaf_width"].sampling == "log"
    assert found["gaaf_width"].default == pytest.approx(1.0)


def test_the_layers_have_the_values():
    hp = keras_tuner.HyperParameters()
    hp.values = {
        "dropout_rate": 0.3,
        "dropout_backward_rate": 2e-4,
        "dropout_sigma": 0.15,
        "gaaf_width": 1.5,
    }
    layer = tuner.augmented_dropout(hp, coupling="independent")
    assert isinstance(layer, layers.AugmentedDropout)
    assert (layer.rate, layer.backward_rate) == (0.3, 2e-4)
    assert layer.coupling == "independent"
    layer = tuner.jumpout(hp, backward_rate=(1e-5, 1e-2), rescale="mean")
    assert isinstance(layer, layers.Jumpout)
    assert (layer.sigma, layer.backward_rate) == (0.15, 2e-4)
    assert layer.rescale == "mean"
    layer = tuner.gaaf(hp, "tanh", amplitude=0.5)
    assert isinstance(layer, layers.GAAF)
    assert (layer.width, layer.amplitude) == (1.5, 0.5)


@pytest.mark.parametrize("method", METHODS)
def test_any_dropout_shows_only_the_parameters_of_its_method(method):
    hp = keras_tuner.HyperParameters()
    hp.values = {"dropout_method": method}
    layer = tuner.any_dropout(hp)
    kinds = {
        "dropout": layers.AugmentedDropout,
        "forward": layers.ForwardDropout,
        "backward": layers.BackwardDropout,
        "augmented": layers.AugmentedDropout,
        "jumpout": layers.Jumpout,
        "none": layers.AugmentedDropout,
    }
    assert type(layer) is kinds[method]
    rates = {"dropout_rate"}
    expected = {
        "augmented": rates | {"dropout_backward_rate"},
        "jumpout": {"dropout_sigma"},
        "none": set(),
    }.get(method, rates)
    assert set(hp.values) == {"dropout_method"} | expected
    if method == "dropout":
        assert layer.backward_rate == 0.0
    if method == "none":
        assert (layer.rate, layer.backward_rate) == (0.0, 0.0)
    if method == "augmented":
        assert layer.backward_rate == pytest.approx(10**-3.5)


def test_any_dropout_with_one_method_declares_no_choice():
    assert list(parameters(tuner.any_dropout, methods=("jumpout",))) == [
        "dropout_sigma"
    ]
    found = parameters(tuner.any_dropout, methods=["forward", "jumpout"])
    assert set(found) == {"dropout_method", "dropout_rate", "dropout_sigma"}
    assert found["dropout_method"].default == "forward"


def test_any_dropout_passes_the_rescale_on():
    for method in ("dropout", "forward", "augmented", "jumpout"):
        hp = keras_tuner.HyperParameters()
        layer = tuner.any_dropout(hp, methods=(method,), rescale=0.5)
        assert layer.rescale == 0.5
    assert tuner.any_dropout(hp, methods=("jumpout",)).rescale == "batchnorm"


def test_the_first_trial_has_dropout():
    for space in (tuner.augmented_dropout, tuner.any_dropout):
        assert space(keras_tuner.HyperParameters()).rate == 0.25
    assert tuner.jumpout(keras_tuner.HyperParameters()).sigma == 0.275


BAD = [
    (0.2, 0.2),
    (0.5, 0.1),
    (-0.1, 0.5),
    (0.1, math.nan),
    0.3,
    (0.1,),
    ("a", "b"),
    (True, 2),
    None,
]


@pytest.mark.parametrize("limits", BAD)
@pytest.mark.parametrize(
    "space, name",
    [
        (tuner.augmented_dropout, "rate"),
        (tuner.augmented_dropout, "backward_rate"),
        (tuner.jumpout, "sigma"),
        (tuner.any_dropout, "rate"),
        (tuner.any_dropout, "backward_rate"),
        (tuner.any_dropout, "sigma"),
    ],
)
def test_a_bad_range_is_refused(space, name, limits):
    with pytest.raises(ValueError, match=f"argument `{name}`. Expected a pair"):
        space(keras_tuner.HyperParameters(), **{name: limits})


@pytest.mark.parametrize("name", ["rate", "backward_rate"])
def test_a_range_of_rates_that_reaches_1_is_refused(name):
    with pytest.raises(ValueError, match=r"< high < 1\. Received: .*1\.0"):
        tuner.augmented_dropout(
            keras_tuner.HyperParameters(), **{name: (0.1, 1.0)}
        )


def test_a_log_range_from_0_is_refused():
    hp = keras_tuner.HyperParameters()
    with pytest.raises(ValueError, match="0 < low < high < 1"):
        tuner.augmented_dropout(hp, backward_rate=(0.0, 1e-2))
    with pytest.raises(ValueError, match="0 < low < high. Received"):
        tuner.gaaf(hp, "relu", width=(0, 1))


@pytest.mark.parametrize(
    "methods", [("drop",), (), ("jumpout", "jumpout"), ("gaaf", "dropout")]
)
def test_bad_methods_are_refused(methods):
    with pytest.raises(ValueError, match="argument `methods`. Expected"):
        tuner.any_dropout(keras_tuner.HyperParameters(), methods=methods)


@pytest.mark.full
def test_the_grid_reaches_every_method_with_its_parameters(tmp_path):
    def build(hp):
        layer = tuner.any_dropout(hp)
        model = keras.Sequential([keras.Input((2,)), layer])
        model.compile("sgd", "mse")
        return model

    class Tuner(keras_tuner.GridSearch):
        def run_trial(self, trial, **kwargs):
            build(trial.hyperparameters)
            return 0.0

    search = Tuner(build, directory=tmp_path)
    search.search(verbose=0)
    values = [
        trial.hyperparameters.values for trial in search.oracle.trials.values()
    ]
    # Eleven rates, for augmented times eleven ratios, and eleven sigmas: ten
    # values of each range and the default.
    counts = dict.fromkeys(METHODS, 0)
    for value in values:
        counts[value["dropout_method"]] += 1
        keys = {"jumpout": 2, "augmented": 3, "none": 1}
        assert len(value) == keys.get(value["dropout_method"], 2)
    assert len({str(sorted(value.items())) for value in values}) == len(values)
    assert counts["dropout"] == counts["forward"] == counts["backward"]
    assert counts["augmented"] == counts["dropout"] * counts["jumpout"]
    assert counts["dropout"] in (10, 11)
    assert counts["none"] == 1


WITHOUT = """
import sys
sys.modules["keras_tuner"] = None
import keras_dropx
try:
    import keras_dropx.tuner
except ImportError as error:
    print(error)
"""


@pytest.mark.full
def test_without_keras_tuner_the_error_names_the_extra():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == (
        "keras_dropx.tuner needs KerasTuner: pip install 'keras-dropx[tuner]'"
    )
