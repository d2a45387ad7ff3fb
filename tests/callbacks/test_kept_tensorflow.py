"""What the callbacks leave behind in TensorFlow, training after training."""

import gc

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.python.framework import ops as registered

from keras_dropx.callbacks import (
    ActiveFraction,
    GradientInformation,
    MomentDrift,
    NetDistribution,
    NetVariance,
    ReestimateBatchNorm,
    UnitCorrelation,
)
from keras_dropx.layers import GAAF, AugmentedDropout, Jumpout

RNG = np.random.default_rng(0)
X = RNG.normal(size=(16, 6)).astype("float32")
Y = RNG.normal(size=(16, 3))


def network(*norms):
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(4, activation=GAAF("tanh"), name="first"),
            AugmentedDropout(0.5, 0.1),
            *norms,
            layers.Dense(4, activation="relu", name="second"),
            Jumpout(0.2),
            layers.Dense(3, name="top"),
        ]
    )
    model.compile("sgd", "mse")
    return model


def callbacks():
    return [
        NetVariance(X, samples=2),
        NetDistribution(X),
        UnitCorrelation(X),
        ActiveFraction(X, samples=2),
        MomentDrift(X, samples=2),
    ]


def left():
    gc.collect()
    return (
        len(registered.gradient_registry._registry),
        sum(type(x) is tf.Graph for x in gc.get_objects()),
        len(gc.get_objects()),
    )


@pytest.mark.full
def test_every_further_training_leaves_nothing():
    model = network()
    counts = []
    for _ in range(4):
        for form in (GradientInformation(), GradientInformation((X, Y))):
            model.fit(X, Y, callbacks=[*callbacks(), form], verbose=0)
        counts.append(left())
    assert counts[1][0] == counts[0][0]  # already the second
    assert counts[3][:2] == counts[2][:2]
    assert counts[3][2] - counts[2][2] < 50


@pytest.mark.alone
@pytest.mark.full
def test_200_trainings_take_less_than_20_mb():
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096 / 2**20

    model = network(layers.BatchNormalization())
    for number in range(200):
        form = (GradientInformation(), GradientInformation((X, Y)))[number % 2]
        norm = ReestimateBatchNorm(X)
        model.fit(
            *(X, Y),
            validation_data=(X, Y),
            callbacks=[*callbacks(), form, norm],
            verbose=0,
        )
        if number == 9:
            before = left()[0], resident()
    assert left()[0] == before[0]
    assert resident() - before[1] < 20


def test_a_changed_rate_is_seen_once_the_model_is_compiled_anew():
    """The usual recipe, to which what is kept gives way."""
    model = network()
    callback = NetVariance(X, samples=8)
    model.fit(X, Y, callbacks=[callback], verbose=0)
    assert callback.results["net_variance/second"][0] > 0
    model.layers[1].rate = 0.0
    model.compile("sgd", "mse")
    model.fit(X, Y, callbacks=[callback], verbose=0)
    assert callback.results["net_variance/second"][0] == 0


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", [NetVariance, GradientInformation])
def test_a_writer_and_taps_of_a_training_that_failed_are_closed(kind, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    model = network()
    callback = kind(
        log_dir=tmp_path, **({"x": X} if kind is NetVariance else {})
    )
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, callbacks=[callback, Stop()], verbose=0)
    writer = callback._writer
    model.compile("sgd", "mse")
    model.fit(X, Y, callbacks=[callback], verbose=0)
    assert callback._writer is None and writer._closed
    for part in (model, model.optimizer, *model.layers):
        assert not set(vars(part)) & {"call", "apply", "train_step"}


def test_a_callback_that_is_refused_leaves_the_others_nothing_to_mend():
    model = network()
    wrong = NetVariance(X[:, :2])
    with pytest.raises(ValueError, match="Expected a probe batch"):
        model.fit(X, Y, callbacks=[GradientInformation(), wrong], verbose=0)
    model.fit(X, Y, callbacks=[GradientInformation()], verbose=0)
    for part in (model, model.optimizer, *model.layers):
        assert not set(vars(part)) & {"call", "apply", "train_step"}
