import subprocess
import sys

import pytest

SCRIPT = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import keras, numpy as np
from keras_dropx.layers import AugmentedDropout, Jumpout

distribution = keras.distribution.DataParallel()
assert len(keras.distribution.list_devices()) == 2
keras.distribution.set_distribution(distribution)
keras.utils.set_random_seed(0)
mask = AugmentedDropout(0.5, 0.1, seed=1)
model = keras.Sequential([
    keras.Input((1000,)), mask, keras.layers.Dense(8, activation="relu"),
    Jumpout(sigma=0.2), keras.layers.Dense(1),
])
model.compile("adam", "mse")
x, y = np.ones((64, 1000)), np.zeros((64, 1))
history = model.fit(x, y, batch_size=16, epochs=3, verbose=0).history
assert np.isfinite(history["loss"]).all(), history

# One batch, cut over the devices: its halves are the masks of the shards.
import jax
inputs = keras.distribution.distribute_tensor(
    np.ones((16, 1000), "float32"),
    distribution.get_data_layout((16, 1000)),
)
state = [v.value for v in mask.variables]
kept, _ = jax.jit(
    lambda state, x: mask.stateless_call([], state, x, training=True)
)(state, inputs)
assert len(kept.sharding.device_set) == 2, kept.sharding
first, second = np.split(np.asarray(kept) != 0, 2)
agree = (first == second).mean()
assert abs(agree - 0.5) < 4 * 0.5 / np.sqrt(first.size), agree
"""


@pytest.mark.full
def test_data_parallel_trains_and_shards_draw_independent_masks():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
