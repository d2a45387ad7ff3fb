import jax
import keras
import numpy as np
import pytest

from keras_dropx.layers import (
    GAAF,
    AugmentedDropout,
    BackwardDropout,
    ForwardDropout,
    Jumpout,
    MaskedInput,
)

LAYERS = {
    "augmented": lambda: AugmentedDropout(0.3, 0.2, seed=1),
    "independent": lambda: AugmentedDropout(
        0.3, 0.2, coupling="independent", seed=1
    ),
    "standard": lambda: AugmentedDropout(0.3, seed=1),
    "forward": lambda: ForwardDropout(0.3, seed=1),
    "backward": lambda: BackwardDropout(0.3, seed=1),
    "jumpout": lambda: Jumpout(sigma=0.2, per_sample=True, seed=1),
    "gaaf": lambda: GAAF("tanh"),
    "masked_input": lambda: MaskedInput(
        keras.layers.Dense(5), AugmentedDropout(0.3, 0.2, seed=1)
    ),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_forward_and_reverse_mode_have_one_jacobian(kind):
    layer = LAYERS[kind]()
    x = np.random.default_rng(0).normal(size=(2, 5)).astype("float32")
    layer(x)
    values = [v.value for v in layer.trainable_variables]
    state = [v.value for v in layer.non_trainable_variables]

    def call(x):
        return layer.stateless_call(values, state, x, training=True)[0]

    y, tangent = jax.jvp(call, (x,), (x,))
    np.testing.assert_array_equal(y, call(x))
    reverse = jax.jacrev(call)(x)
    np.testing.assert_allclose(jax.jacfwd(call)(x), reverse, rtol=1e-6)
    expected = np.einsum("abcd,cd->ab", reverse, x)
    np.testing.assert_allclose(tangent, expected, rtol=1e-4, atol=1e-6)
    assert np.any(tangent)
