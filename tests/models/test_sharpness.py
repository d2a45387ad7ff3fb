import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_dropx.models import sharpness

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6)).astype("float32")
Y = RNG.normal(size=(40, 2)).astype("float32")


def linear(**kwargs):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(2, **kwargs)])
    model.compile("sgd", "mse")
    return model


@pytest.mark.backends
def test_a_linear_model_has_the_parabola_of_least_squares():
    model = linear()
    kernel, bias = model.get_weights()
    found = sharpness(model, X, Y, directions=4, radius=0.4, steps=5, seed=3)
    np.testing.assert_allclose(found.steps, [-0.4, -0.2, 0, 0.2, 0.4])
    assert found.losses.shape == (4, 5)
    generator = np.random.default_rng(3)
    for row, curvature in zip(found.losses, found.curvature, strict=True):
        d = generator.normal(size=kernel.shape)
        d *= np.linalg.norm(kernel, axis=0) / np.linalg.norm(d, axis=0)
        expected = [
            np.mean((X @ (kernel + t * d) + bias - Y) ** 2) for t in found.steps
        ]
        np.testing.assert_allclose(row, expected, 1e-5)
        np.testing.assert_allclose(curvature, 2 * np.mean((X @ d) ** 2), 1e-3)


@pytest.mark.full
def test_a_rescaled_network_is_as_sharp():
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(16, activation="relu", use_bias=False),
            layers.Dense(2),
        ]
    )
    model.compile("sgd", "mse")
    before = sharpness(model, X, Y, seed=1)
    first, second, bias = model.get_weights()
    model.set_weights([10 * first, second / 10, bias])
    after = sharpness(model, X, Y, seed=1)
    np.testing.assert_allclose(after.losses, before.losses, 1e-4)


@pytest.mark.full
def test_regularization_is_left_out_and_weights_are_put_back():
    model = linear(kernel_regularizer=keras.regularizers.L2(10.0))
    plain = linear()
    plain.set_weights(model.get_weights())
    before = [ops.convert_to_numpy(v) for v in model.variables]
    found = sharpness(model, X, Y, seed=1)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), value)
    expected = sharpness(plain, X, Y, seed=1)
    np.testing.assert_allclose(found.losses, expected.losses, 1e-4)


def test_weights_are_put_back_after_an_error():
    model = linear()
    before = model.get_weights()
    with pytest.raises(
        Exception, match="incompatible|expected|shape|dimension"
    ):
        sharpness(model, X[:, :5], Y, seed=1)
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_seeds():
    model = linear()
    one, same, other = (
        sharpness(model, X, Y, directions=1, steps=3, seed=seed).losses
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.full
def test_units_of_a_transposed_convolution():
    layer = layers.Conv2DTranspose(3, 2, use_bias=False)
    model = keras.Sequential([keras.Input((2, 2, 2)), layer])
    model.compile("sgd", "mse")
    kernel = layer.get_weights()[0]
    kernel[:, :, 1:] = 0  # all but the first unit
    layer.set_weights([kernel])
    x, y = np.ones((2, 2, 2, 2)), np.zeros((2, 3, 3, 3))
    losses = sharpness(model, x, y, steps=3, radius=1.0, seed=1).losses
    y[..., 1:] = 5  # the loss of units that never move
    moved = sharpness(model, x, y, steps=3, radius=1.0, seed=1).losses
    np.testing.assert_allclose(moved - losses, 25 * 2 / 3, 1e-5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"directions": 0}, "`directions`. Expected a positive integer"),
        ({"steps": 4}, "`steps`. Expected an odd integer of at least 3"),
        ({"steps": 1}, "`steps`. Expected an odd integer of at least 3"),
        ({"directions": True}, "`directions`. Expected a positive integer"),
        ({"batch_size": False}, "`batch_size`. Expected a positive integer"),
        ({"seed": -1}, "`seed`. Expected an integer from 0"),
        ({"radius": 0}, "`radius`. Expected a finite number greater than 0"),
        ({"y": None}, "`y`. Expected arrays of targets, as many as inputs"),
        ({"y": np.float32(1)}, "`y`. Expected arrays of targets"),
        ({"y": Y[:3]}, "`y`. Expected arrays of targets, as many as inputs"),
    ],
)
def test_bad_numbers_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        sharpness(linear(), **{"x": X, "y": Y, **arguments})


def test_a_model_without_a_loss_is_refused():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(2)], name="bare")
    with pytest.raises(ValueError, match="compiled with a loss.*'bare'"):
        sharpness(model, X, Y)
