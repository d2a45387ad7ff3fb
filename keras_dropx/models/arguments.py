"""Checks of the arguments that several functions of models share."""

import inspect
import numbers
import random

import keras

from keras_dropx import errors

_LARGEST = 2**31 - 1


def check_integer(name, value, expected="a positive integer", lowest=1):
    """Returns a whole number as an int, or raises.

    Args:
        name: String, the argument's name.
        value: The value that came; NumPy's integers are taken.
        expected: String, what to say was expected.
        lowest: The smallest that is allowed; the largest is 2^31 - 1.
    """
    if (
        not isinstance(value, numbers.Integral)
        or isinstance(value, bool)
        or not lowest <= value <= _LARGEST
    ):
        raise errors.invalid(name, expected, value)
    return int(value)


def check_seed(seed):
    """Returns a seed, one that Keras draws for None, or raises."""
    if seed is None:
        # As Keras draws it, but without a variable, of which something stays.
        return random.randint(1, 10**9)
    return check_integer("seed", seed, "an integer from 0 to 2^31 - 1", 0)


def check_model(model):
    """Raises if there is no built model to look into."""
    if not isinstance(model, keras.Model):
        raise errors.invalid("model", "a `keras.Model`", model)
    if not model.built:
        raise ValueError(
            "Expected a built model: call it on a batch first, so that it has "
            f"its layers and weights. Received: model {model.name!r}"
        )


def check_inputs(model, x, steps=None, once=False):
    """Raises if `x` cannot be what `model.predict` reads.

    What a model takes whose class has a `predict` of its own is for that to
    say.

    Args:
        model: `keras.Model`.
        x: The data.
        steps: How many batches of it are read, or None for all.
        once: Whether it is read once only, so that a generator will do.
    """
    again = "" if once else ", which can be read again"
    taken = once and inspect.isgenerator(x)
    if x is None or (hasattr(x, "__next__") and not taken):
        raise errors.invalid(
            "x", f"arrays, a PyDataset or a tf.data.Dataset{again}", x
        )
    endless = hasattr(x, "num_batches") and x.num_batches is None
    if hasattr(x, "element_spec") and hasattr(x, "cardinality"):
        endless = int(x.cardinality()) == -1  # tf.data.INFINITE_CARDINALITY
    if endless and steps is None:
        raise ValueError(
            "Invalid value received for argument `x`. Expected data that "
            "ends, or a number of `steps` where the function takes one. "
            f"Received: x={x!r}, which is endless"
        )
    arrays = [] if _is_data(x) else keras.tree.flatten(x)
    if not _is_data(x) and not arrays:
        raise errors.invalid("x", "arrays, at least one", x)
    if type(model).predict is not keras.Model.predict:
        return
    for array in arrays:
        if not hasattr(array, "shape") or len(array.shape) == 0:
            raise errors.invalid(
                "x",
                "arrays, a PyDataset or a tf.data.Dataset, the samples along "
                "the first axis",
                array,
            )
    sizes = {array.shape[0] for array in arrays}
    if len(sizes) > 1:
        raise errors.invalid(
            "x", f"arrays of one length, not of {sorted(sizes)}", type(x)
        )
    if sizes == {0}:
        raise errors.invalid("x", "at least one sample", type(x))


def unreadable(name, data, error):
    """Returns the `ValueError` for data that Keras' adapters cannot read.

    Args:
        name: String, the argument's name.
        data: Its value.
        error: What Keras raised before it had a batch.
    """
    if isinstance(error, UnboundLocalError):  # from data without a batch
        return errors.invalid(name, "at least one sample", type(data))
    return ValueError(
        f"Invalid value received for argument `{name}`. Expected what "
        f"`model.predict` takes. Received: {type(data).__name__}, of which "
        f"Keras says: {errors.shown(error, str)}"
    )


def unwrapped(x):
    """The one input in a list of one, as Keras' models take it."""
    if isinstance(x, (list, tuple)) and len(x) == 1 and hasattr(x[0], "shape"):
        return x[0]
    return x


def _is_data(x):
    """Whether `x` gives batches, in place of arrays."""
    return isinstance(x, keras.utils.PyDataset) or (
        not hasattr(x, "shape") and hasattr(x, "__iter__") and not _nests(x)
    )


def _nests(x):
    return isinstance(x, (list, tuple, dict, str, bytes))
