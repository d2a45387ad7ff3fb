"""Whatever a search space is given: hyperparameters, or one sentence."""

import decimal
import inspect
import re

import keras_tuner
import numpy as np
import pytest

from keras_dropx import tuner

HP = keras_tuner.HyperParameters()
VALUES = [
    None,
    True,
    "",
    "ab",
    [],
    (0.1, 0.4),
    (0.4, 0.1),
    (0.1, 0.4, 0.5),
    ("a", "b"),
    [True, False],
    {},
    {"a": 1, "b": 2},
    {0.1, 0.4},
    -1,
    0.5,
    10**5000,
    (0.1, 10**400),
    (0.1, float("inf")),
    (0.1, 1j),
    (np.float32(0.1), np.float32(0.4)),
    np.array([0.1, 0.4]),
    np.array(0.5),
    (decimal.Decimal("0.1"), 0.4),
    b"mean",
    object(),
    abs,
    dict,
    HP,
    keras_tuner.engine.hyperparameters.Float("x", 0.1, 0.4),
    keras_tuner.engine.hyperparameters.Fixed("x", 0.1),
    ("jumpout", None),
    ("jumpout", ["none"]),
]
SPACES = {
    tuner.augmented_dropout: {},
    tuner.jumpout: {},
    tuner.any_dropout: {},
    tuner.gaaf: {"activation": "tanh"},
    tuner.DropoutHyperModel: {"build": lambda dropout: None},
}


@pytest.mark.parametrize(
    "space, argument",
    [
        (space, name)
        for space in SPACES
        for name in (
            *inspect.signature(space).parameters,
            *("rate", "sigma", "rescale", "methods")[
                : 4 * (space is tuner.DropoutHyperModel)
            ],
        )
        if name != "kwargs"
    ],
)
def test_it_works_or_says_what_was_wrong(space, argument):
    refused = 0
    for value in VALUES:
        given = {**SPACES[space], argument: value}
        if space is not tuner.DropoutHyperModel:
            given = {"hp": keras_tuner.HyperParameters(), **given}
        try:
            space(**given)
        except ValueError as error:
            refused += 1
            message = str(error)
            assert re.search(rf"\b{argument}\b", message), message
            assert "\n" not in message and len(message) < 700, message
    assert refused > 2
