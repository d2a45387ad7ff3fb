import json
import math

import keras
import numpy as np
import pytest

from keras_dropx.layers import GAAF

erf = np.vectorize(math.erf, otypes=["float64"])


def logistic(x):
    return 1 / (1 + np.exp(-x))


def relu_shape(x):
    return logistic(5 * (x + 0.5))


def above(x):
    return np.where(x > 0, 1.0, 0.0)


def mish_slope(x):
    t = np.tanh(np.log1p(np.exp(x)))
    return t + x * logistic(x) * (1 - t**2)


ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805
SLOPES = {
    "tanh": lambda x: 1 - np.tanh(x) ** 2,
    "sigmoid": lambda x: logistic(x) * logistic(-x),
    "relu": above,
    "relu6": lambda x: above(x) - above(x - 6),
    "leaky_relu": lambda x: np.where(x > 0, 1, 0.2),
    "elu": lambda x: np.where(x > 0, 1, np.exp(x)),
    "selu": lambda x: SCALE * np.where(x > 0, 1, ALPHA * np.exp(x)),
    "gelu": lambda x: (
        (1 + erf(x / 2**0.5)) / 2 + x * np.exp(-(x**2) / 2) / (2 * np.pi) ** 0.5
    ),
    "silu": lambda x: logistic(x) * (1 + x * logistic(-x)),
    "softplus": logistic,
    "mish": mish_slope,
}
SHAPES = {
    **dict.fromkeys(SLOPES, relu_shape),
    "tanh": lambda x: np.exp(-(x**2) / 4),
    "sigmoid": lambda x: np.exp(-(x**2) / 16) / 4,
}
ACTIVATIONS = list(SLOPES)


@keras.saving.register_keras_serializable("kdx_tests")
def cubic(x):
    return x**3 / 3


@keras.saving.register_keras_serializable("kdx_tests")
def constant_shape(x):
    return keras.ops.full_like(x, 0.5)


def unregistered(x):
    return x


def grid(dtype="float32", end=8):
    x = np.linspace(-end, end, 2002)
    return x.astype(dtype)


@pytest.mark.parametrize(
    "activation", ["no_such", None, 3, unregistered, lambda x: x]
)
def test_an_unknown_or_unregistered_activation_is_refused(activation):
    with pytest.raises(ValueError) as error:
        GAAF(activation)
    assert str(error.value) == (
        "Invalid value received for argument `activation`. Expected the name "
        "of a Keras activation or a function registered with "
        "`keras.saving.register_keras_serializable`. "
        f"Received: activation={activation!r}"
    )


@pytest.mark.parametrize("activation", ["linear", "softsign", cubic])
def test_an_activation_without_a_known_shape_is_refused(activation):
    with pytest.raises(ValueError) as error:
        GAAF(activation)
    expected, received = str(error.value).split("Received: activation=")
    opening = "No shape belongs to this activation. Pass `shape`"
    assert expected.startswith(opening)
    assert all(name in expected for name in ACTIVATIONS)
    assert getattr(activation, "__name__", activation) in received
    GAAF(activation, shape="gaussian")


@pytest.mark.parametrize("shape", ["bell", 3, unregistered, lambda x: x])
def test_an_unknown_or_unregistered_shape_is_refused(shape):
    with pytest.raises(ValueError) as error:
        GAAF("tanh", shape=shape)
    assert str(error.value) == (
        "Invalid value received for argument `shape`. Expected one of "
        "'gaussian', 'sigmoid', 'quarter_gaussian' or a function registered "
        "with `keras.saving.register_keras_serializable`. "
        f"Received: shape={shape!r}"
    )


@pytest.mark.parametrize("name", ["width", "frequency"])
@pytest.mark.parametrize("bad", [0, -1.0, float("nan"), float("inf"), True, ""])
def test_width_and_frequency_have_to_be_positive(name, bad):
    with pytest.raises(ValueError) as error:
        GAAF("tanh", **{name: bad})
    assert str(error.value) == (
        f"Invalid value received for argument `{name}`. Expected a finite "
        f"number greater than 0. Received: {name}={bad!r}"
    )


