import keras

from keras_dropx import errors
from keras_dropx.layers import MaskedInput
from keras_dropx.layers.masked_input import LINEAR_LAYERS
from keras_dropx.layers.split_mask_dropout import SplitMaskDropout
from keras_dropx.layers.stand_in import acting
from keras_dropx.ops.masks import rescale_exponent

# Between a mask and the layer whose weights are scaled: they move values.
_RESHAPES = (
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Permute,
    keras.layers.Cropping1D,
    keras.layers.Cropping2D,
    keras.layers.ZeroPadding1D,
    keras.layers.ZeroPadding2D,
)


def scale_for_inference(layer, rate):
    """Multiplies the kernel behind an unscaled mask by 1 - rate, in place.

    With masks that leave the kept values as they are (`rescale=0.0`) a net
    value is 1/(1 - rate) times larger in inference than its mean in training;
    this weight rule of the classical dropout evens that out. The bias stays.
    Once, after training.

    Inverted dropout, the default of every layer here and of Keras, has done
    that in training already: it is refused.

    Args:
        layer: Built linear layer behind the mask: `Dense`, `EinsumDense`,
            a (transposed, depthwise) convolution, or `MaskedInput`. Where it
            is part of Sequential or Functional models, the mask in front of
            it is looked up in each; elsewhere it is for you to know.
        rate: Float in [0, 1), p of the mask.

    Raises:
        ValueError: If the layer is another one or not built, `rate` is out of
            its range or not that of the mask, or what is in front of the
            layer is no unscaled mask.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((8,)),
    ...     keras_dropx.layers.AugmentedDropout(0.5, rescale=0.0),
    ...     keras.layers.Dense(1, name="top"),
    ... ])
    >>> keras_dropx.models.scale_for_inference(model.get_layer("top"), 0.5)

    Reference:
        Srivastava et al., 2014: Dropout, JMLR, section 2 and Figure 2.
    """
    rate = _check(layer, rate)
    kernel = _linear(layer).kernel
    kernel.assign(kernel * (1.0 - rate))


def scale_for_dropout(layer, rate):
    """Divides the kernel behind an unscaled mask by 1 - rate, in place.

    For pretrained weights that are to be fine-tuned with unscaled dropout:
    the mean of each net value in training is then what it was before. The
    inverse of `scale_for_inference`, for which see the arguments and errors.

    Reference:
        Srivastava et al., 2014: Dropout, JMLR, section 5.2.
    """
    rate = _check(layer, rate)
    kernel = _linear(layer).kernel
    kernel.assign(kernel / (1.0 - rate))


def _linear(layer):
    return layer.layer if isinstance(layer, MaskedInput) else layer


def _check(layer, rate):
    rate = errors.check_rate("rate", rate)
    linear = _linear(layer)
    if not isinstance(linear, LINEAR_LAYERS) or not linear.built:
        names = ", ".join(kind.__name__ for kind in LINEAR_LAYERS)
        raise errors.invalid(
            "layer", f"a built layer, one of {names} or MaskedInput", layer
        )
    if isinstance(layer, MaskedInput):
        masks = [layer.dropout]
    else:
        masks = [
            _source(tensor)
            for node in layer._inbound_nodes
            for tensor in node.input_tensors
        ]
    for mask in masks:
        if not isinstance(mask, SplitMaskDropout) or (
            rescale_exponent(getattr(mask, "rescale", 1.0)) != 0
        ):
            raise ValueError(
                "Expected an unscaled mask (`rescale=0.0`) in front of "
                f"{layer.name!r} wherever it is used. Inverted dropout scales "
                "in training already, and a model without dropout is not to "
                "be scaled: copy weights from one to the other. Received: "
                f"{mask!r}"
            )
        mask_rate = getattr(mask, "rate", None)
        if isinstance(mask_rate, float) and mask_rate != rate:
            raise errors.invalid(
                "rate", f"the rate of the mask, {mask_rate}", rate
            )
    return rate


def _source(tensor):
    """Returns the operation that made the values of a symbolic tensor."""
    operation, node, _ = tensor._keras_history
    if isinstance(operation, _RESHAPES):
        return _source(operation._inbound_nodes[node].input_tensors[0])
    return acting(operation)
