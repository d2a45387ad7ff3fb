import math

import keras
from keras import ops

from keras_dropx import errors, random
from keras_dropx.layers.split_mask_dropout import SplitMaskDropout
from keras_dropx.ops import masks


@keras.saving.register_keras_serializable("keras_dropx")
class NoiseMatchedDropout(SplitMaskDropout):
    """Applies dropout, with Gaussian noise on its gradient.

    In training, with a drop mask `m_f` of probability `rate`, q the
    `backward_rate` and ξ standard normal, one number an element,

    ```
    y  = x ⊙ ε_f,   ε_f = m_f / (1 - rate)
    dx = dy ⊙ ε_b,  ε_b = ε_f ⊙ (1 + √(q/(1 - q))·ξ)
    ```

    The control of `AugmentedDropout(rate, backward_rate)`: given the forward
    mask, its ε_b/ε_f is m/(1 - q), of mean 1 and variance q/(1 - q), and so
    is this one's, without a mask. What the two have in common is not the
    work of masking. In inference the layer is the identity.

    The forward masks of a seed and `rate` are those of `AugmentedDropout`.
    ξ is made of 16 bits: |ξ| < 4.33 and its variance is 0.99998. In half
    precision ε_b is rounded like all else, to steps of up to 0.0078·ε_f in
    bfloat16.

    A Keras mask passes through. `MaskedInput` takes this layer.

    Args:
        rate: Float in [0, 1), the forward drop probability.
        backward_rate: Float q in [0, 1), the nested backward ratio to match.
        noise_shape: Tuple of integers or None, as in `keras.layers.Dropout`.
        seed: Integer, or None to follow `keras.utils.set_random_seed`.
        **kwargs: `name`, `dtype`, and what else `keras.layers.Layer` takes.

    Call arguments:
        inputs: Float tensor of any rank.
        training: Whether to apply the noise.

    Input shape:
        Any.

    Output shape:
        The input's; the dtype is the layer's compute dtype.

    Raises:
        ValueError: If an argument is out of its range.
    """

    checks = {
        **SplitMaskDropout.checks,
        "rate": errors.check_rate,
        "backward_rate": errors.check_rate,
    }

    def __init__(
        self, rate, backward_rate, noise_shape=None, seed=None, **kwargs
    ):
        super().__init__(noise_shape=noise_shape, seed=seed, **kwargs)
        self.rate = rate
        self.backward_rate = backward_rate

    def noise(self, inputs):
        seed = self.next_seed()
        shape = self.mask_shape(inputs)
        threshold = masks.threshold(self.rate)
        words = random.words(seed, shape, extended=threshold.extended)
        noise = masks.forward_noise(words, threshold, 1.0)
        high = random.words(seed, shape, random.BACKWARD).high
        # (word + ½) / 2^16, less ½ and doubled: exact in float32, never ±1.
        centred = (ops.cast(high, "float32") - 32767.5) * 2.0**-15
        xi = math.sqrt(2.0) * ops.erfinv(centred)
        deviation = math.sqrt(self.backward_rate / (1.0 - self.backward_rate))
        return noise._replace(
            backward_mask=noise.forward_mask,
            backward_scale=noise.forward_scale * (1.0 + deviation * xi),
        )

    def get_config(self):
        return {
            **super().get_config(),
            "rate": self.rate,
            "backward_rate": self.backward_rate,
        }