def test_a_negative_amplitude_is_refused():
    with pytest.raises(ValueError, match="`amplitude`. Expected .* at least 0"):
        GAAF("tanh", amplitude=-0.5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_inference_is_exactly_the_activation(activation, run):
    x = grid()
    y = run(GAAF(activation), x)
    np.testing.assert_array_equal(y, run(keras.activations.get(activation), x))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("frequency", [10_000, None])
def test_gradient_is_the_slope_plus_the_shape(activation, frequency, mode, vjp):
    # Beyond 4 TensorFlow's own slope of mish is off by 4e-6.
    x = grid(end=8 if activation != "mish" else 4)
    dy = np.random.default_rng(0).uniform(-1, 1, x.size).astype("float32")
    _, dx = vjp(GAAF(activation, frequency=frequency), x, dy, mode=mode)
    exact = x.astype("float64")
    slope = SLOPES[activation](exact) + SHAPES[activation](exact)
    np.testing.assert_allclose(dx, dy * slope, rtol=0, atol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_shape_adds_to_the_slope_that_the_backend_gives(activation, vjp):
    x = grid(end=30)
    _, dx = vjp(GAAF(activation), x)
    _, plain = vjp(keras.activations.get(activation), x)
    with np.errstate(over="ignore"):
        slope = plain + SHAPES[activation](x.astype("float64"))
    np.testing.assert_allclose(dx, slope, rtol=0, atol=5e-7)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("frequency", [10_000, 10, 0.5])
def test_value_is_the_activation_to_half_a_tooth(activation, frequency, vjp):
    x = grid()
    y, _ = vjp(GAAF(activation, frequency=frequency), x)
    plain, _ = vjp(keras.activations.get(activation), x)
    off = np.abs(y - plain)
    limit = SHAPES[activation](x.astype("float64")) / (2 * frequency)
    rounding = np.spacing((np.abs(plain) + limit).astype("float32"))
    assert np.all(off <= limit * (1 + 1e-5) + rounding)
    # It is a sawtooth, not nothing: a mean of half its height.
    assert 0.4 < np.sum(off) / np.sum(limit) < 0.6


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_without_frequency_the_value_is_exactly_the_activation(activation, vjp):
    y, _ = vjp(GAAF(activation, frequency=None), grid())
    plain, _ = vjp(keras.activations.get(activation), grid())
    np.testing.assert_array_equal(y, plain)


def test_width_and_amplitude_rescale_the_shape(vjp):
    x = grid()
    _, dx = vjp(GAAF("tanh", width=2.0, amplitude=0.25), x)
    exact = x.astype("float64")
    slope = 1 - np.tanh(exact) ** 2 + 0.25 * np.exp(-(exact**2) / 16)
    np.testing.assert_allclose(dx, slope, atol=1e-6)


def test_amplitude_0_is_the_plain_activation(vjp):
    y, dx = vjp(GAAF("tanh", amplitude=0.0), grid())
    plain, slope = vjp(keras.activations.tanh, grid())
    np.testing.assert_array_equal(y, plain)
    np.testing.assert_array_equal(dx, slope)


def test_registered_functions_are_taken(vjp):
    x = grid()
    _, dx = vjp(GAAF(cubic, shape=constant_shape, frequency=None), x)
    np.testing.assert_allclose(dx, x.astype("float64") ** 2 + 0.5, rtol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("frequency", [10_000, None])
def test_half_precision_is_finite_and_close(activation, dtype, frequency, vjp):
    x = 10.0 ** np.arange(1, 5)
    x = np.concatenate([grid(end=5.9), x, -x])
    x = keras.ops.cast(x, dtype)
    y, dx = vjp(GAAF(activation, frequency=frequency), x)
    assert y.dtype.name == dx.dtype.name == dtype
    x = keras.ops.convert_to_numpy(keras.ops.cast(x, "float32"))
    y, dx, x = (array.astype("float64") for array in (y, dx, x))
    assert np.all(np.isfinite(y)) and np.all(np.isfinite(dx))
    with np.errstate(over="ignore"):
        slope = SLOPES[activation](np.clip(x, -80, 80))
        slope = slope + SHAPES[activation](x)
    unit = {"float16": 2.0**-10, "bfloat16": 2.0**-7}[dtype]
    np.testing.assert_allclose(dx, slope, rtol=0, atol=6 * unit)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"frequency": 1e30},
        {"frequency": 3.4e38},
        {"frequency": 2e-38},
        {"amplitude": 3e38},
        {"amplitude": 1e10, "frequency": 1e-20},
        {"width": 2e-38},
        {"width": 3.4e38, "frequency": 3.4e38},
    ],
)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_largest_arguments_give_no_nan(activation, arguments, dtype, vjp):
    x = [0.0, 1e-30, -1e-30, 0.3, -0.3, 5.0, -5.0, 6e4, -6e4]
    x += [] if dtype == "float16" else [1e38, -1e38]
    y, dx = vjp(GAAF(activation, **arguments), keras.ops.cast(x, dtype))
    for array in (y, dx):
        array = keras.ops.convert_to_numpy(keras.ops.cast(array, "float32"))
        assert not np.any(np.isnan(array))
    if "amplitude" not in arguments and arguments.get("frequency", 0) > 1:
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(keras.ops.cast(y, "float32")),
            keras.ops.convert_to_numpy(
                keras.ops.cast(
                    keras.activations.get(activation)(keras.ops.cast(x, dtype)),
                    "float32",
                )
            ),
            rtol=0.01,
            atol=1e-30,
        )


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"frequency": 1e39}, "`frequency`. Expected a number that float32"),
        ({"frequency": 1e-39}, "`frequency`. Expected a number that float32"),
        ({"width": 1e-39}, "`width`. Expected a number that float32 holds"),
        ({"amplitude": 1e39}, "Expected `amplitude` and the height"),
        ({"amplitude": 1e30, "frequency": 1e-20}, "the height of the sawt"),
    ],
)
def test_what_float32_does_not_hold_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        GAAF("tanh", **arguments)
    layer = GAAF("tanh")
    (name, value), *_ = arguments.items()
    if len(arguments) == 1:
        with pytest.raises(ValueError, match=message):
            setattr(layer, name, value)
        assert layer.get_config() == GAAF("tanh", name=layer.name).get_config()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("training", [False, True])
