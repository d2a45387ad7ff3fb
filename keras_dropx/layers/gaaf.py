import contextlib

import keras

from keras_dropx import errors
from keras_dropx.layers.checked_arguments import CheckedArguments
from keras_dropx.ops import gaaf as formulas


@keras.saving.register_keras_serializable("keras_dropx")
class GAAF(CheckedArguments, keras.layers.Layer):
    """Applies an activation function and adds slope to its gradient.

    In training, for an activation φ and a shape s,

    ```
    y  = φ(x) + g(x)·s(x),   g(x) = (xK - ⌊xK⌋ - 0.5) / K
    dx = dy · (φ′(x) + s(x))
    ```

    g is a sawtooth of slope 1 and height 1/K, so the values of the activation
    stay what they were (to 1/(2K)) while gradients flow where φ is flat. In
    inference the layer is exactly φ.

    It is a layer, and equally an activation: `Dense(64, GAAF("tanh"))`. It
    returns the dtype it is given (integers become the compute dtype), so as
    an activation it keeps the precision of the layer around it.

    More slope is also a larger learning rate in the layers below: compare
    with the activation at that learning rate before crediting the method.

    Shapes, read off the paper's Figure 4 (its text gives none):

    | shape | s(x) | default for |
    | --- | --- | --- |
    | "gaussian" | exp(-x²/4) | tanh |
    | "sigmoid" | sigmoid(5(x + 0.5)) | relu, relu6, leaky_relu, elu, selu, \
gelu, silu, softplus, mish |
    | "quarter_gaussian" | exp(-x²/16)/4 | sigmoid |

    Args:
        activation: Name or function, as `keras.activations.get` takes it. A
            function of yours has to be registered with
            `keras.saving.register_keras_serializable`.
        shape: One of the names above or a registered function s. None picks
            the one that belongs to the activation.
        width: Positive float that rescales x inside the shape, s(x / width).
            Defaults to 1.
        amplitude: Float, not negative, that multiplies the shape. Defaults
            to 1. In half precision a slope that the dtype cannot hold (above
            65,504 in float16) becomes the largest that it can.
        frequency: Positive float K, in sawteeth per unit of x, or None for
            the limit of large K: y is then exactly φ(x). Where |xK| exceeds
            2^23 float32 knows no place inside a tooth, and g is -1/(2K).
            Defaults to 10,000. All three are numbers that float32 holds
            (1.2e-38 to 3.4e38).
        **kwargs: `name`, `dtype`, and what else `keras.layers.Layer` takes.

    Call arguments:
        inputs: Tensor of any rank.
        training: Whether to add the slope.

    Input shape:
        Any.

    Output shape:
        The input's, in the input's dtype.

    Raises:
        ValueError: If the activation or shape is unknown or not registered,
            or a number is out of its range.

    Example:

    >>> tanh = keras_dropx.layers.GAAF("tanh")
    >>> layer = keras.layers.Dense(64, activation=tanh)
    >>> outputs = layer(keras.ops.ones((2, 3)), training=True)
    >>> keras.ops.shape(outputs)
    (2, 64)

    Reference:
        Hahn, Choi, 2018: Gradient Acceleration in Activation Functions,
        Eq. 7 and 8.
    """

    checks = {
        "activation": lambda name, value: _get_activation(value),
        "shape": lambda name, value: _get_shape(value),
        "width": lambda name, value: _check_scale(name, value),
        "amplitude": errors.check_not_negative,
        "frequency": lambda name, value: (
            value if value is None else _check_scale(name, value)
        ),
    }

    def __init__(
        self,
        activation,
        shape=None,
        width=1.0,
        amplitude=1.0,
        frequency=10_000,
        **kwargs,
    ):
        # A layer around this one has cast already.
        super().__init__(autocast=False, **kwargs)
        self.activation = activation
        self.shape = shape
        self.width = width
        self.amplitude = amplitude
        self.frequency = frequency
        self.supports_masking = True
        self.built = True

    def check_together(self, activation, shape, width, amplitude, frequency):
        _shape_function(shape, activation)
        if amplitude * max(1.0, 0.5 / (frequency or 1.0)) > formulas.LARGEST:
            raise ValueError(
                "Expected `amplitude` and the height of the sawtooth, "
                "`amplitude / (2 * frequency)`, to be at most 3.4e38, which "
                f"float32 holds. Received: amplitude={amplitude}, "
                f"frequency={frequency}"
            )

    def call(self, inputs, training=False):
        if not keras.backend.is_float_dtype(inputs.dtype):
            inputs = keras.ops.cast(inputs, self.compute_dtype)
        if not training:
            return self.activation(inputs)
        return formulas.gaaf(
            inputs,
            self.activation,
            _shape_function(self.shape, self.activation),
            self.width,
            self.amplitude,
            self.frequency,
        )

    def compute_output_shape(self, input_shape):
        return input_shape

    def compute_output_spec(self, inputs, training=False):
        dtype = inputs.dtype
        if not keras.backend.is_float_dtype(dtype):
            dtype = self.compute_dtype
        return keras.KerasTensor(inputs.shape, dtype)

    def get_config(self):
        shape = self.shape
        if callable(shape):
            shape = keras.saving.serialize_keras_object(shape)
        return {
            **super().get_config(),
            "activation": keras.activations.serialize(self.activation),
            "shape": shape,
            "width": self.width,
            "amplitude": self.amplitude,
            "frequency": self.frequency,
        }


def _check_scale(name, value):
    number = errors.check_positive(name, value)
    if not formulas.SMALLEST <= number <= formulas.LARGEST:
        raise errors.invalid(
            name, "a number that float32 holds, 1.2e-38 to 3.4e38", value
        )
    return number


def _get_activation(activation):
    function = None
    if errors.is_config(activation) or isinstance(activation, str):
        with contextlib.suppress(ValueError):
            function = keras.activations.get(activation)
    elif callable(activation):
        function = activation
    if not (_built_in(function) or _registered(function)):
        raise errors.invalid(
            "activation",
            "the name of a Keras activation or a function registered with "
            "`keras.saving.register_keras_serializable`",
            activation,
        )
    return function


def _get_shape(shape):
    if errors.is_config(shape):
        shape = keras.saving.deserialize_keras_object(shape)
    known = shape is None or isinstance(shape, str) and shape in formulas.SHAPES
    if known or _registered(shape):
        return shape
    raise errors.invalid(
        "shape",
        f"one of {', '.join(map(repr, formulas.SHAPES))} or a function "
        "registered with `keras.saving.register_keras_serializable`",
        shape,
    )


def _shape_function(shape, activation):
    """Returns s, or raises if none belongs to the activation."""
    if shape is None:
        name = _built_in(activation) and activation.__name__
        if name not in formulas.ACTIVATION_SHAPES:
            raise ValueError(
                "No shape belongs to this activation. Pass `shape` for any "
                "but " + ", ".join(formulas.ACTIVATION_SHAPES) + ". "
                f"Received: activation={activation!r}"
            )
        shape = formulas.ACTIVATION_SHAPES[name]
    return formulas.SHAPES[shape] if isinstance(shape, str) else shape


def _built_in(function):
    name = getattr(function, "__name__", None)
    return name is not None and vars(keras.activations).get(name) is function


def _registered(function):
    if not callable(function):
        return False
    subject = function if hasattr(function, "__name__") else type(function)
    name = keras.saving.get_registered_name(subject)
    return keras.saving.get_registered_object(name) is subject
