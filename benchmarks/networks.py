"""Networks with three places to change.

Each function takes

- `site`: function that returns a dropout layer, for behind an activation,
- `activation`: function that returns an activation layer,
- `linear`: function of a linear layer that returns what is called in its
  place, for every linear layer but the first,

and returns an uncompiled `keras.Model` to logits.
"""

import keras
from keras import layers


def mlp(site, activation, linear):
    """784-512-256-256-10, a site behind each hidden layer."""
    inputs = x = keras.Input((784,))
    for number, width in enumerate((512, 256, 256)):
        dense = layers.Dense(width)
        x = (linear(dense) if number else dense)(x)
        x = site()(activation()(x))
    return keras.Model(inputs, linear(_logits())(x))


def convnet(site, activation, linear):
    """Three blocks of convolution, BN, activation, site and pooling."""
    inputs = x = keras.Input((32, 32, 3))
    for number, channels in enumerate((32, 32, 64)):
        convolution = _convolution(channels)
        x = (linear(convolution) if number else convolution)(x)
        x = layers.BatchNormalization()(x)
        x = site()(activation()(x))
        if number < 2:
            x = layers.MaxPooling2D()(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, linear(_logits())(x))


def resnet20(site, activation, linear):
    """Three stages of three blocks, a site between their convolutions."""
    inputs = keras.Input((32, 32, 3))
    x = _convolution(16)(inputs)
    x = activation()(layers.BatchNormalization()(x))
    for channels in (16, 32, 64):
        for number in range(3):
            strides = 2 if channels > 16 and number == 0 else 1
            shortcut = x
            x = linear(_convolution(channels, strides))(x)
            x = site()(activation()(layers.BatchNormalization()(x)))
            x = linear(_convolution(channels))(x)
            x = layers.BatchNormalization()(x)
            if strides == 2:
                shortcut = _convolution(channels, 2, size=1)(shortcut)
            x = activation()(layers.add([x, shortcut]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, linear(_logits())(x))


def wrn16_8(site, activation, linear):
    """Pre-activation blocks, two a stage, 8 times as wide as ResNet-20."""
    inputs = keras.Input((32, 32, 3))
    x = _convolution(16)(inputs)
    for channels in (128, 256, 512):
        for number in range(2):
            strides = 2 if channels > 128 and number == 0 else 1
            shortcut = x
            x = activation()(layers.BatchNormalization()(x))
            if number == 0:
                shortcut = _convolution(channels, strides, size=1)(x)
            x = linear(_convolution(channels, strides))(x)
            x = site()(activation()(layers.BatchNormalization()(x)))
            x = linear(_convolution(channels))(x)
            x = layers.add([x, shortcut])
    x = activation()(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, linear(_logits())(x))


def _convolution(channels, strides=1, size=3):
    return layers.Conv2D(
        channels, size, strides, padding="same", use_bias=False
    )


def _logits():
    return layers.Dense(10, dtype="float32")
