"""Where a model drops: the dropout objects, and what draws without one."""

import dis
import inspect
import re

import keras

from keras_dropx.layers.dropout_family import DROPOUT_LAYERS, drop_rates

# The classes that draw, the most special one first.
_FAMILY = (
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    *DROPOUT_LAYERS,
)
_WHOLE_LAYERS = (
    keras.layers.MultiHeadAttention,
    keras.layers.GroupQueryAttention,
)
_RECURRENT = (
    keras.layers.RNN,
    keras.layers.LSTMCell,
    keras.layers.GRUCell,
    keras.layers.SimpleRNNCell,
)
_ATTENTION = (keras.layers.Attention, keras.layers.AdditiveAttention)

_INSIDE = "it lives inside them, where `in_place=True` reaches it"
_OWN_CALL = (
    "their class has a `call` of its own, which would be lost: change that "
    "class"
)
_RECURRENT_DRAWS = (
    "recurrent cells draw by themselves, one mask for both passes: mask their "
    "inputs by a layer of keras_dropx with noise_shape=(None, 1, None) instead"
)
_ATTENTION_DRAWS = (
    "they draw by themselves, one mask for both passes: use "
    "MultiHeadAttention, whose dropout `in_place=True` reaches, instead"
)
_FUNCTION_DRAWS = (
    "their code calls a dropout function: call a dropout layer instead"
)
_MADE_IN_CALL = (
    "their code makes a dropout layer in each call: make it in the "
    "constructor instead"
)
_HIDDEN = (
    "an object that is no layer holds their dropout, where Keras does not "
    "find it: make it an attribute of the layer"
)
_PATHS_DRAW = (
    "their class draws by itself, one mask for both passes: put a dropout "
    "layer there, with a noise_shape such as (None, 1, 1) where whole paths "
    "are dropped"
)
# Names of modules, where a function imports them itself.
_MODULES = ("random", "nn", "functional", "F")
NO_STATE = (
    "at rate 0 they have no random state, and none can be added: build the "
    "model with a rate above 0"
)


def is_site(layer):
    """Whether a layer is a dropout of Keras that draws as its class does.

    A subclass with a `call` of its own is another method.
    """
    for kind in _FAMILY:
        if isinstance(layer, kind):
            return all(
                getattr(type(layer), name, None) is getattr(kind, name, None)
                # The last is how spatial dropout says what goes together.
                for name in ("call", "__call__", "_get_noise_shape")
            )
    return False


def walk(layer, path=""):
    """Yields (path, part) of a layer and all that it holds, each part once.

    The path is of names, from below `layer`; its own is its name.
    """
    seen = set()

    def below(part, path):
        if id(part) in seen:
            return
        seen.add(id(part))
        yield path, part
        for child in part._flatten_layers(include_self=False, recursive=False):
            name = f"{path}/{child.name}" if part is not layer else child.name
            yield from below(child, name)

    yield from below(layer, layer.name)


def unreached(layer, reached=None):
    """Lists what drops in a layer and is not replaced.

    Args:
        layer: `keras.layers.Layer`.
        reached: Function of a dropout object that tells whether it is
            replaced in place. Without it, none inside `layer` is.

    Returns:
        List of (path, part, reason), the reason a string.
    """
    found, named = [], set()
    for path, part in walk(layer):
        reason = _reason(part, reached)
        if reason is not None and id(part) not in named:
            found.append((path, part, reason))
            # The cell of a recurrent layer is named with it.
            named |= {id(inner) for inner in part._flatten_layers()}
    return found


def describe(found):
    """Returns the text of the warning for a list of (path, part, reason)."""
    named = [
        (f"{path!r} ({type(part).__name__})", reason)
        for path, part, reason in found
    ]
    names = ", ".join(dict.fromkeys(name for name, _ in named))
    reasons = {}
    for name, reason in named:
        reasons.setdefault(reason, {})[name] = None
    text = f"The dropout inside these layers is not replaced: {names}"
    for reason, which in reasons.items():
        text += f". {', '.join(which)}: {reason}"
    return text


def fitted(new, old):
    """Returns a copy of a layer with what it takes over from the old one.

    Args:
        new: Layer that stands for `old`.
        old: Layer of Keras' dropout family.

    Raises:
        ValueError: If the class of `new` cannot be made again.
    """
    # A policy object would make a config that Keras derives by itself, that
    # of a class without `get_config`, one that cannot be saved.
    try:
        config = new.get_config()
        if "noise_shape" in config and config["noise_shape"] is None:
            config["noise_shape"] = _noise_shape(old)
        config |= {"name": old.name, "dtype": plain_policy(old)}
        return type(new).from_config(config)
    except Exception as error:
        raise ValueError(
            "`replacement` returned a layer that cannot be copied for "
            f"{old.name!r}: {type(new).__name__} needs a `get_config` that "
            "its constructor takes back. The error was: "
            f"{type(error).__name__}: {error}"
        ) from error


