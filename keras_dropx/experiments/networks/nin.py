import keras

from keras_dropx.experiments.networks.parts import (
    check_images,
    overlapping_pool,
    scaled,
    site,
)


def nin(input_shape, num_classes, dropout=None, scale=1.0, stddev=0.05):
    """Builds the Network in Network for CIFAR-10, with dropout sites.

    ```
    192 (5 × 5) - 160 - 96 - max pool - [site]
    - 192 (5 × 5) - 192 - 192 - average pool - [site]
    - 192 (3 × 3) - 192 - classes - average: logits
    ```

    1 × 1 convolutions where nothing is said, each with bias and ReLU: the last
    one too, as in the authors' programs, so that logits are not negative. Pools
    are 3 × 3 at stride 2, in ceil mode. The usual rate is 0.5. The paper and
    the first author's cuda-convnet definition have a max pool in both places;
    his Caffe model, made for the framework that the augmented-dropout paper
    uses, has the average pool, and is followed.

    Weights begin normal with standard deviation 0.05, as in the first author's
    definition for CIFAR-10; biases at 0. On small images and in a short
    training that is too little, and it stays at chance. It is for the full
    size, too: in layers whose inputs `scale` makes fewer it is divided by its
    square root.

    Args:
        input_shape: Tuple (height, width, channels), square, 4 × 4 or larger;
            32 × 32 × 3 in the original.
        num_classes: Integer, the number of logits.
        dropout: Function that returns a new layer for each site, or None.
        scale: Float, multiplies the numbers of channels.
        stddev: Float, of the initial weights.

    Returns:
        `keras.Model` with the layers `block_1_conv_1`, …, `block_3_conv_3`,
        `logits`; the last is the average of the last convolution's maps.

    Raises:
        ValueError: If the images are smaller than 4 × 4 or not square.

    Reference:
        Lin, Chen and Yan, 2013, "Network In Network".
    """
    check_images("nin", input_shape, 4, square=True)

    def block(x, number, size, channels):
        for index, count in enumerate(channels, 1):
            spread = stddev if x is inputs else stddev * scale**-0.5
            x = keras.layers.Conv2D(
                count,
                size if index == 1 else 1,
                padding="same",
                kernel_initializer=keras.initializers.RandomNormal(
                    stddev=spread
                ),
                name=f"block_{number}_conv_{index}",
            )(x)
            x = keras.layers.ReLU(name=f"block_{number}_relu_{index}")(x)
        return x

    wide = scaled(192, scale)
    inputs = keras.Input(input_shape)
    x = block(inputs, 1, 5, (wide, scaled(160, scale), scaled(96, scale)))
    x = overlapping_pool(keras.layers.MaxPooling2D, x, "pool_1")
    x = site(dropout, x)
    x = block(x, 2, 5, (wide, wide, wide))
    x = overlapping_pool(keras.layers.AveragePooling2D, x, "pool_2")
    x = site(dropout, x)
    x = block(x, 3, 3, (wide, wide, num_classes))
    outputs = keras.layers.GlobalAveragePooling2D(
        dtype="float32", name="logits"
    )(x)
    return keras.Model(inputs, outputs, name="nin")
