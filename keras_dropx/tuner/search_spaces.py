"""Search spaces: each declares its hyperparameters and returns a layer.

The names are stored in users' trials and never change. The default of a
hyperparameter is the middle of its range, on its scale: KerasTuner's own
default, the lower end, would start a rate at no dropout.
"""

import math

import keras_tuner

from keras_dropx import errors
from keras_dropx.layers import (
    GAAF,
    AugmentedDropout,
    BackwardDropout,
    ForwardDropout,
    Jumpout,
)

RATE = (0.0, 0.5)
BACKWARD_RATE = (1e-5, 1e-2)
SIGMA = (0.05, 0.5)
WIDTH = (0.5, 2.0)
METHODS = ("dropout", "forward", "backward", "augmented", "jumpout", "none")


def augmented_dropout(
    hp, name="dropout", rate=RATE, backward_rate=BACKWARD_RATE, **kwargs
):
    """Declares the rates of `AugmentedDropout` and returns the layer.

    `<name>_rate` is the forward drop rate; `<name>_backward_rate`, on a log
    scale, the extra ratio that is dropped in the backward pass only. Called
    again with the same name it returns another layer of the same values: the
    sites of a network share them.

    Args:
        hp: `keras_tuner.HyperParameters`.
        name: String, how the names of the hyperparameters begin.
        rate: Pair (low, high), 0 <= low < high < 1.
        backward_rate: Pair (low, high), 0 < low < high < 1.
        **kwargs: Further arguments of `AugmentedDropout`, such as `rescale`.

    Returns:
        `keras_dropx.layers.AugmentedDropout`.

    Raises:
        ValueError: If a range is empty, reversed or reaches 1.

    Example:

    >>> from keras_dropx.tuner import augmented_dropout
    >>> def build(hp):
    ...     return keras.Sequential([
    ...         keras.layers.Dense(64, activation="relu"),
    ...         augmented_dropout(hp),
    ...         keras.layers.Dense(10),
    ...     ])

    Reference:
        Gao, Pei, Huang, 2019: Demystifying Dropout, ICML.
    """
    _check(hp, name)
    rate = _check_range("rate", rate, below=1)
    backward_rate = _check_backward_rate(backward_rate)
    return AugmentedDropout(
        _linear(hp, f"{name}_rate", rate),
        _log(hp, f"{name}_backward_rate", backward_rate),
        **kwargs,
    )


def jumpout(hp, name="dropout", sigma=SIGMA, backward_rate=None, **kwargs):
    """Declares σ of `Jumpout` and returns the layer.

    `<name>_sigma` is the standard deviation of the half-normal rate; with a
    range for it, `<name>_backward_rate` is the extra ratio that is dropped in
    the backward pass only, on a log scale. Called again with the same name it
    returns another layer of the same values: in the paper σ is one number.

    Args:
        hp: `keras_tuner.HyperParameters`.
        name: String, how the names of the hyperparameters begin.
        sigma: Pair (low, high), 0 <= low < high.
        backward_rate: None, or pair (low, high), 0 < low < high < 1.
        **kwargs: Further arguments of `Jumpout`. Networks without batch
            normalisation want `rescale="mean"`.

    Returns:
        `keras_dropx.layers.Jumpout`.

    Raises:
        ValueError: If a range is empty, reversed or, of a rate, reaches 1.

    Reference:
        Wang, Zhou, Bilmes, 2019: Jumpout: Improved Dropout for Deep Neural
        Networks with ReLUs, ICML.
    """
    _check(hp, name)
    sigma = _check_range("sigma", sigma)
    if backward_rate is not None:
        backward_rate = _check_backward_rate(backward_rate)
        kwargs["backward_rate"] = _log(
            hp, f"{name}_backward_rate", backward_rate
        )
    return Jumpout(sigma=_linear(hp, f"{name}_sigma", sigma), **kwargs)


def gaaf(hp, activation, name="gaaf", width=WIDTH, **kwargs):
    """Declares the width of `GAAF`'s shape function and returns the layer.

    `<name>_width` rescales x inside s, on a log scale: s(x / width).

    Args:
        hp: `keras_tuner.HyperParameters`.
        activation: What `GAAF` takes.
        name: String, how the name of the hyperparameter begins.
        width: Pair (low, high), 0 < low < high.
        **kwargs: Further arguments of `GAAF`.

    Returns:
        `keras_dropx.layers.GAAF`.

    Raises:
        ValueError: If the range is empty, reversed or reaches 0.

    Reference:
        Hahn, Choi, 2018: Gradient Acceleration in Activation Functions,
        Eq. 7 and 8.
    """
    _check(hp, name)
    width = _check_range("width", width, above=0)
    return GAAF(activation, width=_log(hp, f"{name}_width", width), **kwargs)


