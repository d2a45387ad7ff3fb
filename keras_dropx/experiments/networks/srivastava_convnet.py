import keras

from keras_dropx.experiments.networks.parts import (
    check_images,
    overlapping_pool,
    scaled,
    site,
)


def srivastava_convnet(
    input_shape, num_classes, dropout=None, max_norm=4.0, scale=1.0
):
    """Builds the dropout paper's convnet for colour images, with max-norm.

    ```
    [site] - conv 96 - max pool - [site] - conv 128 - max pool - [site]
    - conv 256 - max pool - [site] - dense 2048 - [site] - dense 2048 - [site]
    - logits
    ```

    with 5 × 5 kernels, 3 × 3 pools at stride 2 and ReLU throughout. The rates
    are 0.1, 0.25, 0.25, 0.5, 0.5, 0.5 in the order of the sites. The Euclidean
    norm of the weights into each unit, output units too, is kept at or below
    `max_norm`.

    The paper does not state the padding (convolutions keep the size here; pools
    are in the ceil mode of cuda-convnet), whether a site is before or behind
    the pool, nor the initial weights (He normal here, biases 0).

    Args:
        input_shape: Tuple (height, width, channels), square, 8 × 8 or larger;
            32 × 32 × 3 in the original.
        num_classes: Integer, the number of logits.
        dropout: Function that returns a new layer for each site, or None.
        max_norm: Float, the largest norm, or None: no constraint.
        scale: Float, multiplies the numbers of channels and units.

    Returns:
        `keras.Model` with the layers `conv_1`, `conv_2`, `conv_3`, `hidden_1`,
        `hidden_2`, `logits`.

    Raises:
        ValueError: If the images are smaller than 8 × 8 or not square.

    Reference:
        Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, 2014,
        "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
        Appendix B.2.
    """
    check_images("srivastava_convnet", input_shape, 8, square=True)

    def options(axis):
        return {
            "kernel_initializer": "he_normal",
            "kernel_constraint": max_norm
            and keras.constraints.MaxNorm(max_norm, axis=axis),
        }

    inputs = keras.Input(input_shape)
    x = site(dropout, inputs)
    for number, channels in enumerate((96, 128, 256), 1):
        x = keras.layers.Conv2D(
            scaled(channels, scale),
            5,
            padding="same",
            name=f"conv_{number}",
            **options(axis=[0, 1, 2]),
        )(x)
        x = keras.layers.ReLU(name=f"conv_{number}_relu")(x)
        x = overlapping_pool(keras.layers.MaxPooling2D, x, f"pool_{number}")
        x = site(dropout, x)
    x = keras.layers.Flatten(name="flatten")(x)
    for number in (1, 2):
        x = keras.layers.Dense(
            scaled(2048, scale), name=f"hidden_{number}", **options(axis=0)
        )(x)
        x = keras.layers.ReLU(name=f"hidden_{number}_relu")(x)
        x = site(dropout, x)
    outputs = keras.layers.Dense(
        num_classes, dtype="float32", name="logits", **options(axis=0)
    )(x)
    return keras.Model(inputs, outputs, name="srivastava_convnet")
