import keras

from keras_dropx.experiments.networks.parts import check_images, scaled, site


def lenet(input_shape, num_classes, dropout=None, scale=1.0):
    """Builds Caffe's LeNet for MNIST, with a dropout site.

    ```
    conv 20 (5 × 5) - max pool 2 - conv 50 (5 × 5) - max pool 2
    - dense 500 - ReLU - [site] - logits
    ```

    There is one ReLU, as in the original. The site is the input of the last
    dense layer, as in the augmented-dropout paper (rates 0.1 to 0.5 there).
    Weights begin as Caffe's "xavier" does, uniform with variance 1 / fan-in,
    and biases at 0. Caffe trains the biases at twice the learning rate: that
    is not done here.

    Args:
        input_shape: Tuple (height, width, channels), 13 × 13 or larger;
            28 × 28 × 1 in the original.
        num_classes: Integer, the number of logits.
        dropout: Function that returns a new layer for the site, or None.
        scale: Float, multiplies the numbers of channels and units.

    Returns:
        `keras.Model` with the layers `conv_1`, `conv_2`, `hidden_1`, `logits`.

    Raises:
        ValueError: If the images are smaller than 13 × 13.

    Reference:
        LeCun, Bottou, Bengio and Haffner, 1998, "Gradient-Based Learning
        Applied to Document Recognition", in the form of Caffe's
        `examples/mnist/lenet_train_test.prototxt` (Jia et al., 2014).
    """
    check_images("lenet", input_shape, 13)
    inputs = x = keras.Input(input_shape)
    for number, channels in enumerate((20, 50), 1):
        x = keras.layers.Conv2D(
            scaled(channels, scale),
            5,
            kernel_initializer="lecun_uniform",
            name=f"conv_{number}",
        )(x)
        # Caffe rounds the size up, as "same" does.
        x = keras.layers.MaxPooling2D(padding="same", name=f"pool_{number}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(
        scaled(500, scale), kernel_initializer="lecun_uniform", name="hidden_1"
    )(x)
    x = keras.layers.ReLU(name="hidden_1_relu")(x)
    x = site(dropout, x)
    outputs = keras.layers.Dense(
        num_classes,
        kernel_initializer="lecun_uniform",
        dtype="float32",
        name="logits",
    )(x)
    return keras.Model(inputs, outputs, name="lenet")
