from keras_dropx.experiments.networks.parts import check_images, scaled
from keras_dropx.experiments.networks.residual import preactivation_resnet


def preact_resnet20(input_shape, num_classes, dropout=None, scale=1.0):
    """Builds a pre-activation ResNet-20, with a dropout site in each block.

    A convolution of 16 channels, then three stages of three blocks with 16, 32
    and 64 channels; the second and third begin with stride 2. A block adds
    BN-ReLU-Conv-BN-ReLU-[site]-Conv to its input: 9 sites. In the first block
    of a stage the first BN-ReLU stands before the fork; where the channels
    change, the shortcut is a 1 × 1 convolution. BN-ReLU follow the last block.

    It is the Jumpout paper's network for Fashion-MNIST, which it takes from
    github.com/hysts/pytorch_image_classification, of depth 20. That program
    has no dropout in it, and the paper does not say where it goes; the site is
    where wide residual networks have it. Convolutions have no bias and begin
    He normal (fan-out); the dense layer begins Glorot uniform, He normal in
    that program.

    Args:
        input_shape: Tuple (height, width, channels), 4 × 4 or larger.
        num_classes: Integer, the number of logits.
        dropout: Function that returns a new layer for each site, or None.
        scale: Float, multiplies the numbers of channels.

    Returns:
        `keras.Model` with the layers `conv`, `block_1_conv_1`, …,
        `block_9_conv_2`, `logits`.

    Raises:
        ValueError: If the images are smaller than 4 × 4.

    Reference:
        He, Zhang, Ren and Sun, 2016, "Identity Mappings in Deep Residual
        Networks".
    """
    check_images("preact_resnet20", input_shape, 4)
    widths = [scaled(channels, scale) for channels in (16, 32, 64)]
    return preactivation_resnet(
        input_shape,
        num_classes,
        dropout,
        stem=widths[0],
        widths=widths,
        blocks=3,
        activate_stem=True,
        name="preact_resnet20",
    )
