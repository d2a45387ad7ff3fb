import keras

from keras_dropx.experiments.networks.parts import (
    check_images,
    overlapping_pool,
    scaled,
    site,
)


def convnet_quick(input_shape, num_classes, dropout=None, scale=1.0):
    """Builds Caffe's quick CIFAR-10 convnet, with dropout sites.

    ```
    conv 32 - max pool - ReLU - conv 32 - ReLU - average pool
    - conv 64 - ReLU - average pool - [site] - dense 64 - [site] - logits
    ```

    with 5 × 5 kernels that keep the size and 3 × 3 pools at stride 2, in
    Caffe's ceil mode. The dense layer is linear, as in the original. The sites
    are the inputs of the two dense layers, as in the augmented-dropout paper
    (rates 0.005 to 0.3 there). Weights begin normal with Caffe's
    standard deviations (0.0001, 0.01, 0.01, 0.1, 0.1, in order), biases at 0.
    They are for pixels of 0 to 255 less their mean: with inputs near 1 training
    stays at chance for a long time. They are for the full size, too: in layers
    whose inputs `scale` makes fewer they are divided by its square root. Caffe
    trains the biases at twice the learning rate: that is not done here.

    Args:
        input_shape: Tuple (height, width, channels), square, 8 × 8 or larger;
            32 × 32 × 3 in the original.
        num_classes: Integer, the number of logits.
        dropout: Function that returns a new layer for each site, or None.
        scale: Float, multiplies the numbers of channels and units.

    Returns:
        `keras.Model` with the layers `conv_1`, `conv_2`, `conv_3`, `hidden_1`,
        `logits`.

    Raises:
        ValueError: If the images are smaller than 8 × 8 or not square.

    Reference:
        Caffe's `examples/cifar10/cifar10_quick_train_test.prototxt` (Jia et
        al., 2014, "Caffe: Convolutional Architecture for Fast Feature
        Embedding").
    """
    check_images("convnet_quick", input_shape, 8, square=True)

    def normal(stddev):
        return keras.initializers.RandomNormal(stddev=stddev)

    def conv(x, number, channels, stddev):
        return keras.layers.Conv2D(
            scaled(channels, scale),
            5,
            padding="same",
            kernel_initializer=normal(stddev),
            name=f"conv_{number}",
        )(x)

    def relu(x, number):
        return keras.layers.ReLU(name=f"conv_{number}_relu")(x)

    narrow = scale**-0.5
    inputs = keras.Input(input_shape)
    x = conv(inputs, 1, 32, 0.0001)
    x = overlapping_pool(keras.layers.MaxPooling2D, x, "pool_1")
    x = relu(x, 1)
    x = relu(conv(x, 2, 32, 0.01 * narrow), 2)
    x = overlapping_pool(keras.layers.AveragePooling2D, x, "pool_2")
    x = relu(conv(x, 3, 64, 0.01 * narrow), 3)
    x = overlapping_pool(keras.layers.AveragePooling2D, x, "pool_3")
    x = keras.layers.Flatten(name="flatten")(x)
    x = site(dropout, x)
    x = keras.layers.Dense(
        scaled(64, scale),
        kernel_initializer=normal(0.1 * narrow),
        name="hidden_1",
    )(x)
    x = site(dropout, x)
    outputs = keras.layers.Dense(
        num_classes,
        kernel_initializer=normal(0.1 * narrow),
        dtype="float32",
        name="logits",
    )(x)
    return keras.Model(inputs, outputs, name="convnet_quick")
