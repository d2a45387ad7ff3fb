"""The data and the arguments of a user: checked, described, given to Keras."""

import sys

import keras
import numpy as np
import tensorflow as tf

from keras_dropx.errors import check_choice, invalid
from keras_dropx.experiments.measures import direction as direction_of

FORMS = (
    "(x, y), (x, y, sample_weight), a tf.data.Dataset of batches or a "
    "keras.utils.PyDataset"
)
# What `compare` gives to `fit` itself.
TAKEN = (
    "x",
    "y",
    "sample_weight",
    "epochs",
    "batch_size",
    "verbose",
    "initial_epoch",
)


def check_data(name, data):
    """Raises unless `data` is what Keras trains on, of equal lengths."""
    if isinstance(data, (tf.data.Dataset, keras.utils.PyDataset)):
        if name == "test" and is_endless(data):
            raise invalid(name, "batches with an end", data)
        return
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        raise invalid(name, FORMS, type(data).__name__)
    lengths = []
    for part in keras.tree.flatten(data):
        if part is None:
            continue
        if not getattr(part, "shape", ()):
            raise invalid(name, f"arrays in {FORMS}", type(part).__name__)
        lengths.append(len(part))
    if len(set(lengths)) > 1 or not lengths or not lengths[0]:
        raise invalid(name, "arrays of one length, not empty", lengths)


def is_arrays(data):
    """Whether data are arrays, not batches."""
    return isinstance(data, (tuple, list))


def is_endless(data):
    """Whether data are batches without an end, as far as they tell."""
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches is None
    if isinstance(data, tf.data.Dataset):
        return int(data.cardinality()) == tf.data.INFINITE_CARDINALITY
    return False


def is_shown(verbose):
    """Returns whether progress is to be shown, or raises."""
    if verbose not in (0, 1, 2, "auto"):
        raise invalid("verbose", "0, 1 or 'auto'", verbose)
    return sys.stdout.isatty() if verbose == "auto" else verbose > 0


def size_of(data):
    """Returns the number of samples, or None where it is not known."""
    return len(keras.tree.flatten(data)[0]) if is_arrays(data) else None


def arguments_of(data, batch_size):
    """Returns data as arguments of `fit` or `evaluate`, a dict."""
    if not is_arrays(data):
        return {"x": data}
    parts = dict(zip(("x", "y", "sample_weight"), data, strict=False))
    return {**parts, "batch_size": batch_size}


def first_batch(data, batch_size):
    """Returns (x, y, sample_weight) of the first batch; None what is not."""
    if isinstance(data, keras.utils.PyDataset):
        batch = data[0]
    elif isinstance(data, tf.data.Dataset):
        batch = keras.tree.map_structure(np.asarray, next(iter(data)))
    else:
        batch = keras.tree.map_structure(lambda a: a[:batch_size], tuple(data))
    return keras.utils.unpack_x_y_sample_weight(batch)


def check_fit(fit, train):
    """Returns the arguments of `model.fit` and its callbacks, or raises."""
    if fit is None:
        fit = {}
    if not isinstance(fit, dict):
        raise invalid("fit", "a dict of arguments of `model.fit`", fit)
    taken = [name for name in TAKEN if name in fit]
    if taken:
        raise invalid(
            "fit", f"no {taken[0]!r}, which `compare` gives itself", fit.keys()
        )
    if is_endless(train) and "steps_per_epoch" not in fit:
        raise invalid(
            "train", "batches with an end, or `steps_per_epoch` in `fit`", train
        )
    fit = dict(fit)
    if isinstance(train, tf.data.Dataset):
        # It is not shuffled; Keras warns of that where it is not told so.
        fit.setdefault("shuffle", False)
    callbacks = fit.pop("callbacks", None) or []
    if isinstance(callbacks, keras.callbacks.Callback):
        callbacks = [callbacks]
    return fit, list(callbacks)


def looks_of(seeds):
    """Returns a list of lists of seeds, one a look."""

    def is_count(value, least):
        return type(value) is int and value >= least

    if isinstance(seeds, tuple) and len(seeds) == 2:
        first, most = seeds
        if is_count(first, 2) and is_count(most, first):
            counts = []
            while first < most:
                counts.append(first)
                first *= 2
            return [list(range(count)) for count in (*counts, most)]
    elif isinstance(seeds, list):
        if seeds and all(is_count(seed, 0) for seed in seeds):
            return [list(dict.fromkeys(seeds))]
    elif is_count(seeds, 1):
        return [list(range(seeds))]
    raise invalid(
        "seeds",
        "a positive integer, a list of integers or a tuple (first, most) "
        "with 2 <= first <= most",
        seeds,
    )


def metric_of(metric, model, batch):
    """Returns the name of the metric and "max" or "min", or raises."""
    better = None
    if isinstance(metric, (tuple, list)):
        if len(metric) != 2:
            raise invalid("metric", "a name, or (name, 'max' or 'min')", metric)
        metric, better = metric
        check_choice("metric", better, ("max", "min"))
    x, y, weight = batch
    there = model.test_on_batch(x, y, sample_weight=weight, return_dict=True)
    if metric is None:
        names = [name for name in there if direction_of(name) == "max"]
        metric = names[0] if len(names) == 1 else "loss"
    check_choice("metric", metric, tuple(there))
    better = better or direction_of(metric)
    if better is None:
        raise invalid(
            "metric",
            f"({metric!r}, 'max') or ({metric!r}, 'min'): the name does not "
            "say which is better",
            metric,
        )
    return metric, better


def call_of(function, positional, **named):
    """Returns the code that calls `compare` or `tune`, a string.

    `positional` are the model and the names of the data; of the other
    arguments those that are None are left out.
    """
    parts = [p if isinstance(p, str) else _code(p) for p in positional]
    parts += [
        f"{name}={_code(value)}"
        for name, value in named.items()
        if value is not None
    ]
    return f"keras_dropx.experiments.{function.__name__}({', '.join(parts)})"


def _code(thing):
    if isinstance(thing, dict):
        parts = (f"{key!r}: {_code(part)}" for key, part in thing.items())
        return f"{{{', '.join(parts)}}}"
    if isinstance(thing, (list, tuple)):
        text = ", ".join(map(_code, thing))
        return f"[{text}]" if isinstance(thing, list) else f"({text})"
    if thing is None or isinstance(thing, (bool, int, float, str)):
        return repr(thing)
    if isinstance(thing, keras.Model):
        return "model"
    return getattr(thing, "__name__", f"{type(thing).__name__}(…)")
