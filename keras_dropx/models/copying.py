"""Copies of Sequential and Functional models in which layers may change."""

import inspect
import warnings

import keras

from keras_dropx.models.copying_state import copy_state, follow_policies


def copy_model(model, replacement):
    """Copies a model layer by layer, with all that the layers hold.

    `keras.models.clone_model` renames unnamed inputs, needs every function
    registered, and leaves the weights to `set_weights`, which forgets what
    layers compute from them (`Normalization`) or keep besides (vocabularies).

    Args:
        model: Sequential or Functional `keras.Model`; it is not changed.
        replacement: Function of a layer that returns the one to put in its
            place, or None for a copy. It is asked once for each layer, and
            not for models, whose layers are copied in turn, as is the layer
            of a `TimeDistributed` that is not replaced.

    Returns:
        The new model, not compiled and of the same class (a plain one where
        the class has a constructor of its own). Layer names, input names,
        weights and trainable flags are those of the old one.

    Raises:
        ValueError: If the model is subclassed, a layer cannot be copied, or
            a replacement has other weights.
    """
    copying = _Copying(model, replacement)
    # The dtype policy under which layers make parts that are given none.
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(model.dtype_policy)
    try:
        copy = copying.copied(model)
        copy_state(model, copying.copies, copying.replaced)
    finally:
        keras.config.set_dtype_policy(before)
    if copy.built and copy.count_params() != model.count_params():
        raise ValueError(
            "Expected the replacing layers to have as many weights as those "
            f"replaced. Received: {copy.count_params()} parameters in place "
            f"of {model.count_params()}"
        )
    if copying.left:
        classes = ", ".join(
            f"{part.name!r} ({type(part).__name__})" for part in copying.left
        )
        warnings.warn(
            "The copies of these models are plain `keras.Model`s, because "
            "the constructors of their classes take other arguments; methods "
            f"of those classes, such as `train_step`, stay behind: {classes}",
            stacklevel=3,
        )
    return copy


def compile_like(copy, model, of_base=False):
    """Compiles a copy as a compiled model is.

    Loss, metrics and settings are the same objects; the optimizer is a fresh
    one of the same configuration.

    Args:
        copy: `keras.Model`.
        model: Compiled `keras.Model`.
        of_base: Whether a class with a `compile` of its own is compiled by
            that of Keras, with what it was given in the end.

    Raises:
        ValueError: If the class of the copy has a `compile` of its own.
    """
    if type(copy).compile is not keras.Model.compile and not of_base:
        raise ValueError(
            f"{type(copy).__name__} has a `compile` of its own, whose "
            "arguments cannot be read back. Copy with `compile=False` and "
            f"compile the result. Received: model {model.name!r}"
        )
    # Keras gives these out in serialized form only, which lambdas have not.
    settings = model._compile_config.config
    keras.Model.compile(
        copy,
        optimizer=_fresh(model.optimizer),
        loss=model.loss,
        loss_weights=settings["loss_weights"],
        metrics=settings["metrics"],
        weighted_metrics=settings["weighted_metrics"],
        run_eagerly=model.run_eagerly,
        steps_per_execution=model.steps_per_execution,
        jit_compile=model.jit_compile,
        auto_scale_loss=False,  # The optimizer is scaled already, or not to be.
    )


def is_container(layer):
    """Whether a layer is a Sequential or Functional model."""
    if isinstance(layer, keras.Sequential):
        return True
    return isinstance(layer, keras.Model) and isinstance(layer, keras.Function)


class _Copying:
    """Copies of layers by the ids of the old ones.

    Attributes:
        copies: Dict from the id of a layer to its copy.
        replaced: Set of the ids of those that `replacement` replaced.
        left: List of the models whose class is left behind.
    """

    def __init__(self, model, replacement):
        self.model = model
        self.replacement = replacement
        self.copies = {}
        self.replaced = set()
        self.left = []

    def copied(self, layer):
        if not isinstance(layer, keras.layers.Layer):
            return layer  # an operation of `keras.ops`, without state
        if id(layer) not in self.copies:
            self.copies[id(layer)] = self._copy(layer)
        return self.copies[id(layer)]

    def _copy(self, layer):
        if is_container(layer):
            return self._copy_container(layer)
        if layer is self.model:
            _refuse_subclassed(layer)
        new = self.replacement(layer)
        if new is not None:
            self.replaced.add(id(layer))
            return new
        if is_time_distributed(layer):
            return type(layer)(
                self.copied(layer.layer),
                name=layer.name,
                dtype=layer.dtype_policy,
            )
        return _clone(layer)

    def _copy_container(self, model):
        kind = type(model)
        if not _has_plain_constructor(model):
            self.left.append(model)
            kind = None
        if isinstance(model, keras.Sequential):
            layers = [self.copied(layer) for layer in model.layers]
            if model.built:
                layers.insert(0, _new_inputs(model.inputs, model.outputs)[0])
            return (kind or keras.Sequential)(layers, name=model.name)
        # A model without class or compilation, which `clone_model` takes over.
        view = keras.Model(model.input, model.output, name=model.name)
        flat = _new_inputs(model.inputs, model.outputs)
        copy = keras.models.clone_model(
            view,
            keras.tree.pack_sequence_as(model.input, flat),
            clone_function=self.copied,
        )
        if kind not in (None, type(copy)):
            copy = kind(copy.input, copy.output, name=model.name)
        return copy


