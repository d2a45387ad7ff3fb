"""The random state goes with the weights."""

import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_dropx.layers import AugmentedDropout, Jumpout

TRAIN = """
import os, signal, sys
import keras, numpy as np
from keras_dropx.layers import AugmentedDropout, Jumpout

kind, folder, result, kill = sys.argv[1:]
keras.utils.set_random_seed(0)
schedule = keras.optimizers.schedules.PolynomialDecay(0.6, 30, 0.1)
# One seed per layer and none fixed: the resumed process would draw others.
hidden = [
    keras.layers.Dense(16, activation="relu"),
    AugmentedDropout(schedule, backward_rate=0.1),
    keras.layers.Dense(16, activation="relu"),
    Jumpout(sigma=0.3, rescale="mean"),
]
if kind == "sequential":
    hidden.append(keras.layers.Dense(1))
    model = keras.Sequential([keras.Input((5,)), *hidden])
else:
    inner = keras.Sequential([keras.Input((5,)), *hidden])
    inputs = keras.Input((5,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inner(inputs)))
model.compile("adam", "mse")

class Kill(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == int(kill):
            os.kill(os.getpid(), signal.SIGKILL)

rng = np.random.default_rng(0)
x, y = rng.normal(size=(40, 5)), rng.normal(size=(40, 1))
backup = keras.callbacks.BackupAndRestore(folder, save_freq="epoch")
model.fit(
    x, y, batch_size=8, epochs=6, shuffle=False, verbose=0,
    callbacks=[backup, Kill()],
)
values = [keras.ops.convert_to_numpy(v) for v in model.variables]
np.savez(result, *values)
"""


def train(kind, folder, result, kill):
    command = [sys.executable, "-c", TRAIN, kind, folder, result, str(kill)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["sequential", "nested"])
def test_a_killed_fit_resumes_to_the_same_bits(kind, tmp_path):
    """Five steps an epoch; the kill is in the middle of the fourth epoch."""
    whole, resumed = tmp_path / "whole.npz", tmp_path / "resumed.npz"
    done = train(kind, tmp_path / "a", whole, 0)
    assert done.returncode == 0, done.stderr[-2000:]
    killed = train(kind, tmp_path / "b", resumed, 18)
    assert killed.returncode == -signal.SIGKILL
    assert not resumed.exists()
    done = train(kind, tmp_path / "b", resumed, 0)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(whole) as expected, np.load(resumed) as found:
        assert expected.files == found.files and len(expected.files) >= 8
        for name in expected.files:
            np.testing.assert_array_equal(expected[name], found[name])


def network(layer):
    return keras.Sequential([keras.Input((50,)), keras.layers.Dense(50), layer])


@pytest.mark.parametrize("suffix", ["model.keras", "model.weights.h5"])
@pytest.mark.parametrize(
    "make", [lambda: AugmentedDropout(0.5), lambda: Jumpout(sigma=0.2)]
)
def test_a_loaded_model_goes_on_with_the_stream(suffix, make, tmp_path):
    path, x = tmp_path / suffix, np.ones((4, 50), "float32")
    model = network(make())
    model(x, training=True)
    if suffix == "model.keras":
        model.save(path)
        copy = keras.models.load_model(path)
    else:
        model.save_weights(path)
        copy = network(make())
        copy.load_weights(path)
    for _ in range(2):
        expected, found = (
            keras.ops.convert_to_numpy(network(x, training=True))
            for network in (model, copy)
        )
        np.testing.assert_array_equal(expected, found)


class Wrapper(keras.Model):
    """Reaches its dropout by an attribute, under one path in the file."""

    def __init__(self, dropout):
        super().__init__()
        self.dense = keras.layers.Dense(3)
        self.dropout = dropout

    def call(self, inputs):
        return self.dropout(self.dense(inputs))


@pytest.mark.parametrize("wrap", [network, Wrapper])
def test_weights_go_to_and_from_models_with_keras_dropout(wrap, tmp_path):
    x = np.ones((2, 50), "float32")
    path = tmp_path / "a.weights.h5"
    for first, second in (
        (keras.layers.Dropout(0.5), AugmentedDropout(0.5)),
        (AugmentedDropout(0.5), keras.layers.Dropout(0.5)),
    ):
        source, target = wrap(first), wrap(second)
        source(x), target(x)
        source.save_weights(path)
        target.load_weights(path)
        np.testing.assert_array_equal(source.predict(x), target.predict(x))


def test_random_state_adds_no_weight():
    layer = AugmentedDropout(0.5)
    assert layer.weights == [] and layer.count_params() == 0
    assert len(layer.variables) == 1
