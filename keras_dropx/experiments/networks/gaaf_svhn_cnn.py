from keras_dropx.experiments.networks.parts import check_images
from keras_dropx.experiments.networks.plain import plain_convnet


def gaaf_svhn_cnn(
    input_shape,
    num_classes,
    dropout=None,
    activation=None,
    batch_norm=False,
    scale=1.0,
):
    """Builds the GAAF paper's network for SVHN.

    ```
    (64 - 64) - (128 - 128) - dense 256 - [site] - dense 256 - [site] - logits
    ```

    with 3 × 3 kernels and a 2 × 2 max pool after each bracket, rounding the
    size up.

    The paper says "four CNN layers with max pooling after every second CNN
    layer, and three feed-forward layers on top"; the last of the three is taken
    to be the output, as in its "four feed-forward layers (512-256-256-10)". All
    widths and kernel sizes are not stated and chosen here (the convolutions are
    those with which VGG16 begins), as is what `gaaf_vgg` names: which layers
    batch normalisation follows and how weights begin. The paper uses no dropout
    here; the sites are chosen as in `gaaf_vgg`.

    Args:
        input_shape: Tuple (height, width, channels), 4 × 4 or larger;
            32 × 32 × 3 in the original.
        num_classes: Integer, the number of logits.
        dropout: Function that returns a new layer for each site, or None.
        activation: Function that returns a new activation layer for each
            hidden layer. None: ReLU.
        batch_norm: Whether batch normalisation stands in front of each
            activation; the biases there are left out.
        scale: Float, multiplies the numbers of channels and units.

    Returns:
        `keras.Model` with the layers `conv_1`, …, `conv_4`, `hidden_1`,
        `hidden_2`, `logits`.

    Raises:
        ValueError: If the images are smaller than 4 × 4.

    Reference:
        Hahn and Choi, 2018, "Gradient Acceleration in Activation Functions",
        Section 5.2.
    """
    check_images("gaaf_svhn_cnn", input_shape, 4)
    return plain_convnet(
        input_shape,
        num_classes,
        dropout,
        activation,
        batch_norm,
        scale,
        stages=((64, 64), (128, 128)),
        units=(256, 256),
        name="gaaf_svhn_cnn",
    )
