from keras_dropx.experiments.networks.parts import check_images
from keras_dropx.experiments.networks.residual import preactivation_resnet


def wide_resnet(input_shape, num_classes, dropout=None, depth=28, width=10):
    """Builds a wide residual network, with a dropout site in each block.

    A convolution of 16 channels, then three stages of (depth − 4) / 6 blocks
    with 16, 32 and 64 times `width` channels; the second and third begin with
    stride 2. A block adds BN-ReLU-Conv-BN-ReLU-[site]-Conv to its input; where
    the channels change, the first BN-ReLU stands before the fork and the
    shortcut is a 1 × 1 convolution. The usual rates are 0.3 (CIFAR) and 0.4
    (SVHN). (The PyTorch program that the Jumpout paper names has the site
    before the second BN; the authors of the network put it behind the ReLU.)

    Convolutions have no bias and begin He normal (fan-out); the dense layer
    begins Glorot uniform, uniform ±1 / √fan-in in the authors' program. Their
    8 × 8 average pool is a global one here, which is the same at 32 × 32.

    Args:
        input_shape: Tuple (height, width, channels), 4 × 4 or larger;
            32 × 32 × 3 in the original.
        num_classes: Integer, the number of logits.
        dropout: Function that returns a new layer for each site, or None.
        depth: Integer, 6 n + 4 with n of 1 or more. Defaults to 28.
        width: Integer, the widening factor. Defaults to 10.

    Returns:
        `keras.Model` with the layers `conv`, `block_1_conv_1`, …, `logits`.

    Raises:
        ValueError: If the images are smaller than 4 × 4, or `depth` is not
            10, 16, 22, ….

    Reference:
        Zagoruyko and Komodakis, 2016, "Wide Residual Networks".
    """
    check_images("wide_resnet", input_shape, 4)
    if depth < 10 or (depth - 4) % 6:
        raise ValueError(
            "Invalid value received for argument `depth`. Expected 6 n + 4 "
            f"(10, 16, 22, 28, …). Received: depth={depth}"
        )
    return preactivation_resnet(
        input_shape,
        num_classes,
        dropout,
        stem=16,
        widths=[channels * width for channels in (16, 32, 64)],
        blocks=(depth - 4) // 6,
        activate_stem=False,
        name="wide_resnet",
    )
