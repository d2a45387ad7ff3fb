import math

import keras
from keras import ops

from keras_dropx import errors
from keras_dropx.layers.shadowing import shadowed
from keras_dropx.ops.split import value_of

# tanh′(x) = Σ w·exp(-x²/2v), pairs (w, v), fitted with a largest error of
# 4e-6. A convolution with a density does not enlarge it: so good is the
# expectation for every z and τ. (Gauss-Hermite quadrature is not uniform: with
# 128 nodes it is off by 0.02 at τ = 8.)
_TANH_SLOPE = (
    (0.05451626, 0.18371128),
    (0.32240051, 0.34897119),
    (0.41919531, 0.66533893),
    (0.18375541, 1.30061915),
    (0.02012871, 2.61761597),
)


@keras.saving.register_keras_serializable("keras_dropx")
class SmoothedGradientDense(keras.layers.Dense):
    """Applies a dense layer whose gradient sees the slope around its net value.

    In training, with z = hW + b, the activation φ and ξ standard normal,

    ```
    y    = φ(z)
    dz   = dy · E[φ′(z + τξ)]
    τ_j² = p/(1 - p) · Σ_i (W_ij h_i)²
    ```

    τ² is the variance of z that inverted dropout of rate p on h would cause,
    at the price of one more product, of the squares; no gradient goes through
    it. The expectation is taken, nothing is drawn. This is what GAAF says
    dropout does, gradients for saturated units, without added gain: over z,
    the slope has the same integral as φ′. In inference, and at rate 0, the
    layer is `Dense`. Variables and weight files are those of `Dense`.

    E[φ′(z + τξ)] is Φ(z/τ) for ReLU, and for tanh and sigmoid the convolution
    of a normal density with a sum of five that is φ′ to 4e-6 (1e-6 for
    sigmoid). It is computed in float32 whatever the compute dtype.

    Args:
        units: Positive integer, the width.
        rate: Float p in [0, 1), the dropout whose noise is meant.
        activation: "tanh", "relu" or "sigmoid". Defaults to "tanh".
        **kwargs: What else `keras.layers.Dense` takes.

    Call arguments:
        inputs: Float tensor h.
        training: Whether to smooth the slope.

    Input shape:
        `(batch, …, features)`.

    Output shape:
        `(batch, …, units)`.

    Raises:
        ValueError: If `rate` or `activation` is another one.
    """

    def __init__(self, units, rate, activation="tanh", **kwargs):
        super().__init__(units, activation=activation, **kwargs)
        if self.activation not in _SLOPES:
            raise errors.invalid(
                "activation", "'tanh', 'relu' or 'sigmoid'", activation
            )
        # Part of the activation, so that a probe in front of it sees dz.
        self._smoothed = self.activation = _Smoothed(self.activation)
        self.rate = errors.check_rate("rate", rate)

    def call(self, inputs, training=False):
        if not training or self.rate == 0:
            return super().call(inputs)
        # Read once, for both products: see `MaskedInput`.
        kernel = ops.convert_to_tensor(self.kernel)
        z = ops.matmul(inputs, kernel)
        if self.bias is not None:
            z = ops.add(z, self.bias)
        squares = [
            ops.square(ops.cast(ops.stop_gradient(x), "float32"))
            for x in (inputs, kernel)
        ]
        variance = self.rate / (1.0 - self.rate) * ops.matmul(*squares)
        with shadowed(self._smoothed, variance=variance):
            return self.activation(z)

    def get_config(self):
        with shadowed(self, activation=self._smoothed.activation):
            config = super().get_config()
        return {**config, "rate": self.rate}


class _Smoothed:
    """The activation, with the slope for a variance while there is one."""

    variance = None

    def __init__(self, activation):
        self.activation = activation
        self.__name__ = activation.__name__

    def __call__(self, z):
        value = self.activation(z)
        if self.variance is None:
            return value
        slope = _SLOPES[self.activation](
            ops.cast(ops.stop_gradient(z), "float32"), self.variance
        )
        return value_of(value, gradient_to=ops.cast(slope, z.dtype) * z)


def _tanh(z, variance):
    return sum(
        weight
        * ops.sqrt(v / (v + variance))
        * ops.exp(-ops.square(z) / (2.0 * (v + variance)))
        for weight, v in _TANH_SLOPE
    )


def _sigmoid(z, variance):
    """From sigmoid(x) = ½ + ½·tanh(x/2)."""
    return _tanh(z / 2.0, variance / 4.0) / 4.0


def _relu(z, variance):
    # Zero where the input is zero: the slope is then 0, ½ or 1.
    deviation = ops.sqrt(ops.maximum(variance, 1e-30))
    return (1.0 + ops.erf(z / (deviation * math.sqrt(2.0)))) / 2.0


_SLOPES = {
    keras.activations.tanh: _tanh,
    keras.activations.relu: _relu,
    keras.activations.sigmoid: _sigmoid,
}
