import keras

from keras_dropx.experiments.networks.parts import (
    check_images,
    normalization,
    residual_conv,
    scaled,
)
from keras_dropx.experiments.networks.residual import basic_block


def resnet18(input_shape, num_classes, dropout=None, scale=1.0):
    """Builds the ResNet-18 for ImageNet, with a dropout site in each block.

    A 7 × 7 convolution and a 3 × 3 max pool, both with stride 2, then four
    stages of two blocks with 64, 128, 256 and 512 channels; each but the first
    begins with stride 2. A block is Conv-BN-ReLU-[site]-Conv-BN beside its
    shortcut: 8 sites. The original has no dropout, and the Jumpout paper, whose
    ImageNet network this is, does not say where it puts it nor at which rate.

    Shortcuts that change the shape are a 1 × 1 convolution with batch
    normalisation (option B), as in Gluon's `resnet18_v1b`, from which the
    Jumpout paper starts. Convolutions have no bias and begin He normal
    (fan-out), the dense layer Glorot uniform.

    Args:
        input_shape: Tuple (height, width, channels), 8 × 8 or larger;
            224 × 224 × 3 in the original. Below 33 × 33 the last stage sees one
            pixel.
        num_classes: Integer, the number of logits.
        dropout: Function that returns a new layer for each site, or None.
        scale: Float, multiplies the numbers of channels.

    Returns:
        `keras.Model` with the layers `conv`, `block_1_conv_1`, …,
        `block_8_conv_2`, `logits`.

    Raises:
        ValueError: If the images are smaller than 8 × 8.

    Reference:
        He, Zhang, Ren and Sun, 2016, "Deep Residual Learning for Image
        Recognition", Table 1.
    """
    check_images("resnet18", input_shape, 8)
    inputs = keras.Input(input_shape)
    x = residual_conv(inputs, scaled(64, scale), 7, 2, "conv")
    x = normalization("bn")(x)
    x = keras.layers.ReLU(name="relu")(x)
    # Zeros beside what ReLU gives never win a maximum.
    x = keras.layers.ZeroPadding2D(1, name="pool_pad")(x)
    x = keras.layers.MaxPooling2D(3, 2, name="pool")(x)
    for index in range(8):
        x = basic_block(
            x,
            scaled((64, 128, 256, 512)[index // 2], scale),
            2 if index in (2, 4, 6) else 1,
            dropout,
            _option_b,
            f"block_{index + 1}",
        )
    x = keras.layers.GlobalAveragePooling2D(name="average")(x)
    outputs = keras.layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, outputs, name="resnet18")


def _option_b(x, channels, stride, name):
    x = residual_conv(x, channels, 1, stride, name)
    return normalization(f"{name}_bn")(x)