def test_it_returns_the_dtype_it_is_given(dtype, training):
    x = keras.ops.ones((3,), dtype)
    for policy in ("float32", "mixed_float16"):
        y = GAAF("relu", dtype=policy)(x, training=training)
        assert keras.backend.standardize_dtype(y.dtype) == dtype


def test_integers_become_the_compute_dtype():
    y = GAAF("tanh")(np.arange(3), training=True)
    assert keras.backend.standardize_dtype(y.dtype) == "float32"
    np.testing.assert_allclose(y, np.tanh(np.arange(3.0)), atol=6e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize("own", [None, "float32"])
def test_a_symbolic_call_tells_the_dtype_of_a_real_one(policy, own):
    keras.config.set_dtype_policy(policy)
    for layers in ([], [keras.layers.Dense(3)]):
        model = keras.Sequential([keras.Input((3,)), *layers])
        model.add(GAAF("tanh", dtype=own))
        y = model(np.ones((2, 3), "float32"))
        dtype = keras.backend.standardize_dtype(y.dtype)
        assert model.outputs[0].dtype == dtype


@pytest.mark.parametrize("training", [False, True])
def test_as_activation_it_keeps_mixed_precision(training):
    layer = keras.layers.Dense(
        4, dtype="mixed_float16", activation=GAAF("tanh")
    )
    y = layer(np.ones((2, 3), "float32"), training=training)
    assert keras.backend.standardize_dtype(y.dtype) == "float16"


def test_as_activation_it_adds_slope_in_training(mode, vjp):
    ones = keras.initializers.Ones()
    layer = keras.layers.Dense(
        1, activation=GAAF("tanh"), use_bias=False, kernel_initializer=ones
    )
    layer.build((None, 2))
    x = np.array([[1.0, 1.0]], "float32")
    _, dx = vjp(layer, x, mode=mode)
    slope = 1 - np.tanh(2.0) ** 2 + np.exp(-1.0)
    np.testing.assert_allclose(dx, [[slope, slope]], atol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        GAAF("tanh"),
        GAAF("relu", width=0.5, amplitude=2.0, frequency=None),
        GAAF("linear", shape="gaussian", frequency=100),
        GAAF(cubic, shape=constant_shape),
    ],
    ids=["default", "numbers", "shape", "registered"],
)
@pytest.mark.parametrize("where", ["layer", "activation"])
def test_it_survives_saving_and_cloning(layer, where, tmp_path, vjp):
    layer = GAAF.from_config(layer.get_config())
    model = keras.Sequential([keras.Input((2,))])
    if where == "layer":
        model.add(layer)
    else:
        model.add(keras.layers.Dense(3, activation=layer))
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(5, 2)).astype("float32")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    for other in (loaded, clone):
        for ours, theirs in zip(vjp(other, x), vjp(model, x), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_its_config_is_json_and_names_every_argument():
    layer = GAAF(cubic, constant_shape, 0.5, 2.0, None, name="g")
    config = json.loads(json.dumps(layer.get_config()))
    assert config["width"] == 0.5 and config["amplitude"] == 2.0
    assert config["frequency"] is None and config["name"] == "g"
    copy = GAAF.from_config(config)
    assert copy.activation is cubic and copy.shape is constant_shape
    assert copy.get_config() == layer.get_config()


def test_it_trains(tmp_path):
    model = keras.Sequential([keras.Input((3,))])
    model.add(keras.layers.Dense(8, activation=GAAF("tanh")))
    model.add(GAAF("relu"))
    model.add(keras.layers.Dense(1))
    model.compile("adam", "mse")
    x = np.ones((10, 3), "float32")
    model.fit(x, x[:, :1], batch_size=4, verbose=0)
    assert np.isfinite(model.evaluate(x, x[:, :1], verbose=0))
    assert model.predict(x, verbose=0).shape == (10, 1)
