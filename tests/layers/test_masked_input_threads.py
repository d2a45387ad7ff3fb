"""MaskedInput in several threads at once."""

import threading

import keras
import numpy as np

from keras_dropx.layers import BackwardDropout, MaskedInput


def test_threads_leave_the_activation_where_it_was():
    """A slow layer, so that the calls of two threads meet."""
    meeting = threading.Barrier(2)

    class Slow(keras.layers.Dense):
        calls = 0

    dense = Slow(3, activation="relu")
    layer = MaskedInput(dense, BackwardDropout(0.5))
    x = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    quiet = keras.ops.convert_to_numpy(layer(x, training=True))
    assert (quiet >= 0).all() and (quiet > 0).any()
    call, found = dense.call, []

    def slow(*args, **kwargs):
        # Waits until the other thread is inside too, or cannot be.
        try:
            meeting.wait(0.2)
        except threading.BrokenBarrierError:
            meeting.reset()
        return call(*args, **kwargs)

    vars(dense)["call"] = slow

    def train():
        for _ in range(3):
            y = layer(x, training=True)
            found.append(keras.ops.convert_to_numpy(y))

    threads = [threading.Thread(target=train) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert dense.activation is keras.activations.relu
    assert len(found) == 6
    for y in found:
        np.testing.assert_array_equal(y, quiet)
