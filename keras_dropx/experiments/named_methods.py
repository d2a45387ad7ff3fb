"""The methods that `compare` knows by name, as functions of a site's rate."""

import keras

from keras_dropx.errors import check_choice, invalid
from keras_dropx.experiments.baselines.gain_matched import gaaf_control
from keras_dropx.experiments.baselines.mean_rate import sigma_of
from keras_dropx.layers import (
    GAAF,
    AugmentedDropout,
    BackwardDropout,
    ForwardDropout,
    Jumpout,
)

BACKWARD_RATE = 1e-4


def without(rate):
    """Returns a layer that drops nothing, whatever the rate."""
    return keras.layers.Dropout(0.0)


# The exponent of (1 - p′) is dropout's own, so that the two differ in p alone.
DROPOUT = {
    "none": without,
    "dropout": AugmentedDropout,
    "augmented": lambda rate: AugmentedDropout(rate, BACKWARD_RATE),
    "forward": ForwardDropout,
    "backward": BackwardDropout,
    "jumpout": lambda rate: Jumpout(sigma_of(rate), rescale="mean"),
    "batchnorm": lambda rate: AugmentedDropout(rate, rescale="batchnorm"),
    "gaaf": without,
    "gain": without,
}
ACTIVATION = {"gaaf": GAAF, "gain": gaaf_control}
# Fixed before anything runs; a method of the user's is compared with dropout.
CONTROLS = {
    "dropout": "none",
    "forward": "dropout",
    "backward": "none",
    "augmented": "dropout",
    "batchnorm": "dropout",
    "jumpout": "dropout",
    "gaaf": "gain",
}
OTHER_MASKS = "remasked"
OURS = ("none", "dropout", OTHER_MASKS, "")  # not for a user's own methods


def masking_layer(function, rate):
    """Returns the layer of a site; where the rate is 0, one that drops none."""
    return without(rate) if rate == 0 else function(rate)


def chosen(methods, subject):
    """Returns a dict from the names of methods to functions of a rate.

    The control of a method that is named is among them, and dropout. `methods`
    are as in `compare`.

    Raises:
        ValueError: If `methods` is no such thing, or does not fit the model.
    """
    known = DROPOUT
    if methods is None:
        functions = {n: known[n] for n in known if _fits(n, subject)}
    elif isinstance(methods, dict):
        for name, function in methods.items():
            if not isinstance(name, str) or name in OURS:
                raise invalid("methods", "names of your own", name)
            if not callable(function):
                raise invalid("methods", "functions of a rate", function)
        functions = dict(methods)
    else:
        if isinstance(methods, str):
            methods = [methods]
        for name in methods:
            check_choice("methods", name, known)
        functions = {name: known[name] for name in methods}
        if subject.activations == [] and set(functions) & {"gaaf", "gain"}:
            raise invalid(
                "methods",
                "no 'gaaf' and no 'gain' unless `model` is a function "
                "build(dropout, activation) that calls `activation`",
                list(methods),
            )
    added = ["dropout"] if any(subject.rates) else []
    added += [CONTROLS[name] for name in functions if name in CONTROLS]
    for name in added:
        functions.setdefault(name, known[name])
    # The control of each comes first, so that it is read first.
    order = [name for name in known if name in functions]
    order += [name for name in functions if name not in known]
    return {name: functions[name] for name in order}


def _fits(name, subject):
    """Returns whether a method by name fits a model."""
    if name in ACTIVATION:
        try:
            return bool([GAAF(name) for name in subject.activations])
        except ValueError:  # It does not accelerate one of them.
            return False
    if name == "none":
        return True
    if name == "batchnorm" and not subject.has_batch_norm:
        return False
    if name == "jumpout":
        try:
            [sigma_of(rate) for rate in subject.rates if rate]
        except ValueError:  # No σ has one of these means.
            return False
    return any(subject.rates)