def any_dropout(
    hp,
    name="dropout",
    methods=METHODS,
    rate=RATE,
    backward_rate=BACKWARD_RATE,
    sigma=SIGMA,
    rescale=None,
):
    """Declares the method and its hyperparameters and returns the layer.

    `<name>_method` is the choice; `<name>_rate` is there for "dropout",
    "forward", "backward" and "augmented", `<name>_backward_rate` for
    "augmented" and `<name>_sigma` for "jumpout"; "none" is no dropout and has
    none of them. A trial has those of its method only. With a single method
    there is no choice to declare.

    Args:
        hp: `keras_tuner.HyperParameters`.
        name: String, how the names of the hyperparameters begin.
        methods: Names out of "dropout", "forward", "backward", "augmented",
            "jumpout" and "none"; the first one is the default.
        rate: Pair (low, high), 0 <= low < high < 1.
        backward_rate: Pair (low, high), 0 < low < high < 1.
        sigma: Pair (low, high), 0 <= low < high.
        rescale: The `rescale` of the methods that mask forward. Defaults to
            each layer's own: "batchnorm" for Jumpout, "mean" for the others.

    Returns:
        A masking layer of `keras_dropx.layers`; for "none" one of rate 0.

    Raises:
        ValueError: If a method is unknown or named twice, or a range is
            empty, reversed or, of a rate, reaches 1.
    """
    _check(hp, name)
    methods = _check_methods(methods)
    rate = _check_range("rate", rate, below=1)
    backward_rate = _check_backward_rate(backward_rate)
    sigma = _check_range("sigma", sigma)
    options = {}
    if rescale is not None:
        options["rescale"] = errors.check_rescale("rescale", rescale)
    method = methods[0]
    if len(methods) > 1:
        method = hp.Choice(f"{name}_method", methods, default=methods[0])

    def declare(scale, key, limits, users):
        users = [user for user in users if user in methods]
        if len(methods) == 1:
            return scale(hp, f"{name}_{key}", limits) if users else None
        if users:
            with hp.conditional_scope(f"{name}_method", users):
                return scale(hp, f"{name}_{key}", limits)

    # One scope a name: KerasTuner's grid search stumbles over a name that is
    # declared under two conditions.
    values = {
        "rate": declare(
            _linear,
            "rate",
            rate,
            ("dropout", "forward", "backward", "augmented"),
        ),
        "backward_rate": declare(
            _log, "backward_rate", backward_rate, ("augmented",)
        ),
        "sigma": declare(_linear, "sigma", sigma, ("jumpout",)),
    }
    if method == "jumpout":
        return Jumpout(sigma=values["sigma"], **options)
    if method == "augmented":
        return AugmentedDropout(
            values["rate"], values["backward_rate"], **options
        )
    if method == "forward":
        return ForwardDropout(values["rate"], **options)
    if method == "backward":
        return BackwardDropout(values["rate"])
    rate = 0.0 if method == "none" else values["rate"]
    return AugmentedDropout(rate, **options)


def _linear(hp, name, limits):
    low, high = limits
    return hp.Float(name, low, high, default=(low + high) / 2)


def _log(hp, name, limits):
    low, high = limits
    middle = min(max(math.sqrt(low * high), low), high)
    return hp.Float(name, low, high, sampling="log", default=middle)


def _check(hp, name):
    if not isinstance(hp, keras_tuner.HyperParameters):
        raise errors.invalid("hp", "`keras_tuner.HyperParameters`", hp)
    check_name(name)


def check_name(name):
    """Raises if the names of hyperparameters cannot begin with `name`."""
    if not isinstance(name, str) or not name:
        raise errors.invalid("name", "a string that is not empty", name)


def _check_methods(methods):
    expected = f"distinct names out of {', '.join(map(repr, METHODS))}"
    if isinstance(methods, (str, bytes, dict)):
        raise errors.invalid("methods", expected, methods)
    try:
        names = tuple(methods)
    except (KeyError, TypeError):
        raise errors.invalid("methods", expected, methods) from None
    for name in names:
        errors.check_choice("methods", name, METHODS)
    if not names or len(set(names)) < len(names):
        raise errors.invalid("methods", expected, names)
    return names


def _check_backward_rate(limits):
    return _check_range("backward_rate", limits, above=0, below=1)


def _check_range(name, limits, above=None, below=math.inf):
    """Returns a pair of floats, or raises."""
    lowest = "0 <= low" if above is None else "0 < low"
    highest = "" if below == math.inf else f" < {below}"
    expected = f"a pair (low, high) with {lowest} < high{highest}"
    if isinstance(limits, (set, dict)):
        raise errors.invalid(name, expected, limits)
    try:
        low, high = (errors.check_not_negative(name, end) for end in limits)
    except (KeyError, TypeError, ValueError):
        raise errors.invalid(name, expected, limits) from None
    if not low < high < below or low == above:
        raise errors.invalid(name, expected, limits)
    return low, high
