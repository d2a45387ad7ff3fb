import keras
from keras import ops

from keras_dropx.callbacks import probe
from keras_dropx.layers import GAAF
from keras_dropx.ops.masks import Noise
from keras_dropx.ops.split import split


@keras.saving.register_keras_serializable("keras_dropx")
class GainMatched(keras.layers.Layer):
    """Applies an activation with the mean gain of `GAAF` and not its shape.

    ```
    y  = φ(x)
    dx = dy · φ′(x) · c,   c = √(E[(φ′ + s)²] / E[φ′²])
    ```

    The means are over the layer's whole batch, in training; no gradient flows
    through c. The matched control of GAAF: what it does not explain may be
    credited to the method.

    Args:
        gaaf: The `GAAF` layer whose gain is matched.
        **kwargs: `name`, `dtype`, and what else `keras.layers.Layer` takes.
    """

    def __init__(self, gaaf, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.gaaf = gaaf
        self.supports_masking = True
        self.built = True

    def call(self, inputs, training=False):
        outputs = self.gaaf.activation(inputs)
        if not training:
            return outputs
        x = ops.stop_gradient(ops.cast(inputs, "float32"))
        plain = _slope(self.gaaf.activation, x)
        accelerated = _slope(lambda x: self.gaaf(x, training=True), x)
        gain = ops.sqrt(ops.mean(accelerated**2) / ops.mean(plain**2))
        return split(outputs, Noise(backward_scale=ops.stop_gradient(gain)))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        gaaf = keras.saving.serialize_keras_object(self.gaaf)
        return {**super().get_config(), "gaaf": gaaf}

    @classmethod
    def from_config(cls, config):
        gaaf = keras.saving.deserialize_keras_object(config.pop("gaaf"))
        return cls(gaaf, **config)


def gaaf_control(*args, **kwargs):
    """Returns `GainMatched` for the `GAAF` of these arguments."""
    return GainMatched(GAAF(*args, **kwargs))


def _slope(function, x):
    def total(tap):
        return ops.sum(function(tap(x))), ()

    _, _, (slope,) = probe.gradients(total)
    return slope
