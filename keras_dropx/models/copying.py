"""Copies of Sequential and Functional models in which layers may change."""

import inspect
import tempfile
import warnings

import keras


def copy_model(model, replacement):
    """Copies a model layer by layer, with all that the layers hold.

    `keras.models.clone_model` renames unnamed inputs, needs every function
    registered, and leaves the weights to `set_weights`, which forgets what
    layers compute from them (`Normalization`) or keep besides (vocabularies).

    Args:
        model: Sequential or Functional `keras.Model`; it is not changed.
        replacement: Function of a layer that returns the one to put in its
            place, or None for a copy. It is asked once for each layer, and
            not for models, whose layers are copied in turn.

    Returns:
        The new model, of the same class and not compiled. Layer names, input
        names, weights and trainable flags are those of the old one.

    Raises:
        ValueError: If the model is subclassed, a layer cannot be copied, or
            the number of parameters changes.
    """
    copies = {}
    copy = _copy(model, replacement, copies)
    if copy.built and copy.count_params() != model.count_params():
        raise ValueError(
            "Expected the replacing layers to have as many weights as those "
            f"replaced. Received: {copy.count_params()} parameters in place "
            f"of {model.count_params()}"
        )
    _copy_state(model, copies)
    return copy


def compile_like(copy, model):
    """Compiles a copy as a compiled model is.

    Loss, metrics and settings are the same objects; the optimizer is a fresh
    one of the same configuration.

    Raises:
        ValueError: If the class of the model has a `compile` of its own.
    """
    if type(model).compile is not keras.Model.compile:
        raise ValueError(
            f"{type(model).__name__} has a `compile` of its own, whose "
            "arguments cannot be read back. Copy with `compile=False` and "
            f"compile the result. Received: model {model.name!r}"
        )
    # Keras gives these out in serialized form only, which lambdas have not.
    settings = model._compile_config.config
    copy.compile(
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


def _copy(model, replacement, copies):
    _check_class(model)

    def copied(layer):
        if not isinstance(layer, keras.layers.Layer):
            return layer  # an operation of `keras.ops`, without state
        if id(layer) not in copies:
            if is_container(layer):
                copies[id(layer)] = _copy(layer, replacement, copies)
            else:
                new = replacement(layer)
                copies[id(layer)] = _clone(layer) if new is None else new
        return copies[id(layer)]

    if isinstance(model, keras.Sequential):
        layers = [copied(layer) for layer in model.layers]
        if model.built:
            layers.insert(0, _new_inputs(model.inputs, model.outputs)[0])
        copy = type(model)(layers, name=model.name)
    else:
        # A model without class or compilation, which `clone_model` takes over.
        view = keras.Model(model.input, model.output, name=model.name)
        flat = _new_inputs(model.inputs, model.outputs)
        copy = keras.models.clone_model(
            view,
            keras.tree.pack_sequence_as(model.input, flat),
            clone_function=copied,
        )
        if type(model) is not type(copy):
            copy = type(model)(copy.input, copy.output, name=model.name)
    copies[id(model)] = copy
    return copy


def _check_class(model):
    remedy = (
        "Build the network with the functional API, or give its class the "
        "layer to use as an argument."
    )
    if not is_container(model):
        raise ValueError(
            "Expected a Sequential or Functional model: the layers of a "
            "subclassed model are called by code that cannot be rewritten. "
            f"{remedy} Received: {model!r}"
        )
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
    if names[0] not in (names[1], ["self", "args", "kwargs"]):
        raise ValueError(
            f"The constructor of {type(model).__name__} takes other arguments "
            f"than that of {plain.__name__}. {remedy} Or pass "
            "`keras.Model(model.inputs, model.outputs)`, which leaves the "
            f"class behind. Received: {model!r}"
        )


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
        return type(layer).from_config({**config, **functions})
    except Exception as error:
        raise ValueError(
            f"Layer {layer.name!r} ({type(layer).__name__}) cannot be copied. "
            "Its class needs a `get_config` that its constructor takes back, "
            "of registered objects. The error was: "
            f"{type(error).__name__}: {error}"
        ) from error


def _copy_state(old, copies):
    """Copies trainable flags, weights and assets, from the top down."""
    new = copies[id(old)]
    if is_container(old):
        # Set on a model, the flag goes down to its layers.
        if new.trainable != old.trainable:
            new.trainable = old.trainable
        for layer in old.layers:
            if id(layer) in copies:
                _copy_state(layer, copies)
        return
    # A replaced layer may have more parts, behind those of the old one.
    pairs = list(
        zip(old._flatten_layers(), new._flatten_layers(), strict=False)
    )
    for before, after in pairs:
        if after.trainable != before.trainable:
            after.trainable = before.trainable
    for before, after in pairs:
        store = {}
        before.save_own_variables(store)
        # JAX reuses the memory of a variable that is trained: share none.
        after.load_own_variables(
            {
                name: keras.ops.copy(value)
                if isinstance(value, keras.Variable)
                else value
                for name, value in store.items()
            }
        )
        if hasattr(before, "save_assets") and hasattr(after, "load_assets"):
            with tempfile.TemporaryDirectory() as folder:
                before.save_assets(folder)
                after.load_assets(folder)
    for before, after in zip(old.weights, new.weights, strict=True):
        if after.trainable != before.trainable:
            after.trainable = before.trainable


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
