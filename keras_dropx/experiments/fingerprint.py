"""What stands for a user's model, data and functions in a run's identity."""

import contextlib
import functools
import hashlib
import json
import types
import warnings

import keras
import numpy as np
import tensorflow as tf

from keras_dropx.experiments.files import digest_of

# Their versions stand in the records.
LIBRARIES = {"builtins", "jax", "keras", "keras_dropx", "numpy", "tensorflow"}
LIBRARIES |= {"keras_hub", "torch", "scipy", "sklearn"}


# What else a function's names may stand for that says what it does.
NAMED = (bool, int, float, str, tuple, functools.partial, np.ndarray)
NAMED += (types.FunctionType, type)


def said(thing):
    """Returns what stands for an object in the identity of a run, JSON-able.

    Of a function, and of a class that is no library's, it is what they do, not
    what they are called. Of batches that are made as they are used only the
    form is known.
    """
    return _said(thing, [])


def _said(thing, seen):
    if thing is None or isinstance(thing, (bool, int, float, str)):
        return thing
    if isinstance(thing, dict):
        return {str(key): _said(value, seen) for key, value in thing.items()}
    if isinstance(thing, (list, tuple)):
        return [_said(part, seen) for part in thing]
    if isinstance(thing, tf.data.Dataset):
        length = int(thing.cardinality())
        return {"dataset": str(thing.element_spec), "batches": length}
    if isinstance(thing, keras.utils.PyDataset):
        kind = _class(type(thing), seen)
        return {"dataset": kind, "batches": thing.num_batches}
    if isinstance(thing, functools.partial):
        return _said([thing.func, thing.args, thing.keywords], seen)
    if isinstance(thing, types.MethodType):
        return _said([thing.__func__, thing.__self__], seen)
    if isinstance(thing, types.FunctionType):
        return _function(thing, seen)
    if isinstance(thing, type):
        return _class(thing, seen)
    kind = _class(type(thing), seen)
    if hasattr(thing, "get_config"):
        config = config_of(thing)
        live = [getattr(thing, name, None) for name in (*config, "fn", "_fn")]
        functions = [f for f in live if isinstance(f, types.FunctionType)]
        config["functions"] = functions
        return {"class": kind, **_said(config, seen)}
    if hasattr(thing, "shape") and hasattr(thing, "dtype"):
        return digest(thing)
    if callable(thing) and hasattr(thing, "__name__"):
        return thing.__name__
    own = {
        key: value
        for key, value in getattr(thing, "__dict__", {}).items()
        if not key.startswith("_")
        and isinstance(value, (bool, int, float, str, list, tuple))
    }
    return {"class": kind, **_said(own, seen)}


def config_of(thing):
    """Returns the configuration of an object, as far as it has one."""
    with warnings.catch_warnings():
        # Of lambdas in it, which are taken live.
        warnings.simplefilter("ignore", UserWarning)
        try:
            return dict(thing.get_config())
        except (NotImplementedError, TypeError, ValueError):
            return {}


def _is_librarys(thing):
    return (thing.__module__ or "").split(".")[0] in LIBRARIES


def _function(function, seen):
    """Returns what stands for code, and for all of the user's that it uses."""
    if _is_librarys(function):
        return f"{function.__module__}.{function.__qualname__}"
    if any(function is other for other in seen):
        return "…"
    seen.append(function)
    named = {
        name: function.__globals__[name]
        for name in sorted(_names(function.__code__))
        if isinstance(function.__globals__.get(name), NAMED)
    }
    cells = []
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # It is still empty.
            cells.append(cell.cell_contents)
    parts = [function.__defaults__, function.__kwdefaults__, cells, named]
    return {"code": _code(function.__code__), "uses": _said(parts, seen)}


def _names(code):
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return {*code.co_names, *(name for c in inner for name in _names(c))}


def _code(code):
    constants = [
        _code(constant)
        if isinstance(constant, types.CodeType)
        else sorted(map(repr, constant))
        if isinstance(constant, frozenset)
        else repr(constant)
        for constant in code.co_consts
    ]
    return digest_of([code.co_code.hex(), constants, list(code.co_names)])


def _class(kind, seen):
    """Returns the name of a library's class, or what one's own does."""
    if _is_librarys(kind):
        return kind.__name__
    if any(kind is other for other in seen):
        return "…"
    seen.append(kind)
    parts = []
    for base in kind.__mro__:
        if _is_librarys(base):
            parts.append(base.__name__)
            continue
        parts += [
            [name, _said(value, seen)]
            for name, value in vars(base).items()
            if isinstance(value, types.FunctionType)
        ]
    return digest_of(parts)


def digest(array):
    """Returns a string that tells an array from others."""
    array = np.asarray(array)
    found = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    if array.dtype.hasobject:
        found.update(json.dumps(array.tolist(), default=str).encode())
    else:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def network(model):
    """Returns what stands for a model without its compilation."""
    layers = model._flatten_layers(include_self=False)
    shapes = [list(variable.shape) for variable in model.weights]
    parts = [said(model), [said(layer) for layer in layers], shapes]
    return digest_of(_renamed(parts))


def compilation(model):
    """Returns what stands for the compilation of a model."""
    # Keras gives these out in serialized form only, which functions have not.
    settings = dict(model._compile_config.config)
    settings |= {"optimizer": model.optimizer, "loss": model.loss}
    return digest_of(_renamed(said(settings)))


def _renamed(config):
    """Returns a config in which names are numbers: a process counts them on."""
    names = {}

    def find(part):
        if isinstance(part, dict):
            if isinstance(part.get("name"), str):
                names.setdefault(part["name"], f"#{len(names)}")
            for value in part.values():
                find(value)
        elif isinstance(part, list):
            for value in part:
                find(value)

    def rename(part):
        if isinstance(part, dict):
            if _is_function(part):
                return "function"  # What it does is said beside it.
            return {key: rename(value) for key, value in part.items()}
        if isinstance(part, list):
            return [rename(value) for value in part]
        return names.get(part, part) if isinstance(part, str) else part

    find(config)
    return rename(config)


def _is_function(part):
    """Whether a part of a configuration is a function, which is said live."""
    if part.keys() == {"value"}:
        return isinstance(part["value"], list)
    return part.get("class_name") in ("__lambda__", "function")
