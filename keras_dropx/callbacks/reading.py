"""Data of any kind that Keras takes, read into one batch of arrays."""

import inspect
import numbers

import keras
import numpy as np
from keras import ops
from keras.utils import unpack_x_y_sample_weight

from keras_dropx import errors
from keras_dropx.models.arguments import unreadable


def is_dataset(value):
    """Whether a value yields batches: tf.data, PyDataset, DataLoader, …."""
    if isinstance(value, keras.utils.PyDataset):
        return True
    plain = (str, bytes, list, tuple, dict)
    return (
        hasattr(value, "__iter__")
        and not isinstance(value, plain)
        and not inspect.isgenerator(value)
        and not hasattr(value, "shape")
    )


def check(name, value, expected="inputs as `model.predict` takes them"):
    """Refuses, when a callback is made, what can be no batch.

    Raises:
        ValueError: If it is none, empty, or can be read only once.
    """
    if hasattr(value, "__next__"):
        raise ValueError(
            f"Invalid value received for argument `{name}`. Expected "
            f"{expected}, that can be read more than once. Received: a "
            f"{type(value).__name__}"
        )
    leaves = keras.tree.flatten(value)
    if isinstance(value, (str, bytes)) or not leaves:
        raise errors.invalid(name, expected, value)
    for leaf in leaves:
        if leaf is None or isinstance(leaf, numbers.Number):
            raise errors.invalid(name, expected, leaf)
        try:
            shape = tuple(leaf.shape)
        except (AttributeError, ValueError, TypeError):
            if isinstance(leaf, str) or is_dataset(leaf):
                continue
            raise errors.invalid(name, expected, leaf) from None
        if not shape or shape[0] == 0:
            raise ValueError(
                f"Invalid value received for argument `{name}`. Expected "
                f"{expected}, with at least one sample. Received: an array of "
                f"shape {shape}"
            )


def read(name, data):
    """Reads data by Keras' own adapters into (x, y, sample_weight)."""
    endless = isinstance(data, keras.utils.PyDataset) and (
        data.num_batches is None
    )
    if hasattr(data, "cardinality"):  # tf.data: -1 is without end
        endless = int(data.cardinality()) == -1
    if endless:
        raise errors.invalid(
            name, "a dataset that ends, such as `dataset.take(1)`", data
        )
    size = None
    if not is_dataset(data):
        lengths = {
            leaf.shape[0] if hasattr(leaf, "shape") else len(leaf)
            for leaf in keras.tree.flatten(data)
        }
        if len(lengths) > 1:
            raise ValueError(
                f"Invalid value received for argument `{name}`. Expected "
                f"arrays of one length. Received: lengths {sorted(lengths)}"
            )
        size = lengths.pop()
        if _plain(data):
            return keras.tree.map_structure(_standard, data), None, None
    reader = _Reader(name="reader")
    reader.run_eagerly = True
    try:
        found = reader.predict(data, batch_size=size, verbose=0)
    except Exception as error:
        raise unreadable(name, data, error) from error
    return tuple(found.get(part) for part in ("x", "y", "weights"))


def _plain(data):
    """Whether there is nothing for an adapter to do: numbers in arrays."""
    return all(
        type(leaf) is np.ndarray and leaf.dtype.kind in "biuf"
        for leaf in keras.tree.flatten(data)
    )


def _standard(array):
    """An array as Keras' adapter for arrays hands it on."""
    if array.dtype.kind != "f":
        return array
    return array.astype(keras.config.floatx(), copy=False)


class _Reader(keras.Model):
    """A model that predicts what it is given, labels too, in dense arrays."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.built = True

    def call(self, inputs):
        return inputs

    def predict_step(self, *arguments):
        *state, data = arguments  # JAX hands its variables round
        parts = zip(
            ("x", "y", "weights"), unpack_x_y_sample_weight(data), strict=True
        )
        found = {
            name: keras.tree.map_structure(_dense, part)
            for name, part in parts
            if part is not None
        }
        return (found, state[0][1]) if state else found


def _dense(value):
    return ops.convert_to_tensor(value, sparse=False)
