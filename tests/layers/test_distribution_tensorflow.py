import subprocess
import sys

import pytest

SCRIPT = """
import tensorflow as tf
cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
import keras, numpy as np
from keras_dropx.layers import AugmentedDropout, Jumpout

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
N, RATE = 1_000_000, 0.3

def masks(make, calls=2):
    with strategy.scope():
        layer = make()

    @tf.function
    def step():
        def call():
            x = tf.ones((N,))
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=True)
            return y != 0, tape.gradient(y, x) != 0
        return strategy.run(call)

    results = []
    for _ in range(calls):
        forward, backward = step()
        results.append([
            [value.numpy() for value in side.values]
            for side in (forward, backward)
        ])
    return results

def make():
    return AugmentedDropout(RATE, 0.2, seed=7)

first, second = masks(make), masks(make)
np.testing.assert_array_equal(first, second)

def assert_independent(a, b, keep):
    chance = keep**2 + (1 - keep) ** 2
    error = np.sqrt(chance * (1 - chance) / N)
    assert abs((a == b).mean() - chance) <= 4 * error, (a == b).mean()

for side, keep in ((0, 1 - RATE), (1, (1 - RATE) * 0.8)):
    (a, b), (c, d) = (call[side] for call in first)
    for pair in ((a, b), (a, c), (b, d), (a, d)):
        assert_independent(*pair, keep)
for call in first:
    for forward, backward in zip(*call):
        assert not (backward & ~forward).any()

# A schedule counts calls, the same on each replica.
schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.9, 0.0])
calls = masks(lambda: AugmentedDropout(schedule, seed=7))
for forward in calls[0][0]:
    assert 0.09 < forward.mean() < 0.11
for forward in calls[1][0]:
    assert forward.all()

with strategy.scope():
    model = keras.Sequential([
        keras.Input((20,)), keras.layers.Dense(16, activation="relu"),
        Jumpout(sigma=0.2, rescale="mean"), AugmentedDropout(schedule),
        keras.layers.Dense(1),
    ])
    model.compile("adam", "mse")
history = model.fit(
    np.ones((64, 20)), np.ones((64, 1)), batch_size=16, epochs=3, verbose=0
).history
assert np.isfinite(history["loss"]).all()
"""


@pytest.mark.full
def test_replicas_draw_different_and_reproducible_masks():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
