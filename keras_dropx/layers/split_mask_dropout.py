import abc
import numbers

import keras
from keras import ops
from keras.optimizers import schedules

from keras_dropx import errors, random
from keras_dropx.layers.checked_arguments import CheckedArguments
from keras_dropx.ops.masks import LEVELS
from keras_dropx.ops.split import split


class SplitMaskDropout(CheckedArguments, keras.layers.Layer, abc.ABC):
    """Base of the layers that mask forward and backward on their own.

    A subclass turns random words into `ops.masks.Noise`; this class has what
    they share: the seed, `noise_shape` and the training gate.

    Args:
        noise_shape: As in `keras.layers.Dropout`.
        seed: As in `keras.layers.Dropout`.
        **kwargs: `name`, `dtype` and what else `keras.layers.Layer` takes.
    """

    checks = {
        "noise_shape": lambda name, value: _check_noise_shape(value),
        "seed": lambda name, value: _check_seed(name, value),
    }

    def __init__(self, noise_shape=None, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.noise_shape = noise_shape
        self.seed = seed
        self.random_state = _RandomState(self.seed)
        self.supports_masking = True
        self.built = True

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name == "seed" and hasattr(self, "random_state"):
            # A seed of later starts the random stream, as that of a new layer.
            fresh = keras.random.SeedGenerator(self.seed)
            self.seed_generator.state.assign(fresh.state)

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

    @property
    def seed_generator(self):
        """The `keras.random.SeedGenerator` of the layer."""
        return self.random_state.generator

    @property
    def scheduled(self):
        """Whether a hyper-parameter follows a schedule."""
        return any(
            isinstance(value, schedules.LearningRateSchedule)
            for value in vars(self).values()
        )

    def next_seed(self):
        """Returns the seed of this call and advances the generator once."""
        return random.next_seed(self.seed_generator)

    def at_step(self, value, seed, highest=1.0 - 1.0 / LEVELS):
        """Returns a hyper-parameter at one call.

        Args:
            value: Float, or schedule.
            seed: The seed of the call. The step of a schedule is the number
                of training calls before this one.
            highest: What the values of a schedule are clipped to from above,
                as they are to 0 from below. By default the largest rate that
                words represent.

        Returns:
            The float, or a float32 tensor.
        """
        if isinstance(value, float):
            return value
        scheduled = ops.cast(value(random.step(seed)), "float32")
        return ops.clip(scheduled, 0.0, highest)

    def mask_shape(self, inputs):
        """Returns the shape of the masks for `inputs`, as a tuple.

        Raises:
            ValueError: If `noise_shape` does not broadcast to `inputs`.
        """
        shape = ops.shape(inputs)
        if self.noise_shape is None:
            return shape
        # As in Keras, None stands for the axis of the same index, and a
        # shorter shape broadcasts along the leading axes.
        static = [
            size if noise is None else noise
            for noise, size in zip(self.noise_shape, inputs.shape, strict=False)
        ]
        pairs = zip(reversed(static), reversed(inputs.shape), strict=False)
        if len(self.noise_shape) > len(shape) or any(
            noise not in (None, 1, size) and size is not None
            for noise, size in pairs
        ):
            raise errors.invalid(
                "noise_shape",
                "a shape that broadcasts to the inputs, with None, 1 or the "
                "size of each axis, for inputs of shape "
                f"{tuple(inputs.shape)}",
                self.noise_shape,
            )
        return tuple(
            size if noise is None else noise
            for noise, size in zip(self.noise_shape, shape, strict=False)
        )

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "noise_shape": self.noise_shape,
            "seed": self.seed,
        }


class _RandomState(keras.layers.Layer):
    """Holds a seed generator and keeps its state in the weight files.

    It is an entry of its own there: a file that has it loads into a model
    with `keras.layers.Dropout`, and a file without it loads here.
    """

    def __init__(self, seed):
        super().__init__(name="random_state")
        self.generator = keras.random.SeedGenerator(seed)
        self.built = True

    def save_own_variables(self, store):
        store["seed"] = self.generator.state

    def load_own_variables(self, store):
        if "seed" in store.keys():
            self.generator.state.assign(store["seed"])


def _check_noise_shape(noise_shape):
    # Keras' own check, so that the same shapes pass with the same words.
    # (The name keeps its automatic layer names from advancing.)
    return keras.layers.Dropout(0, noise_shape, name="noise_shape").noise_shape


def _check_seed(name, seed):
    """Returns None, or an integer that Keras takes for a seed, or raises."""
    if seed is None:
        return None
    if not isinstance(seed, numbers.Integral):
        # In the words of Keras.
        raise ValueError(
            "Argument `seed` must be an integer. "
            f"Received: seed={errors.shown(seed, str)}"
        )
    if not isinstance(seed, bool):
        try:  # Which ones depends on the backend.
            keras.random.SeedGenerator(int(seed), name="seed")
            return int(seed)
        except (OverflowError, RuntimeError, TypeError, ValueError):
            pass
    raise errors.invalid(name, "an integer of 32 bits, or None", seed)


def to_config(value):
    """Returns a float, None, or a schedule in the form that configs keep."""
    if isinstance(value, schedules.LearningRateSchedule):
        return schedules.serialize(value)
    return value
