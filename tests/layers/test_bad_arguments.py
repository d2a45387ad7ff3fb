"""Whatever an argument is given: a value that works, or one sentence."""

import decimal
import fractions
import inspect
import re

import keras
import numpy as np
import pytest

from keras_dropx import layers

VALUES = [
    None,
    True,
    "",
    "0.5",
    [],
    [0.5],
    (None, 1),
    {},
    {"class_name": "Dense"},
    {"class_name": 3, "config": None},
    {1, 2},
    -1,
    0,
    2,
    0.5,
    1.0,
    -0.0,
    10**400,
    10**5000,
    -(10**400),
    float("inf"),
    float("nan"),
    1j,
    np.bool_(True),
    np.float16(0.5),
    np.int8(-1),
    np.uint64(2**64 - 1),
    np.array(0.5),
    np.array([0.5, 0.2]),
    np.array("x"),
    fractions.Fraction(1, 3),
    fractions.Fraction(10**30 - 1, 10**30),
    decimal.Decimal("0.5"),
    b"mean",
    object(),
    float,
    abs,
    lambda x: x,
    keras.layers.Dense,
    keras.layers.Dropout(0.5),
    keras.random.SeedGenerator(1),
    keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.9),
]
GIVEN = {
    layers.AugmentedDropout: {"rate": 0.5},
    layers.ForwardDropout: {"rate": 0.5},
    layers.BackwardDropout: {"rate": 0.5},
    layers.Jumpout: {"sigma": 0.2},
    layers.GAAF: {"activation": "tanh"},
    layers.MaskedInput: {
        "layer": keras.layers.Dense(2),
        "dropout": layers.AugmentedDropout(0.5),
    },
}
X = np.ones((2, 3), "float32")


def arguments(function):
    return [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]


def assert_says(error, argument):
    message = str(error)
    assert re.search(rf"\b{argument}\b", message), message
    assert "\n" not in message and len(message) < 700, message


@pytest.mark.few(8)
@pytest.mark.parametrize(
    "kind, argument",
    [(kind, name) for kind in GIVEN for name in arguments(kind)],
)
def test_a_layer_works_or_says_what_was_wrong(kind, argument):
    made = 0
    for value in VALUES:
        if argument == "noise_shape" and isinstance(value, int):
            continue  # Keras' own check says in full what it was
        given = {**GIVEN[kind], argument: value}
        if kind is layers.Jumpout and argument == "rate" and value is not None:
            del given["sigma"]
        try:
            layer = kind(**given)
        except ValueError as error:
            assert_says(error, argument)
            continue
        made += 1
        config = layer.get_config()
        assert type(config.get(argument)) in (
            *(type(None), bool, int, float, str, tuple, dict),
        ), value
        if argument != "noise_shape":
            y = layer(X, training=True)
            assert np.isfinite(keras.ops.convert_to_numpy(y)).all(), value
    assert made or argument in ("layer", "dropout", "activation", "coupling")


@pytest.mark.few(8)
@pytest.mark.parametrize("name", ["none", "scalar", "empty", "long"])
@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.AugmentedDropout(0.5, 0.3),
        lambda: layers.AugmentedDropout(0.5, 0.3, "independent"),
        lambda: layers.ForwardDropout(0.5),
        lambda: layers.BackwardDropout(0.5),
        lambda: layers.Jumpout(0.2),
        lambda: layers.Jumpout(rate=0.2, adaptive=False),
        lambda: layers.Jumpout(0.2, per_sample=True),
        lambda: layers.GAAF("tanh"),
    ],
)
def test_inputs_of_any_shape_pass(layer, name, vjp):
    x = {
        "none": np.zeros((0,), "float32"),
        "scalar": np.array(1.0, "float32"),
        "empty": np.zeros((0, 3, 2), "float32"),
        "long": np.ones((2, 1, 1, 1, 1, 3), "float32"),
    }[name]
    layer = layer()
    if name == "scalar" and getattr(layer, "per_sample", False):
        with pytest.raises(
            ValueError, match="`per_sample=True` expects inputs with a batch"
        ):
            layer(x, training=True)
        return
    y, dx = vjp(layer, x)
    assert y.shape == dx.shape == x.shape
    assert np.isfinite(y).all() and np.isfinite(dx).all()
    assert keras.ops.shape(layer(x)) == x.shape


@pytest.mark.parametrize("dtype", ["int32", "bool"])
def test_inputs_that_are_no_floats_are_refused_in_training(dtype):
    x = np.ones((2, 3), dtype)
    layer = layers.AugmentedDropout(0.5)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer(x)), x)
    with pytest.raises(ValueError, match=f"a float dtype.*dtype {dtype}"):
        layer(x, training=True)
