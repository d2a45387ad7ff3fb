import keras

from keras_dropx import errors, random
from keras_dropx.layers.split_mask_dropout import SplitMaskDropout, to_config
from keras_dropx.ops import masks


@keras.saving.register_keras_serializable("keras_dropx")
class BackwardDropout(SplitMaskDropout):
    """Applies dropout in the backward pass only.

    In training, with a drop mask `m_b` of probability `rate`,

    ```
    y  = x
    dx = dy ⊙ m_b / (1 - rate)
    ```

    In inference the layer is the identity. This is the drop-in form of the
    paper's Definition 2: the error sent down is masked, the weight gradient
    of the layer that follows is not, because that layer received x;
    `MaskedInput` is the exact form.

    A Keras mask passes through.

    Args:
        rate: Float in [0, 1), the drop probability; or a
            `keras.optimizers.schedules.LearningRateSchedule` of it, whose
            step is the number of training calls of this layer.
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

    Example:

    >>> layer = keras_dropx.layers.BackwardDropout(0.005)
    >>> outputs = layer(keras.ops.ones((2, 3)), training=True)
    >>> keras.ops.shape(outputs)
    (2, 3)

    Reference:
        Gao, Pei, Huang, 2019: Demystifying Dropout, ICML, Definition 2.
    """

    checks = {
        **SplitMaskDropout.checks,
        "rate": errors.check_scheduled_rate,
    }

    def __init__(self, rate, noise_shape=None, seed=None, **kwargs):
        super().__init__(noise_shape=noise_shape, seed=seed, **kwargs)
        self.rate = rate

    def noise(self, inputs):
        seed = self.next_seed()
        threshold = masks.threshold(self.at_step(self.rate, seed))
        words = random.words(
            seed, self.mask_shape(inputs), extended=threshold.extended
        )
        return masks.backward_noise(words, threshold)

    def get_config(self):
        return {**super().get_config(), "rate": to_config(self.rate)}
