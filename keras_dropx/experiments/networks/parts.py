"""What several of the networks are built from."""

import keras


def check_images(name, input_shape, smallest, square=False):
    """Refuses input shapes that network `name` cannot take.

    Args:
        name: String, the network.
        input_shape: Tuple (height, width, channels).
        smallest: Integer, the least height and width, in pixels.
        square: Whether height and width must be the same.

    Raises:
        ValueError: If the network cannot take `input_shape`.
    """
    if (
        len(input_shape) == 3
        and None not in input_shape
        and min(input_shape[:2]) >= smallest
        and (not square or input_shape[0] == input_shape[1])
    ):
        return
    raise ValueError(
        f"{name} takes {'square ' if square else ''}images of at least "
        f"{smallest} × {smallest} pixels, (height, width, channels). "
        f"Received: input_shape={input_shape}"
    )


def scaled(count, scale):
    """Returns `count` channels or units times `scale`, at least one."""
    return max(1, round(count * scale))


def site(dropout, x):
    """Applies a new layer of the factory `dropout`, if there is one."""
    return x if dropout is None else dropout()(x)


def normalization(name):
    """Returns batch normalisation with PyTorch's and Gluon's constants."""
    return keras.layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, name=name
    )


def residual_conv(x, channels, size, stride, name):
    """Applies a convolution of a residual network: no bias, He normal.

    Its weights have the variance 2 / (size² · channels), the form that the
    authors' programs use (He, Zhang, Ren and Sun, 2015, "Delving Deep into
    Rectifiers").

    Args:
        x: Tensor (batch, height, width, channels in).
        channels: Integer, the channels of the output.
        size: Integer, height and width of the kernel, odd.
        stride: Integer.
        name: String, the name of the layer.

    Returns:
        Tensor (batch, ceil(height / stride), ceil(width / stride), channels).
    """
    padding = "same"
    if stride > 1 and size > 1:
        # "same" would put strided windows of an even image one pixel further
        # than those of the strided 1 × 1 shortcut beside them.
        x = keras.layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
        padding = "valid"
    return keras.layers.Conv2D(
        channels,
        size,
        stride,
        padding=padding,
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(
            2.0, mode="fan_out", distribution="untruncated_normal"
        ),
        name=name,
    )(x)


def overlapping_pool(layer, x, name):
    """Pools 3 × 3 windows at stride 2 as Caffe and cuda-convnet do.

    Their windows start at pixel 0 and the last one may reach over the edge
    ("ceil mode"): it is clipped there, and an average is over the pixels that
    are left. n pixels become floor(n / 2). (On the PyTorch backend Keras
    repeats the edge instead, which changes averages at the far edges.)

    Args:
        layer: `keras.layers.MaxPooling2D` or `AveragePooling2D`, the class.
        x: Tensor (batch, size, size, channels), square, of 2 pixels or more.
        name: String, the name of the layer.

    Returns:
        Tensor (batch, size // 2, size // 2, channels).
    """
    # For even sizes "same" pads one pixel, at the end; for odd ones it would
    # pad one on each side, and the windows fit without any.
    padding = "valid" if x.shape[1] % 2 else "same"
    return layer(3, 2, padding=padding, name=name)(x)


def activated(layer, x, activation, batch_norm):
    """Applies `layer`, batch normalisation if asked for, and an activation.

    Args:
        layer: Layer with a name.
        x: Tensor that `layer` takes.
        activation: Function that returns a new activation layer, or None:
            ReLU.
        batch_norm: Whether batch normalisation stands between the two.

    Returns:
        Tensor, of the shape that `layer` returns.
    """
    x = layer(x)
    if batch_norm:
        x = normalization(f"{layer.name}_bn")(x)
    if activation is None:
        return keras.layers.ReLU(name=f"{layer.name}_relu")(x)
    return activation()(x)
