"""Compiled, the exact form has the products of the plain layer, no more."""

import re

import jax
import keras
import numpy as np
import pytest
from keras import layers

from keras_dropx.layers import AugmentedDropout, MaskedInput

LAYERS = {
    "dense": ((4, 5), lambda: layers.Dense(3, "relu")),
    "conv1d": ((4, 9, 3), lambda: layers.Conv1D(5, 3, padding="causal")),
    "conv2d": ((4, 9, 9, 3), lambda: layers.Conv2D(5, 3, activation="relu")),
    "transpose": ((4, 5, 5, 3), lambda: layers.Conv2DTranspose(4, 3)),
}


def products(layer, shape):
    """Counts the products of a compiled gradient."""
    model = keras.Sequential(
        [keras.Input(shape[1:]), layers.Dense(shape[-1]), layer]
    )
    values = [variable.value for variable in model.trainable_variables]
    state = [variable.value for variable in model.non_trainable_variables]

    def loss(values, x):
        y, _ = model.stateless_call(values, state, x, training=True)
        return keras.ops.sum(y**2)

    x = np.ones(shape, "float32")
    hlo = jax.jit(jax.grad(loss)).lower(values, x).compile().as_text()
    return len(re.findall(r" (?:dot|convolution|custom-call)\(", hlo))


@pytest.mark.few(3)
@pytest.mark.parametrize("kind", LAYERS)
def test_no_more_products_than_the_plain_layer(kind):
    shape, build = LAYERS[kind]
    masked = MaskedInput(build(), AugmentedDropout(0.5, 1e-4, seed=1))
    assert products(masked, shape) == products(build(), shape) == 5
