"""The batch that a callback measures on, as the model sees it in `fit`."""

import inspect

import keras
import numpy as np
from keras import ops
from keras.utils import pack_x_y_sample_weight, unpack_x_y_sample_weight

from keras_dropx.callbacks import probe
from keras_dropx.callbacks.reading import is_dataset, read
from keras_dropx.callbacks.taps import rerouted


def inputs_of_fit(model, x):
    """Returns the inputs that the model is called with when `fit` gets x.

    Args:
        model: Compiled `keras.Model`.
        x: Inputs as `predict` takes them, or a dataset of (x, y).

    Returns:
        Structure of NumPy arrays, all batches in one.

    Raises:
        ValueError: If that cannot be known.
    """
    x, y, weights = _preprocessed(model, "x", x, None, None)
    if type(model).train_step is keras.Model.train_step:
        return x
    given = [pack_x_y_sample_weight(x, y, weights)]
    for data in _with_labels(model, x) if y is None else given:
        seen = _seen_by_train_step(model, data, labels=False)
        if seen is not None:
            return seen[0]
    raise ValueError(
        f"{type(model).__name__} has its own `train_step`, which could not be "
        "followed to its call of the model, so that the inputs it makes of "
        "`x` are not known. Pass as `x` a dataset of (x, y), and call the "
        "model, `self(…)`, in the step."
    )


def _with_labels(model, x):
    """Yields what a training step may take that is to show its inputs only.

    Labels do not matter to them, but it may unpack and convert them.
    """
    yield x, None
    try:
        mapping = [(v, v.value) for v in model.variables]
        with keras.StatelessScope(mapping):
            outputs = model(keras.tree.map_structure(_tensor, x))
    except Exception:  # not of the form that the model takes
        pass
    else:
        yield x, keras.tree.map_structure(ops.zeros_like, outputs)
    yield x, np.zeros(len(keras.tree.flatten(x)[0]), "int32")
    yield x


def data_of_fit(model, data):
    """Returns (x, y, sample_weight) that the loss sees when `fit` gets data.

    Args:
        model: Compiled `keras.Model`.
        data: Tuple (x, y) or (x, y, sample_weight), or a dataset of such.

    Returns:
        Structures of NumPy arrays, all batches in one; None what is not there.

    Raises:
        ValueError: If that cannot be known.
    """
    parts = (data, None, None) if is_dataset(data) else (*data, None)[:3]
    data = _preprocessed(model, "data", *parts)
    if type(model).train_step is keras.Model.train_step:
        return data
    data = pack_x_y_sample_weight(*data)
    seen = _seen_by_train_step(model, data, labels=True)
    if seen is None:
        raise ValueError(
            f"{type(model).__name__} has its own `train_step`, which could not "
            "be followed to its call of `compute_loss`, so that the inputs, "
            "labels and loss it makes of `data` are not known. Call "
            "`self(…)` and `self.compute_loss(…)` in the step, or leave "
            "`data` out for the batch form."
        )
    return seen


def _preprocessed(model, name, x, y, weights):
    """What `fit` hands to the training step, all batches in one."""
    if hasattr(model, "preprocess_samples"):  # as KerasHub's tasks
        if is_dataset(x):
            x, y, weights = read(name, x)
        given = [part for part in (x, y, weights) if part is not None]
        data = model.preprocess_samples(*given)
        return tuple(
            part if part is None else read(name, part)[0]
            for part in unpack_x_y_sample_weight(data)
        )
    if type(model).fit is not keras.Model.fit:
        raise ValueError(
            f"{type(model).__name__} has its own `fit`, and what it makes of "
            f"`{name}` is not known. Give the class a method "
            "`preprocess_samples(x, y=None, sample_weight=None)` that returns "
            "what `fit` trains on, or do it in `train_step`."
        )
    if is_dataset(x):
        return read(name, x)
    return tuple(
        part if part is None else read(name, part)[0]
        for part in (x, y, weights)
    )


class _Seen(BaseException):
    """Ends a training step once all is seen; no `except Exception` stops it."""


def _seen_by_train_step(model, data, labels):
    """Follows a model's own training step up to its loss, and no further.

    Returns:
        (x, y, sample_weight) of which the last two are None without `labels`;
        None if the step did not come that far.
    """
    seen = []

    def see_inputs(call):
        def seen_call(*args, **kwargs):
            inputs = next(iter((*args, *kwargs.values())))
            seen.append(keras.tree.map_structure(_array, inputs))
            if not labels:
                raise _Seen
            return call(*args, **kwargs)

        return seen_call

    signature = inspect.signature(model.compute_loss)

    def see_labels(compute_loss):
        def seen_loss(*args, **kwargs):
            given = signature.bind(*args, **kwargs).arguments
            parts = [given.get(name) for name in ("y", "sample_weight")]
            seen.append(keras.tree.map_structure(_array, tuple(parts)))
            raise _Seen

        return seen_loss

    def stop(apply):
        def stopped(*args, **kwargs):
            raise _Seen

        return stopped

    tensors = keras.tree.map_structure(_tensor, data)
    arguments = (tensors,)
    if probe.BACKEND == "jax":
        state = [
            [v.value for v in variables]
            for variables in (
                model.trainable_variables,
                model.non_trainable_variables,
                model.optimizer.variables,
                model.metrics_variables,
            )
        ]
        arguments = (tuple(state), tensors)
    mapping = [(v, v.value) for v in model.variables]
    try:
        with (
            rerouted(model, "call", see_inputs),
            rerouted(model, "compute_loss", see_labels),
            rerouted(model.optimizer, "apply", stop),
            keras.StatelessScope(mapping, collect_losses=True),
        ):
            model.train_step(*arguments)
    except (_Seen, Exception):  # whatever a step without labels stumbles at
        pass
    # One call of the model, then its loss.
    if len(seen) != 1 + labels or _has_none(seen[0]):
        return None
    return (seen[0], *seen[1]) if labels else (seen[0], None, None)


def _has_none(structure):
    return any(leaf is None for leaf in keras.tree.flatten(structure))


def _array(value):
    return value if value is None else probe.to_numpy(value)


def _tensor(value):
    return value if value is None else ops.convert_to_tensor(value)


def check_lengths(x, y):
    """Returns the length of a probe batch.

    Raises:
        ValueError: If there are not as many labels as inputs.
    """
    sizes = {len(np.asarray(part)) for part in keras.tree.flatten((x, y))}
    if len(sizes) != 1:
        raise ValueError(
            "Expected as many labels as inputs in the probe batch. "
            f"Received: batches of {sorted(sizes)}"
        )
    return sizes.pop()