def is_time_distributed(layer):
    """Whether a layer applies another one to each step and does no more."""
    return type(layer) is keras.layers.TimeDistributed


def _refuse_subclassed(model):
    raise ValueError(
        "Expected a Sequential or Functional model: the layers of a "
        "subclassed model are called by code that cannot be rewritten. Pass "
        "`in_place=True`, or build the network with the functional API. "
        f"Received: {model!r}"
    )


def _has_plain_constructor(model):
    plain = keras.Sequential
    if not isinstance(model, keras.Sequential):
        # With names of its own it moves no counter of automatic names.
        inputs = keras.Input((1,), name="inputs")
        outputs = keras.layers.Identity(name="outputs")(inputs)
        plain = type(keras.Model(inputs, outputs, name="plain"))
    names = [
        list(inspect.signature(kind.__init__).parameters)
        for kind in (type(model), plain)
    ]
    return names[0] in (names[1], ["self", "args", "kwargs"])


def _new_inputs(inputs, outputs):
    """Returns new input tensors of the same names, shapes and dtypes."""
    view = keras.Model(inputs, outputs, name="view")
    layers = {
        id(layer.output): layer
        for layer in view.layers
        if isinstance(layer, keras.layers.InputLayer)
    }
    new = []
    for tensor in inputs:
        layer = layers[id(tensor)]
        copy = keras.KerasTensor(
            tensor.shape,
            tensor.dtype,
            sparse=tensor.sparse,
            ragged=tensor.ragged,
            name=tensor.name,
        )
        keras.layers.InputLayer(
            input_tensor=copy,
            ragged=layer.ragged,
            optional=layer.optional,
            name=layer.name,
        )
        new.append(copy)
    return new


def _clone(layer):
    if isinstance(layer, keras.layers.Lambda):
        # From a config Keras would refuse its function.
        return keras.layers.Lambda(
            layer.function,
            output_shape=layer._output_shape,
            mask=layer.mask,
            arguments=layer.arguments,
            name=layer.name,
            dtype=layer.dtype_policy,
            trainable=layer.trainable,
        )
    try:
        config = _config(layer)
        # Live functions need not be registered.
        functions = {
            name: getattr(layer, name)
            for name in config
            if inspect.isfunction(getattr(layer, name, None))
        }
        copy = type(layer).from_config({**config, **functions})
    except Exception as error:
        raise ValueError(
            f"Layer {layer.name!r} ({type(layer).__name__}) cannot be copied. "
            "Its class needs a `get_config` that its constructor takes back, "
            "of registered objects; or pass `in_place=True`. The error was: "
            f"{type(error).__name__}: {error}"
        ) from error
    # Configs name variable dtypes (spatial dropout) or nothing at all.
    follow_policies(layer, copy)
    return copy


def _fresh(optimizer):
    """Returns a new optimizer of the same configuration."""
    if optimizer is None:
        return None
    config = _config(optimizer)
    if "inner_optimizer" in config:
        del config["inner_optimizer"]
        return type(optimizer)(_fresh(optimizer.inner_optimizer), **config)
    # A schedule or function of the user's need not be registered.
    if callable(optimizer._learning_rate):
        config["learning_rate"] = optimizer._learning_rate
    fresh = type(optimizer).from_config(config)
    # Set by a method, and not in the config.
    pattern = getattr(optimizer, "_exclude_from_weight_decay_pattern", None)
    if pattern is not None:
        fresh.exclude_from_weight_decay(var_names=[pattern.pattern])
    return fresh


def _config(part):
    with warnings.catch_warnings():
        # Of lambdas in a config; they are taken live here.
        warnings.simplefilter("ignore", UserWarning)
        return part.get_config()
