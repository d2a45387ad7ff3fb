"""Other masks for the dropout objects of any model, as it stands."""

import keras

from keras_dropx.layers.dropout_family import DROPOUT_LAYERS
from keras_dropx.layers.stand_in import StandIn, stand_in
from keras_dropx.models.dropout_sites import (
    NO_STATE,
    fitted,
    is_site,
    unreached,
    walk,
)


def replace_in_place(model, replacement):
    """Lets each dropout object of a model mask as another layer does.

    Args:
        model: `keras.Model`.
        replacement: Function of a dropout layer that returns a layer, or
            None for its own masks.

    Returns:
        List of (path, layer, reason): what drops and is not replaced.

    Raises:
        ValueError: If layers are still to be built, or a replacement has
            weights. The model is then as it was.
    """
    _check_built(model)
    changes, without_state = [], []
    for path, layer in walk(model):
        if not isinstance(layer, DROPOUT_LAYERS) or not _is_open(layer):
            continue
        new = replacement(layer)
        if new is not None:
            new = fitted(new, layer)
            if new.variables and _state(layer) is None:
                if _drops(new):
                    without_state.append((path, layer, NO_STATE))
                continue
            _check_state(new, path)
        changes.append((layer, new))
    for layer, new in changes:
        vars(layer).pop("call", None)
        if new is not None:
            _share_state(new, layer)
            # Past `__setattr__`: Keras would track what it finds there.
            vars(layer)["call"] = StandIn(new)
    for _, part in walk(model):
        if isinstance(part, keras.Model):
            _renew_functions(part)
    return without_state + unreached(model, _is_open)


def _is_open(layer):
    if "call" in vars(layer):  # ours, or someone else's
        return stand_in(layer) is not None
    return is_site(layer)


def _check_built(model):
    """Refuses a model that may make layers when it is built."""
    if model.built:
        return
    for path, part in walk(model):
        own = type(part).__module__.split(".")[0] != "keras"
        makes = own or isinstance(
            part,
            (
                keras.layers.MultiHeadAttention,
                keras.layers.GroupQueryAttention,
                keras.layers.Wrapper,
            ),
        )
        if part.built or not makes:
            continue
        # The model itself: its layers are in its attributes.
        if type(part).build not in (
            keras.layers.Layer.build,
            keras.Model.build,
        ):
            raise ValueError(
                "Expected `model` to be built: layers that are not built yet "
                "may still make dropout. Call the model once on data, or "
                f"`build` it. Received: {model!r}, of which {path!r} "
                f"({type(part).__name__}) is not built"
            )


def _generators(layer):
    return [
        value
        for part in layer._flatten_layers()
        for value in vars(part).values()
        if isinstance(value, keras.random.SeedGenerator)
    ]


def _state(layer):
    generator = getattr(layer, "seed_generator", None)
    return None if generator is None else generator.state


def _drops(layer):
    return any(getattr(layer, name, None) for name in ("rate", "sigma"))


def _check_state(new, path):
    random = {id(generator.state) for generator in _generators(new)}
    builds = type(new).build is not keras.layers.Layer.build
    if (builds and not new.built) or any(
        id(variable) not in random for variable in new.variables
    ):
        raise ValueError(
            "Expected `replacement` to return a layer without weights for "
            f"{path!r}. Received: {new!r}"
        )


def _share_state(new, old):
    """Lets a layer draw from the random state of the old one.

    So there is no new variable: weight files and JAX's stateless scopes see
    what they saw.
    """
    for generator in _generators(new):
        if generator.get_config()["seed"] is not None:
            _state(old).assign(generator.state)
        generator.state = _state(old)


def _renew_functions(model):
    """Makes the compiled functions anew, also in the middle of `fit`."""
    for name in ("train_function", "test_function", "predict_function"):
        if getattr(model, name, None) is not None:
            setattr(model, name, None)
            getattr(model, f"make_{name}")()
