"""An argument that is assigned counts as one given to the constructor."""

import copy
import fractions
import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_dropx.layers import (
    GAAF,
    AugmentedDropout,
    BackwardDropout,
    ForwardDropout,
    Jumpout,
)

EARLY = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.5, 0.0])
X = np.random.default_rng(0).normal(size=(4, 50)).astype("float32")

# The class, the arguments it has, those that are assigned.
GOOD = [
    (AugmentedDropout, {"rate": 0.5}, {"rate": 0}),
    (AugmentedDropout, {"rate": 0.5}, {"rate": np.float32(0.25)}),
    (AugmentedDropout, {"rate": 0.5}, {"rate": fractions.Fraction(1, 4)}),
    (AugmentedDropout, {"rate": 0.5}, {"rate": EARLY}),
    (AugmentedDropout, {"rate": EARLY}, {"rate": np.float16(0.5)}),
    (AugmentedDropout, {"rate": 0.5}, {"backward_rate": np.float64(0.3)}),
    (
        AugmentedDropout,
        {"rate": 0.5, "backward_rate": 0.3},
        {"coupling": "independent"},
    ),
    (AugmentedDropout, {"rate": 0.5}, {"rescale": np.int64(0)}),
    (AugmentedDropout, {"rate": 0.5}, {"rescale": "variance"}),
    (AugmentedDropout, {"rate": 0.5}, {"noise_shape": [None, 1]}),
    (AugmentedDropout, {"rate": 0.5}, {"seed": np.int32(7)}),
    (ForwardDropout, {"rate": 0.5}, {"rate": 0, "rescale": 1}),
    (BackwardDropout, {"rate": 0.5}, {"rate": np.float32(0.25)}),
    # Rates and bounds that need a second word, or no longer need it.
    (Jumpout, {"sigma": 0.2}, {"sigma": 0, "min_rate": 0.3}),
    (Jumpout, {"sigma": 0.2, "min_rate": 0.3}, {"min_rate": np.float32(1e-5)}),
    (Jumpout, {"sigma": 0.5}, {"max_rate": np.float32(0.9)}),
    (Jumpout, {"sigma": 0.5}, {"backward_rate": 1e-5}),
    (Jumpout, {"rate": 0.3}, {"rate": 1e-5}),
    (Jumpout, {"rate": 1e-5}, {"adaptive": False}),
    (Jumpout, {"rate": 0.2}, {"adaptive": False, "rate": 0.9}),
    (Jumpout, {"sigma": 0.2}, {"per_sample": True}),
    (GAAF, {"activation": "tanh"}, {"width": 2, "amplitude": np.int64(3)}),
    (GAAF, {"activation": "tanh"}, {"frequency": None}),
    (GAAF, {"activation": "tanh"}, {"frequency": np.float32(2)}),
    (GAAF, {"activation": "tanh"}, {"activation": "relu"}),
    (GAAF, {"activation": "tanh"}, {"shape": "sigmoid"}),
    (GAAF, {"activation": "linear", "shape": "sigmoid"}, {"shape": "gaussian"}),
]


def seeded(kind, arguments):
    if kind is not GAAF:
        arguments = {"seed": 3, **arguments}
    return kind(name="layer", **arguments)


@pytest.mark.few(5)
@pytest.mark.parametrize("kind, given, assigned", GOOD)
def test_it_is_the_layer_that_was_made_so(kind, given, assigned, vjp):
    layer = seeded(kind, given)
    for name, value in assigned.items():
        setattr(layer, name, value)
    made = seeded(kind, {**given, **assigned})
    config = json.loads(json.dumps(layer.get_config()))
    assert config == json.loads(json.dumps(made.get_config()))
    assert copy.deepcopy(layer).get_config() == layer.get_config()
    assert len(layer.variables) == len(made.variables)
    for mine, theirs in zip(vjp(layer, X), vjp(made, X), strict=True):
        np.testing.assert_array_equal(mine, theirs)


