import warnings

import keras

from keras_dropx.layers.dropout_family import DROPOUT_LAYERS, drop_rates
from keras_dropx.models.copying import compile_like, copy_model, is_container


def replace_dropout(model, replacement, compile=True):
    """Builds a model in which other layers stand for the dropout layers.

    Asks `replacement` for each `Dropout`, `SpatialDropout1D`, `2D`, `3D`,
    `GaussianDropout` and `AlphaDropout` (and their subclasses), in nested
    models too. The new layer takes the old one's name, dtype policy and,
    where it has none of its own, `noise_shape` (for spatial dropout the shape
    that drops whole channels). All else is copied: layer and input names,
    weights, trainable flags, sharing. Inference outputs and `count_params()`
    are those of `model`, and weight files fit both.

    Dropout inside another layer (`MultiHeadAttention`, `LSTM`, a layer of
    yours) cannot be reached: those layers are listed in one warning.

    Args:
        model: Sequential or Functional `keras.Model`; it is not changed.
        replacement: Function of the dropout layer that returns a new layer,
            or None to keep that layer.
        compile: Whether to compile the result as `model` is, where it is:
            with the same loss, metrics and settings, registered or not, and
            a fresh optimizer of the same configuration. Defaults to True.

    Returns:
        `keras.Model` of the class of `model`.

    Raises:
        ValueError: If the model is subclassed, or a layer cannot be copied,
            or a replacement is no layer without weights.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((8,)), keras.layers.Dropout(0.5, name="drop")]
    ... )
    >>> new = keras_dropx.models.replace_dropout(
    ...     model, lambda old: keras_dropx.layers.AugmentedDropout(old.rate)
    ... )
    >>> type(new.get_layer("drop")).__name__
    'AugmentedDropout'
    """
    unreached = []

    def replaced(layer):
        if not isinstance(layer, DROPOUT_LAYERS):
            if _drops_inside(layer):
                unreached.append(layer)
            return None
        new = replacement(layer)
        if new is None:
            return None
        if not isinstance(new, keras.layers.Layer) or is_container(new):
            raise ValueError(
                "Expected `replacement` to return a layer or None for "
                f"{layer.name!r}. Received: {new!r}"
            )
        return _fitted(new, layer)

    copy = copy_model(model, replaced)
    if compile and model.compiled:
        compile_like(copy, model)
    if unreached:
        names = ", ".join(
            f"{layer.name!r} ({type(layer).__name__})" for layer in unreached
        )
        warnings.warn(
            f"The dropout inside these layers is not replaced: {names}",
            stacklevel=2,
        )
    return copy


def _fitted(new, old):
    config = new.get_config()
    config |= {"name": old.name, "dtype": old.dtype_policy}
    if "noise_shape" in config and config["noise_shape"] is None:
        config["noise_shape"] = _noise_shape(old)
    return type(new).from_config(config)


def _noise_shape(layer):
    if isinstance(layer, keras.layers.SpatialDropout1D):
        return (None, 1, None)
    for kind, axes in (
        (keras.layers.SpatialDropout2D, 2),
        (keras.layers.SpatialDropout3D, 3),
    ):
        if isinstance(layer, kind):
            if layer.data_format == "channels_first":
                return (None, None, *[1] * axes)
            return (None, *[1] * axes, None)
    return getattr(layer, "noise_shape", None)


def _drops_inside(layer):
    return any(
        drop_rates(part) or (isinstance(part, DROPOUT_LAYERS) and part.rate > 0)
        for part in layer._flatten_layers()
    )
