import keras

from keras_dropx import errors, random
from keras_dropx.layers.split_mask_dropout import SplitMaskDropout, to_config
from keras_dropx.ops import masks


@keras.saving.register_keras_serializable("keras_dropx")
class AugmentedDropout(SplitMaskDropout):
    """Applies dropout with a ratio of its own in the backward pass.

    In training, with drop masks `m_f` (probability `rate`) and `m`
    (probability `backward_rate`),

    ```
    y  = x ⊙ ε_f,   ε_f = m_f · (1 - rate)^(-a)
    dx = dy ⊙ ε_b,  ε_b = ε_f ⊙ m / (1 - backward_rate)     "nested"
                    ε_b = m / (1 - backward_rate)           "independent"
    ```

    "nested" is the paper's implementation: `backward_rate` is what the
    backward pass drops *besides*, so 0 gives standard dropout. "independent"
    is its Eq. 7-10: `backward_rate` is all that the backward pass drops, so 0
    gives forward dropout. In inference the layer is the identity.

    This is the drop-in form: the forward value and the error sent down are
    exact; the weight gradient of the layer that follows sees x ⊙ ε_f, because
    that is what it received (`MaskedInput` is the exact form). A
    `backward_rate` of 1e-4, the paper's, is as if the mini-batch were 0.01 %
    smaller.

    A Keras mask passes through.

    Args:
        rate: Float in [0, 1), the forward drop probability; or a
            `keras.optimizers.schedules.LearningRateSchedule` of it, whose
            step is the number of training calls of this layer.
        backward_rate: Float in [0, 1) or schedule. See above. Defaults to 0.
        coupling: "nested" or "independent". Defaults to "nested".
        rescale: The exponent a: "mean" (1, keeps the mean), "variance" (0.5),
            "batchnorm" (0.75, for a batch normalisation that follows), or a
            number in [0, 1] (0 leaves the kept values as they are). It scales
            ε_f, and with "nested" ε_b too. Defaults to "mean".
        noise_shape: Tuple of integers or None, as in `keras.layers.Dropout`:
            the mask has this shape (None: the input's size) and is broadcast.
        seed: Integer, or None to follow `keras.utils.set_random_seed`. Two
            layers of one seed and one `rate` drop the same units, whatever
            their backward ratio.
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

    Example:

    >>> layer = keras_dropx.layers.AugmentedDropout(0.5, backward_rate=1e-4)
    >>> outputs = layer(keras.ops.ones((2, 3)), training=True)
    >>> keras.ops.shape(outputs)
    (2, 3)

    Reference:
        Gao, Pei, Huang, 2019: Demystifying Dropout, ICML, Algorithm 1.
    """

    checks = {
        **SplitMaskDropout.checks,
        "rescale": errors.check_rescale,
        "rate": errors.check_scheduled_rate,
        "backward_rate": lambda name, value: _check_backward_rate(name, value),
        "coupling": lambda name, value: errors.check_choice(
            name, value, ("nested", "independent")
        ),
    }

    def __init__(
        self,
        rate,
        backward_rate=0.0,
        coupling="nested",
        rescale="mean",
        noise_shape=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(noise_shape=noise_shape, seed=seed, **kwargs)
        self.rescale = rescale
        self.rate = rate
        self.backward_rate = backward_rate
        self.coupling = coupling

    def noise(self, inputs):
        seed = self.next_seed()
        shape = self.mask_shape(inputs)
        forward = masks.threshold(self.at_step(self.rate, seed))
        backward_rate = self.at_step(self.backward_rate, seed)
        if self.coupling == "nested":
            backward = masks.nested_threshold(forward, backward_rate)
            extended = forward.extended or backward.extended
            words = random.words(seed, shape, extended=extended)
            return masks.nested_noise(
                words,
                forward,
                backward,
                masks.rescale_exponent(self.rescale),
                random.redrawn(words, seed, shape),
            )
        backward = masks.threshold(backward_rate)
        return masks.independent_noise(
            random.words(seed, shape, extended=forward.extended),
            random.words(
                seed, shape, random.BACKWARD, extended=backward.extended
            ),
            forward,
            backward,
            masks.rescale_exponent(self.rescale),
        )

    def get_config(self):
        return {
            **super().get_config(),
            "rate": to_config(self.rate),
            "backward_rate": to_config(self.backward_rate),
            "coupling": self.coupling,
            "rescale": self.rescale,
        }


def _check_backward_rate(name, value):
    try:
        return errors.check_scheduled_rate(name, value)
    except ValueError as error:
        if not isinstance(value, (tuple, list)):
            raise
        raise ValueError(
            f"{error}. Unlike in `keras.layers.Dropout`, `noise_shape` is not "
            "the second positional argument: pass it by name."
        ) from None
