"""False alarms of real comparisons: a method with itself under other masks.

A small network on little data, so that 100 comparisons take minutes. On JAX
they take a fifth of TensorFlow's time, with its cache of compiled programs:
`KERAS_BACKEND=jax JAX_COMPILATION_CACHE_DIR=cache
JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0`.
"""

import json
from pathlib import Path

import keras
import numpy as np

from benchmarks import device
from keras_dropx.experiments import compare
from keras_dropx.experiments.files import write_atomically
from keras_dropx.layers import AugmentedDropout

SCHEMA = 1
KINDS = {"5 seeds": 5, "3 to 12 seeds": (3, 12)}
METHOD = "itself"
TRAINED, TESTED = 64, 512


class OtherMasks(AugmentedDropout):
    """The same method, whose masks are others under each seed."""

    def next_seed(self):
        word, step = keras.ops.unstack(super().next_seed())
        return keras.ops.stack([word + 1, step])


def measure(output, count):
    """Runs what is missing of `count` comparisons of each kind.

    Args:
        output: Path of the JSON file, which is written after each and from
            which an interrupted measurement goes on.
        count: Integer.

    Returns:
        Dict, as it is written.
    """
    output = Path(output)
    result = {"schema": SCHEMA, "part": "real", "machine": device.describe()}
    result["comparisons"] = []
    if output.exists():
        result = json.loads(output.read_text())
    done = {(one["kind"], one["number"]) for one in result["comparisons"]}
    for number in range(count):
        for kind in KINDS:
            if (kind, number) not in done:
                result["comparisons"].append(against_itself(kind, number))
                write_atomically(output, json.dumps(result, indent=1) + "\n")
                keras.utils.clear_session(free_memory=False)
    return result


def build(dropout):
    """Returns a small compiled network."""
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(16, activation="relu"),
            dropout(0.5),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(0.05),
        "binary_crossentropy",
        metrics=["accuracy"],
    )
    return model


def data_of(number):
    """Draws the training and the test data of one comparison."""
    rng = np.random.default_rng(number)
    x = rng.normal(size=(TRAINED + TESTED, 8)).astype("float32")
    noise = rng.normal(size=len(x))
    y = (x @ rng.normal(size=8) + noise > 0).astype("int32")
    return (x[:TRAINED], y[:TRAINED]), (x[TRAINED:], y[TRAINED:])


def against_itself(kind, number):
    """Compares dropout with itself under other masks.

    Args:
        kind: Key of `KINDS`.
        number: Integer, which data.

    Returns:
        Dict: the paired differences, in accuracy, the number of looks among
        which the level is split, and the interval.
    """
    train, test = data_of(number)
    result = compare(
        build,
        train,
        test,
        {METHOD: OtherMasks},
        seeds=KINDS[kind],
        epochs=3,
        batch_size=TRAINED,
        verbose=0,
    )
    (contrast,) = result.contrasts
    return {
        "kind": kind,
        "number": number,
        "differences": [
            float(value) for value in result.differences(METHOD, "dropout")
        ],
        "looks": result.looks,
        "interval": [contrast["low"], contrast["high"]],
    }
