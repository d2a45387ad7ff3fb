import keras

from keras_dropx.experiments.networks.parts import check_images, site


def convnet_bn(input_shape, num_classes, dropout=None, filters=(32, 32, 64)):
    """Builds a small convnet: (conv, BN, ReLU, dropout site, pool) per block.

    The batch normalisation of the next block follows the mask through its
    convolution: the case that Jumpout's rescale is made for.

    Args:
        input_shape: Tuple (height, width, channels), 8 × 8 or larger.
        num_classes: Integer, the number of logits.
        dropout: Function that returns a new layer for each site, or None.
        filters: Integers, the channels of the blocks.

    Returns:
        `keras.Model` with the layers `conv_1`, …, `logits`.

    Raises:
        ValueError: If the images are smaller than 8 × 8.
    """
    check_images("convnet_bn", input_shape, 8)
    inputs = x = keras.Input(input_shape)
    for number, channels in enumerate(filters, 1):
        x = keras.layers.Conv2D(
            channels, 3, padding="same", use_bias=False, name=f"conv_{number}"
        )(x)
        x = keras.layers.BatchNormalization(momentum=0.9)(x)
        x = keras.layers.ReLU()(x)
        x = site(dropout, x)
        if number < len(filters):
            x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, outputs, name="convnet_bn")
