import keras

from keras_dropx.experiments.networks.parts import (
    activated,
    check_images,
    scaled,
    site,
)


def cifar10_small(
    input_shape, num_classes, dropout=None, batch_norm=True, scale=1.0
):
    """Builds the four-convolution network "CIFAR10(s)" of the Jumpout paper.

    ```
    conv 64 - [site] - conv 64 - [site] - max pool 2
    - conv 128 - [site] - conv 128 - [site] - max pool 2
    - dense 256 - [site] - dense 256 - [site] - logits
    ```

    with 3 × 3 kernels; BN and ReLU follow each convolution and hidden dense
    layer. It is the "v3" network of github.com/jseppanen/cifar_lasagne, with
    the widths of the run in its notebook (256 and 256 in the dense layers; a
    comment there says 512, the default is 128). That network has no BN, and its
    dropout (rate 0.5) is at the input of the three dense layers. The Jumpout
    paper does not say where it adds BN and dropout; its Section 3.3 describes
    the order linear layer - BN - ReLU - dropout, and its Figure 2 compares with
    and without BN. Both are taken here to hold for every hidden layer; the
    biases in front of BN are left out.

    Weights begin as in that notebook: Glorot uniform, its variance doubled for
    the layers with ReLU; biases at 0.

    Args:
        input_shape: Tuple (height, width, channels), 4 × 4 or larger;
            32 × 32 × 3 in the original.
        num_classes: Integer, the number of logits.
        dropout: Function that returns a new layer for each of the 6 sites, or
            None.
        batch_norm: Whether batch normalisation stands in front of each ReLU.
        scale: Float, multiplies the numbers of channels and units.

    Returns:
        `keras.Model` with the layers `conv_1`, …, `conv_4`, `hidden_1`,
        `hidden_2`, `logits`.

    Raises:
        ValueError: If the images are smaller than 4 × 4.

    Reference:
        Wang, Zhou and Bilmes, 2019, "Jumpout: Improved Dropout for Deep Neural
        Networks with ReLUs"; network: J. Seppänen, "CIFAR-10
        image classification with Lasagne" (no year given).
    """
    check_images("cifar10_small", input_shape, 4)

    def hidden(layer, x):
        return site(dropout, activated(layer, x, None, batch_norm))

    def options():
        return {
            "use_bias": not batch_norm,
            "kernel_initializer": keras.initializers.VarianceScaling(
                2.0, mode="fan_avg", distribution="uniform"
            ),
        }

    inputs = x = keras.Input(input_shape)
    for number, channels in enumerate((64, 64, 128, 128), 1):
        conv = keras.layers.Conv2D(
            scaled(channels, scale),
            3,
            padding="same",
            name=f"conv_{number}",
            **options(),
        )
        x = hidden(conv, x)
        if number % 2 == 0:
            x = keras.layers.MaxPooling2D(name=f"pool_{number // 2}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    for number in (1, 2):
        dense = keras.layers.Dense(
            scaled(256, scale), name=f"hidden_{number}", **options()
        )
        x = hidden(dense, x)
    outputs = keras.layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, outputs, name="cifar10_small")
