import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_dropx.layers import AugmentedDropout
from keras_dropx.models import replace_dropout

# Two logical devices stand for two GPUs; they are set before anything else.
REPLICAS = """
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
import keras
import numpy as np
from keras import layers
from keras_dropx.layers import AugmentedDropout
from keras_dropx.models import replace_dropout

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    inputs = keras.Input((8, 10))
    attend = layers.MultiHeadAttention(2, 5, dropout=0.5)
    model = keras.Model(inputs, attend(inputs, inputs))


def agree():
    step = tf.function(lambda: model(tf.ones((4, 8, 10)), training=True))
    first, second = strategy.run(step).values
    return np.array_equal(first, second)


assert agree()
replace_dropout(
    model, lambda old: AugmentedDropout(old.rate), in_place=True
)
assert not agree()
"""


class Block(layers.Layer):
    def __init__(self, rate):
        super().__init__()
        self.drop = layers.Dropout(rate)

    def call(self, x, training=None):
        return self.drop(x, training=training)


@pytest.mark.full
def test_replicas_draw_masks_of_their_own():
    done = subprocess.run(
        [sys.executable, "-c", REPLICAS], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_small_rate_is_realised_in_bfloat16():
    keras.config.set_dtype_policy("mixed_bfloat16")
    inputs = keras.Input((100,))
    model = keras.Model(inputs, Block(0.001)(inputs))
    x = tf.ones((10_000, 100))

    def share():
        step = tf.function(lambda x: model(x, training=True))
        return np.mean(tf.cast(step(x), "float32") == 0)

    # Keras draws 0.0078.
    assert share() > 0.007
    replace_dropout(
        model, lambda old: AugmentedDropout(old.rate), in_place=True
    )
    # 4 standard errors of 1e6 draws.
    assert abs(share() - 0.001) < 4 * np.sqrt(0.001 / 1e6)
