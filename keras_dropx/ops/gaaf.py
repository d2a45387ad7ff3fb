"""Gradient acceleration in activation functions (GAAF).

The paper draws its shape functions (Figure 4) and gives no formulas. Those
here were fitted to that figure.
"""

import numpy as np
from keras import backend, ops

from keras_dropx.ops.gradients import again, value_of, with_slope

# What float32 holds with all its digits.
SMALLEST, LARGEST = (
    float(getattr(np.finfo("float32"), name)) for name in ("tiny", "max")
)
# Of dtypes that hold less: the largest number, or a power of 2 below it.
NARROW = {"float16": 65504.0, "bfloat16": 2.0**127}


def gaussian(x):
    """s(x) = exp(-x²/4), the shape for tanh."""
    return ops.exp(ops.square(x) * -0.25)


def shifted_sigmoid(x):
    """s(x) = sigmoid(5(x + 0.5)), the shape for ReLU and its relatives."""
    return ops.sigmoid(5.0 * (x + 0.5))


def quarter_gaussian(x):
    """s(x) = exp(-x²/16)/4, the shape for the logistic function.

    It follows from tanh's by sigmoid(x) = ½ + ½·tanh(x/2).
    """
    return ops.exp(ops.square(x) * -0.0625) * 0.25


SHAPES = {
    "gaussian": gaussian,
    "sigmoid": shifted_sigmoid,
    "quarter_gaussian": quarter_gaussian,
}

ACTIVATION_SHAPES = {
    "tanh": "gaussian",
    "sigmoid": "quarter_gaussian",
    **dict.fromkeys(
        (
            "relu",
            "relu6",
            "leaky_relu",
            "elu",
            "selu",
            "gelu",
            "silu",
            "softplus",
            "mish",
        ),
        "sigmoid",
    ),
}


def sawtooth(x, frequency):
    """g(x) = (xK - ⌊xK⌋ - 0.5) / K (Eq. 7): |g| ≤ 1/(2K), slope 1.

    Args:
        x: float32 or float64 tensor.
        frequency: K.
    """
    # Beyond 2^53 there are whole numbers only, in float64 too.
    position = ops.clip(x * frequency, -(2.0**53), 2.0**53)
    return (position - ops.floor(position) - 0.5) / frequency


def gaaf(inputs, activation, shape, width, amplitude, frequency):
    """Adds slope to an activation function without changing its values.

    ```
    y  = φ(x) + g(x)·s(x)                  (Eq. 8)
    dx = dy · (φ′(x) + s(x))
    ```

    The shape and the sawtooth are computed in float32 at least: in float16
    x·K overflows, in bfloat16 it is a whole number.

    Args:
        inputs: Float tensor x.
        activation: Function φ.
        shape: Function s.
        width: Rescales x inside the shape: s(x / width).
        amplitude: Multiplies the shape.
        frequency: K, or None for its limit: the forward value is then φ(x).

    Returns:
        Tensor of the shape and dtype of `inputs`.
    """
    dtype = backend.standardize_dtype(inputs.dtype)
    wide = backend.result_type(dtype, "float32")

    def wide_and_slope(inputs):
        x = ops.stop_gradient(ops.cast(inputs, wide))
        return x, amplitude * shape(x / width)

    largest = amplitude * max(1.0, 0.5 / (frequency or 1.0))
    # Our own shapes are nowhere above 1.
    fits = shape in SHAPES.values() and largest <= NARROW.get(dtype, LARGEST)

    def narrow(tensor):
        if dtype in NARROW and not fits:
            tensor = ops.clip(tensor, -NARROW[dtype], NARROW[dtype])
        return ops.cast(tensor, dtype)

    x, slope = wide_and_slope(inputs)
    value = activation(inputs)
    if frequency is not None:
        value = value + narrow(sawtooth(x, frequency) * slope)
    anew = again(inputs)
    if anew is inputs:
        slope = narrow(slope)
        return with_slope(value, inputs, ops.multiply, slope)
    _, slope = wide_and_slope(anew)
    return value_of(value, activation(anew) + anew * narrow(slope))
