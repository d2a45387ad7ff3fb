import keras

from keras_dropx.experiments.networks.parts import check_images, scaled, site


def all_cnn(input_shape, num_classes, dropout=None, scale=1.0):
    """Builds ALL-CNN-C, the all convolutional network, with dropout sites.

    ```
    [site] - 96 - 96 - 96 stride 2 - [site] - 192 - 192 - 192 stride 2 - [site]
    - 192 without padding - 192 (1 × 1) - classes (1 × 1) - average: logits
    ```

    3 × 3 convolutions where nothing is said, each with bias and ReLU: the
    last one too, as its Table 1 prints it, so that logits are not negative. The
    usual rates are 0.2 on the input and 0.5 at the other two sites.

    The paper gives no padding. Its "6 × 6 spatial dimensions" at the end mean
    that the convolutions keep or halve the size of 32 × 32 images, and that the
    last 3 × 3 one is without padding. Nor does it give the initial weights: He
    normal here, biases 0.

    Args:
        input_shape: Tuple (height, width, channels), 9 × 9 or larger;
            32 × 32 × 3 in the original.
        num_classes: Integer, the number of logits.
        dropout: Function that returns a new layer for each site, or None.
        scale: Float, multiplies the numbers of channels.

    Returns:
        `keras.Model` with the layers `conv_1`, …, `conv_9`, `logits`; the last
        is the average of the last convolution's maps.

    Raises:
        ValueError: If the images are smaller than 9 × 9.

    Reference:
        Springenberg, Dosovitskiy, Brox and Riedmiller, 2015, "Striving for
        Simplicity: The All Convolutional Net".
    """
    check_images("all_cnn", input_shape, 9)

    def conv(x, number, channels, size=3, stride=1, padding="same"):
        if stride > 1:
            x = keras.layers.ZeroPadding2D(1, name=f"conv_{number}_pad")(x)
            padding = "valid"
        x = keras.layers.Conv2D(
            channels,
            size,
            stride,
            padding=padding,
            kernel_initializer="he_normal",
            name=f"conv_{number}",
        )(x)
        return keras.layers.ReLU(name=f"conv_{number}_relu")(x)

    narrow, wide = scaled(96, scale), scaled(192, scale)
    inputs = keras.Input(input_shape)
    x = site(dropout, inputs)
    x = conv(x, 1, narrow)
    x = conv(x, 2, narrow)
    x = conv(x, 3, narrow, stride=2)
    x = site(dropout, x)
    x = conv(x, 4, wide)
    x = conv(x, 5, wide)
    x = conv(x, 6, wide, stride=2)
    x = site(dropout, x)
    x = conv(x, 7, wide, padding="valid")
    x = conv(x, 8, wide, size=1)
    x = conv(x, 9, num_classes, size=1)
    outputs = keras.layers.GlobalAveragePooling2D(
        dtype="float32", name="logits"
    )(x)
    return keras.Model(inputs, outputs, name="all_cnn")
