from keras_dropx.experiments.networks.parts import check_images
from keras_dropx.experiments.networks.plain import plain_convnet


def gaaf_vgg(
    input_shape,
    num_classes,
    dropout=None,
    activation=None,
    batch_norm=False,
    scale=1.0,
):
    """Builds the GAAF paper's network for CIFAR, a shortened VGG16.

    ```
    (64 - 64) - (128 - 128) - (256 - 256 - 256) - (512 - 512 - 512)
    - dense 512 - [site] - dense 512 - [site] - logits
    ```

    with 3 × 3 kernels and a 2 × 2 max pool after each bracket, rounding the
    size up. VGG16's last three convolutions are left out, as the paper says.

    The paper does not say the widths of the hidden dense layers ("reduced";
    4096 in VGG16), whether the fifth pool stays (taken to go with its
    convolutions), which layers batch normalisation follows (taken: all but the
    last, its biases left out) or how weights begin (He normal, biases 0; the
    last layer Glorot uniform). It uses no dropout here; the sites are those of
    VGG16, whose rate is 0.5.

    Args:
        input_shape: Tuple (height, width, channels), 8 × 8 or larger;
            32 × 32 × 3 in the original.
        num_classes: Integer, the number of logits.
        dropout: Function that returns a new layer for each site, or None.
        activation: Function that returns a new activation layer for each
            hidden layer. None: ReLU.
        batch_norm: Whether batch normalisation stands in front of each
            activation.
        scale: Float, multiplies the numbers of channels and units.

    Returns:
        `keras.Model` with the layers `conv_1`, …, `conv_10`, `hidden_1`,
        `hidden_2`, `logits`.

    Raises:
        ValueError: If the images are smaller than 8 × 8.

    Reference:
        Hahn and Choi, 2018, "Gradient Acceleration in Activation Functions",
        Section 5.2; Simonyan and Zisserman, 2015, "Very Deep Convolutional
        Networks for Large-Scale Image Recognition".
    """
    check_images("gaaf_vgg", input_shape, 8)
    return plain_convnet(
        input_shape,
        num_classes,
        dropout,
        activation,
        batch_norm,
        scale,
        stages=((64, 64), (128, 128), (256, 256, 256), (512, 512, 512)),
        units=(512, 512),
        name="gaaf_vgg",
    )
