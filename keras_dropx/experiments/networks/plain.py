"""Convolutional networks in the manner of VGG."""

import keras

from keras_dropx.experiments.networks.parts import activated, scaled, site


def plain_convnet(
    input_shape,
    num_classes,
    dropout,
    activation,
    batch_norm,
    scale,
    stages,
    units,
    name,
):
    """Builds stages of 3 × 3 convolutions, then dense layers with a site each.

    Args:
        input_shape: Tuple (height, width, channels).
        num_classes: Integer, the number of logits.
        dropout: Function that returns a new layer for the site behind each
            hidden dense layer, or None.
        activation: Function that returns a new activation layer, or None:
            ReLU.
        batch_norm: Whether batch normalisation stands in front of each
            activation; the biases there are left out.
        scale: Float, multiplies the numbers of channels and units.
        stages: Tuples of integers, the channels of the convolutions of a
            stage; a 2 × 2 max pool that rounds the size up ends it.
        units: Integers, the widths of the hidden dense layers.
        name: String, the name of the model.

    Returns:
        `keras.Model` with the layers `conv_1`, …, `hidden_1`, …, `logits`.
    """
    options = {
        "use_bias": not batch_norm,
        "kernel_initializer": "he_normal",
    }
    inputs = x = keras.Input(input_shape)
    number = 0
    for stage, widths in enumerate(stages, 1):
        for channels in widths:
            number += 1
            conv = keras.layers.Conv2D(
                scaled(channels, scale),
                3,
                padding="same",
                name=f"conv_{number}",
                **options,
            )
            x = activated(conv, x, activation, batch_norm)
        x = keras.layers.MaxPooling2D(padding="same", name=f"pool_{stage}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    for number, width in enumerate(units, 1):
        dense = keras.layers.Dense(
            scaled(width, scale), name=f"hidden_{number}", **options
        )
        x = site(dropout, activated(dense, x, activation, batch_norm))
    outputs = keras.layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, outputs, name=name)
