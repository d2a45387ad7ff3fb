import keras

from keras_dropx.experiments.networks.parts import (
    check_images,
    normalization,
    residual_conv,
    scaled,
)
from keras_dropx.experiments.networks.residual import basic_block


def resnet20(input_shape, num_classes, dropout=None, scale=1.0):
    """Builds the ResNet-20 for CIFAR, with a dropout site in each block.

    A convolution of 16 channels, then three stages of three blocks with 16, 32
    and 64 channels; the second and third begin with stride 2. A block is
    Conv-BN-ReLU-[site]-Conv-BN beside its shortcut: 9 sites. The original has
    no dropout; the augmented-dropout paper puts it there (rates 0.005 to 0.3),
    "following Wide-ResNet".

    Shortcuts have no parameters (option A): where a block halves the image,
    every second pixel is taken and channels of zeros are appended. Convolutions
    have no bias and begin He normal (fan-out); the dense layer, of which the
    paper says nothing, Glorot uniform.

    Args:
        input_shape: Tuple (height, width, channels), 4 × 4 or larger;
            32 × 32 × 3 in the original.
        num_classes: Integer, the number of logits.
        dropout: Function that returns a new layer for each site, or None.
        scale: Float, multiplies the numbers of channels.

    Returns:
        `keras.Model` with the layers `conv`, `block_1_conv_1`, …,
        `block_9_conv_2`, `logits`.

    Raises:
        ValueError: If the images are smaller than 4 × 4.

    Reference:
        He, Zhang, Ren and Sun, 2016, "Deep Residual Learning for Image
        Recognition", Section 4.2.
    """
    check_images("resnet20", input_shape, 4)
    inputs = keras.Input(input_shape)
    x = residual_conv(inputs, scaled(16, scale), 3, 1, "conv")
    x = normalization("bn")(x)
    x = keras.layers.ReLU(name="relu")(x)
    for index in range(9):
        x = basic_block(
            x,
            scaled((16, 32, 64)[index // 3], scale),
            2 if index in (3, 6) else 1,
            dropout,
            _option_a,
            f"block_{index + 1}",
        )
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    outputs = keras.layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, outputs, name="resnet20")


def _option_a(x, channels, stride, name):
    x = keras.layers.MaxPooling2D(1, stride, name=f"{name}_subsample")(x)
    # "channels_first" makes the last axis, the channels, one that is padded.
    return keras.layers.ZeroPadding2D(
        ((0, 0), (0, channels - x.shape[-1])),
        data_format="channels_first",
        name=name,
    )(x)
