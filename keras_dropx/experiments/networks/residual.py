"""The blocks of the residual networks."""

import keras

from keras_dropx.experiments.networks.parts import (
    normalization,
    residual_conv,
    site,
)


def basic_block(x, channels, stride, dropout, shortcut, name):
    """Applies a basic block of He et al. (2016), with a dropout site.

    ```
    ReLU(shortcut(x) + Conv-BN-ReLU-Dropout-Conv-BN(x))
    ```

    Args:
        x: Tensor (batch, height, width, channels in).
        channels: Integer, the channels of both convolutions.
        stride: Integer, the stride of the first one.
        dropout: Function that returns a new layer for the site, or None.
        shortcut: Function (x, channels, stride, name) that returns `x` in
            the shape of the block's output.
        name: String, with which the names of the layers begin.

    Returns:
        Tensor (batch, ceil(height / stride), ceil(width / stride), channels).
    """
    y = residual_conv(x, channels, 3, stride, f"{name}_conv_1")
    y = normalization(f"{name}_bn_1")(y)
    y = keras.layers.ReLU(name=f"{name}_relu_1")(y)
    y = site(dropout, y)
    y = residual_conv(y, channels, 3, 1, f"{name}_conv_2")
    y = normalization(f"{name}_bn_2")(y)
    if stride > 1 or x.shape[-1] != channels:
        x = shortcut(x, channels, stride, f"{name}_shortcut")
    x = keras.layers.Add(name=f"{name}_add")([x, y])
    return keras.layers.ReLU(name=f"{name}_relu_2")(x)


def preactivation_resnet(
    input_shape, num_classes, dropout, stem, widths, blocks, activate_stem, name
):
    """Builds a pre-activation ResNet for small images.

    A block adds BN-ReLU-Conv-BN-ReLU-Dropout-Conv to its input. Where it
    changes the number of channels, the first BN-ReLU stands before the fork,
    and the shortcut is a 1 × 1 convolution.

    Args:
        input_shape: Tuple (height, width, channels).
        num_classes: Integer, the number of logits.
        dropout: Function that returns a new layer for each site, or None.
        stem: Integer, the channels of the first convolution.
        widths: Integers, the channels of the stages; each but the first
            begins with stride 2.
        blocks: Integer, the blocks of a stage.
        activate_stem: Whether the first BN-ReLU of the first block stands
            before the fork whatever the channels.
        name: String, the name of the model.

    Returns:
        `keras.Model` with the layers `conv`, `block_1_conv_1`, …, `logits`.
    """
    inputs = keras.Input(input_shape)
    x = residual_conv(inputs, stem, 3, 1, "conv")
    for index in range(len(widths) * blocks):
        channels = widths[index // blocks]
        stride = 2 if index and index % blocks == 0 else 1
        block = f"block_{index + 1}"
        y = normalization(f"{block}_bn_1")(x)
        y = keras.layers.ReLU(name=f"{block}_relu_1")(y)
        projects = x.shape[-1] != channels or stride > 1
        if projects or (activate_stem and index == 0):
            x = y
        if projects:
            x = residual_conv(x, channels, 1, stride, f"{block}_shortcut")
        y = residual_conv(y, channels, 3, stride, f"{block}_conv_1")
        y = normalization(f"{block}_bn_2")(y)
        y = keras.layers.ReLU(name=f"{block}_relu_2")(y)
        y = site(dropout, y)
        y = residual_conv(y, channels, 3, 1, f"{block}_conv_2")
        x = keras.layers.Add(name=f"{block}_add")([x, y])
    x = normalization("bn")(x)
    x = keras.layers.ReLU(name="relu")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    outputs = keras.layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, outputs, name=name)
