"""Gradient acceleration in activation functions (GAAF).

The paper draws its shape functions (Figure 4) and gives no formulas. Those
here were fitted to that figure.
"""

from keras import backend, ops


def gaussian(x):
    """s(x) = exp(-x²/4), the shape for tanh."""
    return ops.exp(-ops.square(x) / 4.0)


def shifted_sigmoid(x):
    """s(x) = sigmoid(5(x + 0.5)), the shape for ReLU and its relatives."""
    return ops.sigmoid(5.0 * (x + 0.5))


def quarter_gaussian(x):
    """s(x) = exp(-x²/16)/4, the shape for the logistic function.

    It follows from tanh's by sigmoid(x) = ½ + ½·tanh(x/2).
    """
    return ops.exp(-ops.square(x) / 16.0) / 4.0


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
    position = x * frequency
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
    x = ops.stop_gradient(
        ops.cast(inputs, backend.result_type(dtype, "float32"))
    )
    slope = amplitude * shape(x / width)
    value = activation(inputs)
    if frequency is not None:
        tooth = ops.cast(sawtooth(x, frequency) * slope, dtype)
        value = value + tooth
    return _accelerated(value, inputs, ops.cast(slope, dtype))


@ops.custom_gradient
def _accelerated(value, inputs, slope):
    """Returns `value` and sends dy·slope to `inputs` besides."""

    def grad(*args, upstream=None):
        gradient = args[0] if upstream is None else upstream
        return gradient, gradient * slope, None

    return value, grad
