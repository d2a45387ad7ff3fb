import keras
import numpy as np
import tensorflow as tf
from keras import layers

from keras_dropx.layers import AugmentedDropout
from keras_dropx.models import monte_carlo_predict


def test_monte_carlo_under_a_strategy():
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    with strategy.scope():
        model = keras.Sequential(
            [keras.Input((8,)), AugmentedDropout(0.5), layers.Dense(2)]
        )
    samples = monte_carlo_predict(model, np.ones((6, 8)), samples=3, verbose=0)
    assert samples.shape == (3, 6, 2) and samples.std(0).max() > 0
