import keras
import numpy as np
import pytest

from keras_dropx.ops import gaaf


@pytest.mark.parametrize(
    "shape, values",
    [
        ("gaussian", {0: 1, 2: 0.3679, -2: 0.3679, 4: 0.0183}),
        ("sigmoid", {0: 0.9241, -0.5: 0.5, -1: 0.0759, 3: 1}),
        ("quarter_gaussian", {0: 0.25, 4: 0.25 * 0.3679, -8: 0.25 * 0.0183}),
    ],
)
def test_shapes_have_the_values_of_the_figure(shape, values):
    x = np.array(list(values), "float32")
    s = keras.ops.convert_to_numpy(gaaf.SHAPES[shape](x))
    np.testing.assert_allclose(s, list(values.values()), atol=5e-5)


def test_each_activation_has_the_shape_of_the_table():
    assert gaaf.ACTIVATION_SHAPES == {
        "tanh": "gaussian",
        "sigmoid": "quarter_gaussian",
        **dict.fromkeys(
            "relu relu6 leaky_relu elu selu gelu silu softplus mish".split(),
            "sigmoid",
        ),
    }


@pytest.mark.parametrize("frequency", [1, 10, 0.5, 10_000])
def test_sawtooth_has_its_height_and_slope(frequency):
    x = np.linspace(-3, 3, 1001, dtype="float32")
    g = gaaf.sawtooth(keras.ops.convert_to_tensor(x), frequency)
    g = keras.ops.convert_to_numpy(g)
    exact = x.astype("float64") * frequency
    exact = (exact - np.floor(exact) - 0.5) / frequency
    assert np.max(np.abs(g)) <= 0.5 / frequency
    # A float32 position may fall on the other side of a jump.
    wrapped = np.abs(g - exact)
    wrapped = np.minimum(wrapped, 1 / frequency - wrapped)
    assert np.max(wrapped) < 2e-6