BAD = {
    "rate": [1.5, 1, -0.1, "0.5", None, True, np.nan, np.array(0.5), 10**400],
    "backward_rate": [1.0, None, "x", (None, 1), np.inf],
    "sigma": [-1, "x", True, 1j],
    "min_rate": [1.0, None, -1e-9],
    "max_rate": [1.0, "0.5", None],
    "adaptive": [1, None, "yes"],
    "per_sample": [0, None],
    "rescale": ["median", 1.5, None, True],
    "coupling": ["both", None, 1],
    "noise_shape": ["ab", 3, (0, 1), (1.5,)],
    "seed": ["a", 1.5, True, 10**400, keras.random.SeedGenerator(1)],
    "width": [0, -1, None, "1"],
    "amplitude": [-1, None, np.nan],
    "frequency": [0, "x", np.inf],
    "shape": ["round", 3, abs, {}],
    "activation": ["tanhh", 3, None, abs, {}],
}
LAYERS = {
    "augmented": lambda: AugmentedDropout(0.5, 0.25, seed=3),
    "forward": lambda: ForwardDropout(0.5, seed=3),
    "backward": lambda: BackwardDropout(0.5, seed=3),
    "sigma": lambda: Jumpout(0.2, seed=3),
    "rate": lambda: Jumpout(rate=0.2, seed=3),
    "gaaf": lambda: GAAF("tanh"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_what_the_constructor_refuses_is_refused_and_changes_nothing(name):
    layer = LAYERS[name]()
    config = layer.get_config()
    arguments = set(config) - set(keras.layers.Layer().get_config())
    assert arguments <= set(BAD)
    for argument in arguments:
        for value in BAD[argument]:
            if value is None and {name, argument} <= {"sigma", "rate"}:
                continue  # it says that the other one is given
            with pytest.raises(
                ValueError, match=f"`{argument}`[^\n]*(Expected|must be)"
            ) as assigned:
                setattr(layer, argument, value)
            given = {k: config[k] for k in arguments} | {argument: value}
            with pytest.raises(ValueError) as made:
                type(layer)(**given)
            assert str(assigned.value) == str(made.value)
    assert layer.get_config() == config


@pytest.mark.parametrize(
    "given, argument, value, message",
    [
        ({"sigma": 0.2}, "rate", 0.1, "exactly one.*sigma=0.2, rate=0.1"),
        ({"sigma": 0.2}, "sigma", None, "exactly one.*sigma=None, rate=None"),
        ({"rate": 0.2}, "sigma", 0, "exactly one.*sigma=0.0, rate=0.2"),
        ({"sigma": 0.2}, "max_rate", 0.005, "not above `max_rate`, 0.005"),
        ({"sigma": 0.2}, "min_rate", 0.7, "not above `max_rate`, 0.6"),
        ({"rate": 0.2}, "max_rate", 0.1, "`rate`.*not above `max_rate`, 0.1"),
        ({"rate": 0.2}, "rate", 0.7, "`rate`.*not above `max_rate`, 0.6"),
        (
            {"rate": 0.7, "adaptive": False},
            "adaptive",
            True,
            "`rate`.*not above `max_rate`, 0.6",
        ),
    ],
)
def test_jumpouts_arguments_fit_each_other_always(
    given, argument, value, message
):
    layer = Jumpout(**given)
    before = layer.get_config()
    with pytest.raises(ValueError, match=message):
        setattr(layer, argument, value)
    assert layer.get_config() == before


def test_an_activation_without_a_shape_is_refused():
    layer = GAAF("tanh")
    with pytest.raises(ValueError, match="No shape belongs"):
        layer.activation = "linear"
    layer.shape = "gaussian"
    layer.activation = "linear"
    with pytest.raises(ValueError, match="No shape belongs"):
        layer.shape = None
    assert layer.activation is keras.activations.linear


@pytest.mark.few(3)
@pytest.mark.parametrize(
    "kind", [keras.layers.Dropout, AugmentedDropout, ForwardDropout]
)
def test_a_rate_that_is_assigned_holds_after_compile(kind):
    layer = kind(0.5, seed=3)
    ones = keras.layers.Dense(50, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((50,)), ones, layer])
    ones.bias.assign(np.ones(50))

    class Outputs(keras.losses.Loss):
        def call(self, y_true, y_pred):
            zero = ops.cast(ops.equal(y_pred, 0), "float32")
            return ops.mean(zero + 0 * y_pred, -1)

    def dropped():
        model.compile("sgd", Outputs())
        x = np.ones((40, 50), "float32")
        return model.fit(x, x, verbose=0).history["loss"][0]

    assert dropped() == pytest.approx(0.5, abs=0.06)
    layer.rate = np.float32(0.125)
    assert dropped() == pytest.approx(0.125, abs=0.04)
    layer.rate = 0
    assert dropped() == 0


@pytest.mark.parametrize("seed", [5, None])
def test_a_seed_that_is_assigned_starts_the_stream(seed):
    layer = AugmentedDropout(0.5, seed=3)
    layer(X, training=True)
    state = layer.seed_generator.state
    layer.seed = seed
    assert layer.seed_generator.state is state
    first, count = ops.convert_to_numpy(state).tolist()
    assert count == 0 and first != 3 and seed in (None, first)
