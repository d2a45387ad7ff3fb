import keras

from keras_dropx import errors, random
from keras_dropx.layers.split_mask_dropout import SplitMaskDropout, to_config
from keras_dropx.ops import masks
from keras_dropx.ops.jumpout import active_fraction, normalized_rate


@keras.saving.register_keras_serializable("keras_dropx")
class Jumpout(SplitMaskDropout):
    """Applies Jumpout, dropout improved for rectified linear units.

    In training, with q⁺ = mean(x > 0) over the whole batch,

    ```
    p  = min(min_rate + |N(0, sigma)|, max_rate)     modification I
    p′ = clip(p / q⁺, 0, max_rate)                   modification II
    y  = x ⊙ m · (1 - p′)^(-0.75),  m kept with probability 1 - p′      III
    dx = dy ⊙ m · (1 - p′)^(-0.75)
    ```

    In inference the layer is the identity, and in training too while no unit
    is active (q⁺ = 0). No gradient flows through q⁺ or p.

    Each modification can be switched off, which gives the eight rows of the
    paper's Table 1: I by a fixed `rate` in place of `sigma`, II by
    `adaptive=False`, III by `rescale="mean"`. Without a batch normalisation
    after the layer, III costs accuracy: use `rescale="mean"` there.

    "Active" means x > 0 whatever the activation; the method is derived for
    ReLU. All samples share one p and one q⁺, unless `per_sample`. Under a
    distribution strategy each replica has its own. Masked time steps count.

    p′ is clipped to `max_rate`, which bounds the share of units that change,
    p′·q⁺, too. A Keras mask passes through.

    Args:
        sigma: σ, float not below 0: the spread of p. Exactly one of `sigma` and
            `rate` is given. Either, and `backward_rate`, may be a
            `keras.optimizers.schedules.LearningRateSchedule`, whose step is
            the number of training calls of this layer.
        min_rate: Float in [0, 1), added to every p. Unused with `rate`.
            Defaults to 0.01.
        max_rate: Float in [0, 1), not below `min_rate`. Upper end of p and
            p′. Defaults to 0.6.
        rate: Float in [0, 1), a fixed p. With `adaptive=True` not above
            `max_rate`; with `adaptive=False` `max_rate` does not bind it.
        adaptive: Whether p is divided by q⁺. Defaults to True.
        rescale: The exponent of (1 - p′): "batchnorm" (0.75), "mean" (1),
            "variance" (0.5), or a number in [0, 1]. Defaults to "batchnorm".
        per_sample: Whether to draw p and count q⁺ for each sample. Defaults
            to False.
        backward_rate: Float in [0, 1): share of the kept units that the
            backward pass drops besides, as in `AugmentedDropout`. In none of
            the papers. Defaults to 0.
        noise_shape: Tuple of integers or None, as in `keras.layers.Dropout`;
            `(None, 1, 1, None)` drops whole channels. q⁺ is still counted
            over all of x.
        seed: Integer, or None to follow `keras.utils.set_random_seed`.
        **kwargs: `name`, `dtype`, and what else `keras.layers.Layer` takes.

    Call arguments:
        inputs: Float tensor of any rank, the batch first.
        training: Whether to apply the noise.

    Input shape:
        Any.

    Output shape:
        The input's; the dtype is the layer's compute dtype.

    Raises:
        ValueError: If an argument is out of its range, or both or neither of
            `sigma` and `rate` are given.

    Example:

    >>> layer = keras_dropx.layers.Jumpout(sigma=0.1)
    >>> outputs = layer(keras.ops.ones((2, 3)), training=True)
    >>> keras.ops.shape(outputs)
    (2, 3)

    Reference:
        Wang, Zhou, Bilmes, 2019: Jumpout, Improved Dropout for Deep Neural
        Networks with ReLUs, ICML, Algorithm 1.
    """

    checks = {
        **SplitMaskDropout.checks,
        "rescale": errors.check_rescale,
        "sigma": lambda name, value: _check_sigma(name, value),
        "rate": lambda name, value: (
            value if value is None else errors.check_scheduled_rate(name, value)
        ),
        "min_rate": errors.check_rate,
        "max_rate": errors.check_rate,
        "adaptive": errors.check_bool,
        "per_sample": errors.check_bool,
        "backward_rate": errors.check_scheduled_rate,
    }

    def __init__(
        self,
        sigma=None,
        min_rate=0.01,
        max_rate=0.6,
        rate=None,
        adaptive=True,
        rescale="batchnorm",
        per_sample=False,
        backward_rate=0.0,
        noise_shape=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(noise_shape=noise_shape, seed=seed, **kwargs)
        self.rescale = rescale
        self.sigma = sigma
        self.rate = rate
        self.min_rate = min_rate
        self.max_rate = max_rate
        self.adaptive = adaptive
        self.per_sample = per_sample
        self.backward_rate = backward_rate

    def check_together(
        self, sigma, rate, min_rate, max_rate, adaptive, **others
    ):
        if (sigma is None) == (rate is None):
            raise ValueError(
                "Expected exactly one of the arguments `sigma` (p is drawn) "
                "and `rate` (p is fixed). "
                f"Received: sigma={sigma!r}, rate={rate!r}"
            )
        if min_rate > max_rate:
            raise errors.invalid(
                "min_rate",
                f"a value not above `max_rate`, {max_rate}",
                min_rate,
            )
        if isinstance(rate, float) and adaptive and rate > max_rate:
            raise errors.invalid(
                "rate",
                f"a value not above `max_rate`, {max_rate}, to which "
                "`adaptive=True` clips",
                rate,
            )

    def drop_rate(self, inputs, seed):
        """Returns p′ of one call: a float or a float32 tensor.

        Args:
            inputs: Float tensor x.
            seed: The seed of this call.
        """
        if self.sigma is None:
            rate = self.at_step(self.rate, seed)
        else:
            shape = ()
            if self.per_sample:
                ones = (1,) * (len(inputs.shape) - 1)
                shape = (keras.ops.shape(inputs)[0], *ones)
            words = random.words(seed, (*shape, 2), random.RATE)
            if not self.per_sample:
                words = words._replace(high=random.on_host(words.high))
            sigma = self.at_step(self.sigma, seed, highest=float("inf"))
            rate = masks.half_normal_rate(
                words, sigma, self.min_rate, self.max_rate
            )
        if self.adaptive:
            fraction = active_fraction(inputs, self.per_sample)
            if not self.per_sample:
                fraction = random.on_host(fraction)
            rate = normalized_rate(rate, fraction, self.max_rate)
        return rate

    def noise(self, inputs):
        if self.per_sample and len(inputs.shape) == 0:
            raise ValueError(
                "`per_sample=True` expects inputs with a batch axis. Received: "
                "inputs of shape ()"
            )
        seed = self.next_seed()
        extended, backward_extended = self._second_words()
        forward = masks.threshold(self.drop_rate(inputs, seed), extended)
        backward = masks.nested_threshold(
            forward,
            self.at_step(self.backward_rate, seed),
            backward_extended,
        )
        shape = self.mask_shape(inputs)
        extended = forward.extended or backward.extended
        words = random.words(seed, shape, extended=extended)
        return masks.nested_noise(
            words,
            forward,
            backward,
            masks.rescale_exponent(self.rescale),
            random.redrawn(words, seed, shape),
        )

    def _second_words(self):
        """Whether each mask needs one: None lets the rate decide."""
        extended = backward_extended = None
        if self.sigma is not None or self.adaptive:
            lowest = self.min_rate if self.rate is None else self.rate
            if isinstance(lowest, float):
                extended = masks.may_miss(lowest)
            if isinstance(self.backward_rate, float):
                backward_extended = masks.may_miss(
                    (1.0 - self.max_rate) * self.backward_rate
                )
        return extended, backward_extended

    def get_config(self):
        return {
            **super().get_config(),
            "sigma": to_config(self.sigma),
            "min_rate": self.min_rate,
            "max_rate": self.max_rate,
            "rate": to_config(self.rate),
            "adaptive": self.adaptive,
            "rescale": self.rescale,
            "per_sample": self.per_sample,
            "backward_rate": to_config(self.backward_rate),
        }


def _check_sigma(name, value):
    if value is None:
        return None
    return errors.check_scheduled(name, value, errors.check_not_negative)
