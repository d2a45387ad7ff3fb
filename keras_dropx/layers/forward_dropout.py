import keras

from keras_dropx import errors, random
from keras_dropx.layers.split_mask_dropout import SplitMaskDropout
from keras_dropx.ops import masks


@keras.saving.register_keras_serializable("keras_dropx")
class ForwardDropout(SplitMaskDropout):
    """Applies dropout in the forward pass only.

    In training, with a drop mask `m_f` of probability `rate`,

    ```
    y  = x ⊙ m_f · (1 - rate)^(-a)
    dx = dy
    ```

    In inference the layer is the identity. This is the drop-in form of the
    paper's Definition 1: the weight gradient of the layer that follows sees
    the masked input, because that is what it received. High rates cost
    accuracy; the layer is a research tool, not a regulariser to reach for.

    A Keras mask passes through.

    Args:
        rate: Float in [0, 1). Drop probability.
        rescale: The exponent a: "mean" (1, keeps the mean), "variance" (0.5),
            "batchnorm" (0.75), or a number in [0, 1]. Defaults to "mean".
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

    >>> layer = keras_dropx.layers.ForwardDropout(0.1)
    >>> layer(keras.ops.ones((2, 3)), training=True).shape
    (2, 3)

    Reference:
        Gao, Pei, Huang, 2019: Demystifying Dropout, ICML, Definition 1.
    """

    def __init__(
        self, rate, rescale="mean", noise_shape=None, seed=None, **kwargs
    ):
        super().__init__(
            rescale=rescale, noise_shape=noise_shape, seed=seed, **kwargs
        )
        self.rate = errors.check_rate("rate", rate)
        self._forward = masks.threshold(self.rate)

    def noise(self, inputs):
        words = random.words(
            self.next_seed(),
            self.mask_shape(inputs),
            extended=self._forward.extended,
        )
        return masks.forward_noise(words, self._forward, self._exponent)

    def get_config(self):
        return {**super().get_config(), "rate": self.rate}
