import abc

import keras
from keras import ops

from keras_dropx import errors, random
from keras_dropx.ops.masks import rescale_exponent
from keras_dropx.ops.split import split


class SplitMaskDropout(keras.layers.Layer, abc.ABC):
    """Base of the layers that mask forward and backward on their own.

    A subclass turns random words into `ops.masks.Noise`; this class has what
    they share: the seed, `noise_shape`, `rescale` and the training gate.

    Args:
        rescale: "mean", "variance", "batchnorm", a number in [0, 1], or None
            for a layer that does not mask forward.
        noise_shape: As in `keras.layers.Dropout`.
        seed: As in `keras.layers.Dropout`.
        **kwargs: `name`, `dtype` and what else `keras.layers.Layer` takes.
    """

    def __init__(self, rescale=None, noise_shape=None, seed=None, **kwargs):
        super().__init__(**kwargs)
        if rescale is not None:
            self.rescale = _check_rescale(rescale)
            self._exponent = rescale_exponent(self.rescale)
        # Keras' own check, so that the same shapes pass with the same words.
        # (The name keeps its automatic layer names from advancing.)
        self.noise_shape = keras.layers.Dropout(
            0, noise_shape, name="noise_shape"
        ).noise_shape
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True
        self.built = True

    @abc.abstractmethod
    def noise(self, inputs):
        """Draws the noise of one training call.

        Advances the seed exactly once, by one `next_seed`.

        Args:
            inputs: Float tensor.

        Returns:
            `ops.masks.Noise`.
        """

    def call(self, inputs, training=False):
        if not training:
            return inputs
        return split(inputs, self.noise(inputs))

    def next_seed(self):
        """Returns the seed of this call and advances the generator once."""
        return random.next_seed(self.seed_generator)

    def mask_shape(self, inputs):
        """Returns the shape of the masks for `inputs`, as a tuple.

        Raises:
            ValueError: If `noise_shape` does not broadcast to `inputs`.
        """
        shape = ops.shape(inputs)
        if self.noise_shape is None:
            return shape
        sizes = zip(self.noise_shape, inputs.shape, strict=False)
        if len(self.noise_shape) != len(shape) or any(
            noise not in (None, 1, size) and size is not None
            for noise, size in sizes
        ):
            raise errors.invalid(
                "noise_shape",
                "one entry for each axis of the inputs, None, 1 or the size "
                f"of the axis, for inputs of shape {tuple(inputs.shape)}",
                self.noise_shape,
            )
        return tuple(
            size if noise is None else noise
            for noise, size in zip(self.noise_shape, shape, strict=True)
        )

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = super().get_config()
        if hasattr(self, "rescale"):
            config["rescale"] = self.rescale
        return {**config, "noise_shape": self.noise_shape, "seed": self.seed}


def _check_rescale(rescale):
    expected = "'mean', 'variance', 'batchnorm' or a number in [0, 1]"
    if isinstance(rescale, str):
        if rescale not in ("mean", "variance", "batchnorm"):
            raise errors.invalid("rescale", expected, rescale)
        return rescale
    return errors.check_number(
        "rescale", rescale, expected, lambda exponent: 0 <= exponent <= 1
    )
