"""What `compare` costs over the plain `fit`s of the same models."""

import statistics
import time

import keras
import numpy as np

from benchmarks import device
from keras_dropx.experiments import compare
from keras_dropx.layers import AugmentedDropout

SCHEMA = 1
SEEDS, EPOCHS, BATCH = 5, 10, 32
TRAINED, TESTED = 1024, 256
# What `compare` trains: each with a model of its own, compiled once.
METHODS = {
    "none": lambda rate: keras.layers.Dropout(0.0),
    "dropout": AugmentedDropout,
    "other masks": AugmentedDropout,
}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def measure(rounds=5):
    """Times `compare` and plain `fit`s in turns.

    The first fit of a model compiles; what it takes longer than the others is
    the one compilation a method. The ratio is that of the rest of `compare`,
    with all it does besides, to as many fits of a compiled model.

    Returns:
        Dict, as JSON takes it.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=(TRAINED + TESTED, 30)).astype("float32")
    y = (x @ rng.normal(size=30) > 0).astype("int32")
    train = x[:TRAINED], y[:TRAINED]
    test = x[TRAINED:], y[TRAINED:]
    _compared(train, test), _plain(train)  # What is done once a process.
    records = []
    for number in range(rounds):
        found = {}
        for name in ("compare", "plain")[:: -1 if number % 2 else 1]:
            found[name] = (
                _compared(train, test) if name == "compare" else _plain(train)
            )
        record = {}
        for clock in CLOCKS:
            plain = found["plain"][clock]
            record[clock] = {
                "compare": found["compare"][clock],
                **plain,
                "ratio": (found["compare"][clock] - plain["compile"])
                / plain["fits"],
            }
        records.append(record)
        print(record, flush=True)
    return {
        "schema": SCHEMA,
        "part": "cost",
        "machine": device.describe(),
        "methods": len(METHODS),
        "seeds": SEEDS,
        "epochs": EPOCHS,
        "batch_size": BATCH,
        "samples": TRAINED,
        "rounds": records,
        "ratios": {
            clock: quartiles([record[clock]["ratio"] for record in records])
            for clock in CLOCKS
        },
    }


def quartiles(values):
    """Returns the median and the quartiles, as the other results have them."""
    lower, median, upper = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return {
        "median": median,
        "quartiles": [lower, upper],
        "rounds": len(values),
    }


def build(dropout):
    """Returns a compiled network of 30 inputs."""
    model = keras.Sequential(
        [
            keras.Input((30,)),
            keras.layers.Dense(64, activation="relu"),
            dropout(0.5),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def _compared(train, test):
    before = _now()
    compare(
        build,
        train,
        test,
        ["none", "dropout"],
        seeds=SEEDS,
        epochs=EPOCHS,
        batch_size=BATCH,
        verbose=0,
    )
    return _since(before)


def _plain(train):
    """Times SEEDS fits of a model a method, and what compiles it."""
    fits = {clock: [] for clock in CLOCKS}
    compiled = dict.fromkeys(CLOCKS, 0.0)
    for method in METHODS.values():
        before = _now()
        model = build(method)
        built = _since(before)
        taken = [_fit(model, train, seed) for seed in range(SEEDS)]
        for clock in CLOCKS:
            first, *others = (one[clock] for one in taken)
            median = statistics.median(others)
            compiled[clock] += built[clock] + first - median
            fits[clock] += [median, *others]
    return {
        clock: {"fits": sum(fits[clock]), "compile": compiled[clock]}
        for clock in CLOCKS
    }


def _fit(model, train, seed):
    before = _now()
    keras.utils.set_random_seed(seed)
    model.fit(*train, epochs=EPOCHS, batch_size=BATCH, verbose=0)
    return _since(before)


def _now():
    return {name: clock() for name, clock in CLOCKS.items()}


def _since(before):
    return {name: clock() - before[name] for name, clock in CLOCKS.items()}
