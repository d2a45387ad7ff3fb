"""A model that is called elsewhere while callbacks measure it."""

import threading

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_dropx.callbacks import (
    ActiveFraction,
    GradientInformation,
    NetVariance,
    taps,
)

BACKEND = keras.config.backend()
X = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")


def network():
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, activation="tanh", name="first"),
            layers.Dropout(0.5),
            layers.Dense(3, activation="softmax", name="top"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
    return model


def in_another_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.backends
def test_a_tap_is_of_its_own_thread():
    model = network()
    seen = []

    def tap(h, z):
        seen.append(h)
        return z + 1

    quiet = ops.convert_to_numpy(model(X))
    with (
        taps.tapped(model.layers[0], tap),
        taps.in_training(model.layers[1]),
        taps.without_activation(model.layers[2]),
    ):
        other = in_another_thread(lambda: ops.convert_to_numpy(model(X)))
        assert not seen
        here = ops.convert_to_numpy(model(X))
    np.testing.assert_array_equal(other, quiet)
    assert len(seen) == 1 and not np.allclose(here, quiet)
    left = [set(vars(x)) & {"call"} for x in model.layers]
    assert left == [set()] * len(left)


def test_taps_end_in_any_order():
    dense = network().layers[0]
    first = taps.tapped(dense, lambda h, z: z + 1)
    second = taps.tapped(dense, lambda h, z: z * 2)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    z = dense(X)
    second.__exit__(None, None, None)
    assert "call" not in vars(dense)
    activation, dense.activation = dense.activation, None
    expected = activation(2 * dense(X))
    np.testing.assert_allclose(
        ops.convert_to_numpy(z), ops.convert_to_numpy(expected), 1e-6
    )


@pytest.mark.skipif(
    BACKEND == "jax", reason="a model that trains there has no variables"
)
def test_a_model_called_elsewhere_while_it_trains():
    model = network()
    quiet = ops.convert_to_numpy(model(X))
    wrong, stop = [], threading.Event()

    def call():
        try:
            while not stop.is_set():
                outputs = ops.convert_to_numpy(model(X))
                if not np.array_equal(outputs, quiet):
                    wrong.append("dropout is on")
        except Exception as error:
            wrong.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    callbacks = [
        NetVariance(X),
        ActiveFraction(X),
        GradientInformation(data=(X, np.ones((16, 3)))),
    ]
    callbacks.append(GradientInformation())
    try:
        for callback in callbacks:
            y = np.ones((16, 3))
            model.fit(X, y, epochs=2, callbacks=[callback], verbose=0)
    finally:
        stop.set()
        thread.join()
    assert not wrong
