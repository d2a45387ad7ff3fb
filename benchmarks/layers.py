"""The layers that are compared, and those to compare them with."""

import keras

from keras_dropx.layers import (
    AugmentedDropout,
    BackwardDropout,
    ForwardDropout,
    Jumpout,
)


class Copy(keras.layers.Layer):
    """Reads x and writes y, reads dy and writes dx: the limit.

    It multiplies by a constant, because a compiler removes a plain copy.
    """

    def call(self, inputs):
        return inputs * 1.25


class PhiloxDropout(keras.layers.Dropout):
    """Applies Keras' Dropout with an explicit algorithm (TensorFlow only).

    Keras leaves `rng_alg` at "auto_select", whose key XLA:CPU derives again
    for every element.
    """

    def call(self, inputs, training=False):
        import tensorflow as tf

        if not training:
            return inputs
        seed = self.seed_generator.next() % (tf.int32.max - 1)
        return tf.nn.experimental.stateless_dropout(
            inputs, self.rate, tf.cast(seed, tf.int32), rng_alg="philox"
        )


def dropout_layers(backend):
    """Returns a dict of names and functions that make a dropout layer.

    Args:
        backend: Name of the Keras backend.
    """
    layers = {
        "keras": lambda: keras.layers.Dropout(0.25),
        "keras_philox": lambda: PhiloxDropout(0.25),
        "augmented": lambda: AugmentedDropout(0.25, 0.25),
        "augmented_paper": lambda: AugmentedDropout(0.25, 1e-4),
        "augmented_single": lambda: AugmentedDropout(0.25),
        "forward": lambda: ForwardDropout(0.25),
        "backward": lambda: BackwardDropout(0.25),
        "jumpout": lambda: Jumpout(sigma=0.2),
    }
    if backend != "tensorflow":
        del layers["keras_philox"]
    return layers
