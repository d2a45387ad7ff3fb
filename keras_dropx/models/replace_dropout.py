import warnings

import keras

from keras_dropx import errors
from keras_dropx.models.copying import (
    compile_like,
    copy_model,
    is_time_distributed,
)
from keras_dropx.models.dropout_sites import (
    describe,
    fitted,
    is_site,
    unreached,
)
from keras_dropx.models.in_place import replace_in_place


def replace_dropout(model, replacement, compile=True, in_place=False):
    """Puts other layers, or their masks, in the place of a model's dropout.

    By default it returns a copy, whose new layers are saved with it. With
    `in_place=True` it changes the masks of `model` itself, at any depth, and
    only as long as the object lives: **a loaded, cloned or copied model has
    its own, plain dropout again** (call this function again), and the file
    of such a model is that of the plain one, without the random states of
    layers inside other layers.

    Asks `replacement` for each `Dropout`, `SpatialDropout1D`, `2D`, `3D`,
    `GaussianDropout` and `AlphaDropout` (and those subclasses that leave
    `call` alone). The new layer takes the old one's name, dtype policy and,
    where it has none of its own, `noise_shape` (for spatial dropout the shape
    that drops whole channels). Inference outputs and `count_params()` are
    those of `model`, and weight files fit both.

    A copy is made layer by layer, nested models and `TimeDistributed` too:
    layer and input names, weights (LoRA and quantized ones as well),
    trainable flags and sharing are copied. A Functional or Sequential model
    whose class has a constructor of its own becomes a plain `keras.Model` or
    `keras.Sequential`, with a warning: its own methods, such as `train_step`,
    stay behind. Dropout inside other layers is not reached.

    In place, any built model is taken: subclassed ones, models of KerasHub,
    blocks of yours, `MultiHeadAttention`. A dropout object stays what it is
    and draws as the new layer does, from its own random state: no variable
    is added, and inference is the same to the bit. A schedule counts on
    from the calls of that state, and a `seed` of the new layer sets it. Keras'
    compiled functions are renewed, not a `tf.function` of yours. `None`
    undoes it.

    What drops and is not reached is named in one warning, with what to use
    instead: recurrent cells and `Attention`, which draw without a dropout
    object, subclasses with a `call` of their own, other classes that are
    dropout by their names (`DropPath`, `StochasticDepth`), layers that an
    object keeps from Keras' view, and what the code of a `call` or a `Lambda`,
    and of the functions that it names, does: a call of `keras.random.dropout`,
    a dropout layer made in each call. What is named only while it runs
    (`getattr`, a function in an argument) cannot be seen.

    Args:
        model: `keras.Model`; Sequential or Functional unless `in_place`.
            It is not changed unless `in_place`.
        replacement: Function of the dropout layer that returns a new layer,
            or None to keep that layer (in place: to give it its own masks
            back).
        compile: Whether to compile a copy as `model` is, where it is:
            with the same loss, metrics and settings, registered or not, and
            a fresh optimizer of the same configuration. In place, the model
            stays compiled as it is. Defaults to True.
        in_place: Whether to change `model`. Defaults to False.

    Returns:
        `keras.Model`: the copy, or `model` itself.

    Raises:
        ValueError: If an argument is of another kind, or a replacement is no
            layer without weights. For a copy: if the model is subclassed, or
            a layer cannot be copied. In place: if layers of the model are
            not built.

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
    if not isinstance(model, keras.Model):
        raise errors.invalid("model", "a `keras.Model`", model)
    if isinstance(replacement, keras.layers.Layer) or (
        isinstance(replacement, type) or not callable(replacement)
    ):
        raise errors.invalid(
            "replacement",
            "a function of the dropout layer that returns a layer or None, "
            "such as `lambda old: AugmentedDropout(old.rate)`",
            replacement,
        )
    errors.check_bool("compile", compile)
    errors.check_bool("in_place", in_place)

    def checked(layer):
        new = replacement(layer)
        if new is not None and (
            not isinstance(new, keras.layers.Layer)
            or isinstance(new, keras.Model)
        ):
            raise ValueError(
                "Expected `replacement` to return a layer or None for "
                f"{layer.name!r}. Received: {new!r}"
            )
        return new

    if in_place:
        result, found = model, replace_in_place(model, checked)
    else:
        replaced, found = _for_copy(checked)
        result = copy_model(model, replaced)
        if compile and model.compiled:
            compile_like(result, model)
    if found:
        warnings.warn(describe(found), stacklevel=2)
    return result


def _for_copy(replacement):
    """Returns what `copy_model` asks, and the list of what that finds."""
    found = []

    def replaced(layer):
        if is_time_distributed(layer):
            return None  # its layer is asked about
        if not is_site(layer):
            found.extend(
                (layer.name, layer, reason) for _, _, reason in unreached(layer)
            )
            return None
        new = replacement(layer)
        return None if new is None else fitted(new, layer)

    return replaced, found