def plain_policy(layer):
    """Returns the dtype policy of one layer, by name where it has one."""
    policy = layer.dtype_policy
    if isinstance(policy, keras.dtype_policies.DTypePolicyMap):
        policy = policy[layer.path] if layer.path else policy.default_policy
        policy = keras.dtype_policies.get(policy)
    # `type`: a subclass is more than its name.
    if type(policy) is type(keras.dtype_policies.get("float32")):
        return policy.name
    return policy


def _reason(part, reached):
    if isinstance(part, DROPOUT_LAYERS):
        if not part.rate > 0:
            return None
        if reached is None:
            return _INSIDE if is_site(part) else _OWN_CALL
        return None if reached(part) else _OWN_CALL
    if isinstance(part, _WHOLE_LAYERS):
        # Not built, they have no dropout object yet.
        inside = any(
            isinstance(inner, DROPOUT_LAYERS)
            for inner in part._flatten_layers()
        )
        return _INSIDE if drop_rates(part) and not inside else None
    if isinstance(part, _RECURRENT):
        return _RECURRENT_DRAWS if drop_rates(part) else None
    if isinstance(part, _ATTENTION):
        return _ATTENTION_DRAWS if drop_rates(part) else None
    if _is_dropout_by_name(part):
        return _PATHS_DRAW
    return _reason_in_code(part) or (_HIDDEN if _hides(part) else None)


def _is_dropout_by_name(layer):
    """Whether a layer of another class is dropout by its name and rate.

    Stochastic depth has no class in `keras.layers`: `DropPath`,
    `DINOV3DropPath`, `StochasticDepth`, each with a rate of its own name.
    """
    kind = type(layer)
    if not re.search("Drop(out|[A-Z]|$)|StochasticDepth", kind.__name__):
        return False
    if kind.__module__.split(".")[0] == "keras_dropx":
        return False
    if len(layer._flatten_layers()) > 1:  # What it holds is asked.
        return False
    rates = [
        value
        for name, value in vars(layer).items()
        if isinstance(value, (int, float)) and re.search("rate|prob", name)
    ]
    return not rates or any(0 < rate < 1 for rate in rates)


def _reason_in_code(layer):
    """Returns why what a layer's code drops is not reached, or None.

    Read are its `call` and the functions and methods that this names.
    """
    if isinstance(layer, keras.layers.Lambda):
        functions = [layer.function]
    elif type(layer).__module__.split(".")[0] in ("keras", "keras_dropx"):
        return None
    else:
        functions = [type(layer).call]
    seen = set()
    while functions:
        function = inspect.unwrap(functions.pop())
        code = getattr(function, "__code__", None)
        home = (getattr(function, "__module__", None) or "").split(".")[0]
        if code is None or code in seen or home == "keras":
            continue
        seen.add(code)
        before = known = None
        for instruction in dis.get_instructions(function):
            name = instruction.argval
            if not isinstance(name, str):
                continue
            module = known if inspect.ismodule(known) else None
            if module:
                known = getattr(module, name, None)
            else:
                known = function.__globals__.get(name)
            # `keras.random.dropout`, `tf.nn.dropout`; not `self.dropout`.
            if known is keras.random.dropout or (
                name == "dropout" and (module or before in _MODULES)
            ):
                return _FUNCTION_DRAWS
            if isinstance(known, type) and issubclass(known, DROPOUT_LAYERS):
                if "isinstance" not in code.co_names:
                    return _MADE_IN_CALL
            of_layer = getattr(type(layer), name, None)
            functions += [
                each
                for each in (known, of_layer if before == "self" else None)
                if inspect.isfunction(each)
            ]
            before = name
    return None


def _hides(layer):
    """Whether an attribute that is no layer holds dropout past Keras' view."""
    seen = {id(part) for part in layer._flatten_layers()}
    return any(
        isinstance(held, DROPOUT_LAYERS)
        and held.rate > 0
        and id(held) not in seen
        for value in vars(layer).values()
        if type(value).__module__.split(".")[0] not in ("keras", "builtins")
        for held in getattr(value, "__dict__", {}).values()
    )


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
