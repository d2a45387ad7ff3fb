"""Float64: Keras on JAX computes activations in float32."""

import numpy as np

from keras_dropx.layers import GAAF


def test_float64_is_computed_in_float64(vjp):
    x = np.linspace(-8, 8, 1001)
    y, dx = vjp(GAAF("tanh", dtype="float64"), x)
    slope = 1 - np.tanh(x) ** 2 + np.exp(-(x**2) / 4)
    np.testing.assert_allclose(dx, slope, rtol=0, atol=1e-14)
    assert y.dtype == "float64"
    np.testing.assert_allclose(y, np.tanh(x), rtol=0, atol=5e-5)
