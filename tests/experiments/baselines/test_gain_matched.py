import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_dropx.experiments.baselines.gain_matched import (
    GainMatched,
    gaaf_control,
)
from keras_dropx.layers import GAAF

X = np.random.default_rng(0).normal(size=(50, 7)).astype("float32")


def gradient(layer):
    x = tf.constant(X)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
    return y.numpy(), tape.gradient(y, x).numpy()


def test_gain_matched_control_against_its_formula():
    y, dx = gradient(gaaf_control("tanh", width=1.5))
    x = X.astype("float64")
    plain = 1 - np.tanh(x) ** 2
    accelerated = plain + np.exp(-((x / 1.5) ** 2) / 4)
    gain = np.sqrt(np.mean(accelerated**2) / np.mean(plain**2))
    assert gain > 1.5
    np.testing.assert_allclose(y, np.tanh(X), rtol=1e-6)
    np.testing.assert_allclose(dx, plain * gain, rtol=1e-5, atol=1e-6)


def test_control_has_the_mean_square_gain_of_gaaf():
    _, matched = gradient(gaaf_control("tanh"))
    _, accelerated = gradient(GAAF("tanh"))
    assert np.mean(matched**2) == pytest.approx(
        np.mean(accelerated**2), rel=1e-5
    )


def test_inference_is_the_activation():
    np.testing.assert_array_equal(
        gaaf_control("relu")(X), keras.activations.relu(X)
    )


def test_config_round_trip():
    layer = gaaf_control("tanh", width=2.0)
    copy = GainMatched.from_config(layer.get_config())
    assert copy.gaaf.width == 2.0
    np.testing.assert_allclose(gradient(layer)[1], gradient(copy)[1])
