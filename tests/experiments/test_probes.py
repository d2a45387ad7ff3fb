import keras
import numpy as np
import pytest

from keras_dropx.experiments import networks, probes
from keras_dropx.experiments.baselines import SmoothedGradientDense

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("epochs", [1, 3, 10, 24, 100])
def test_probes_are_spread_and_end_with_the_last_epoch(epochs):
    found = sorted(probes.spread(10, epochs) & set(range(epochs)))
    assert found[-1] == epochs - 1
    assert len(found) == min(epochs, 10)
    if epochs >= 10:
        assert max(np.diff(found)) <= -(-epochs // 10)


def test_smoothed_layers_have_the_net_values_of_their_kernel():
    """The saturation is of z, also where tanh is inside the layer."""

    def smoothed(units, name):
        return SmoothedGradientDense(units, 0.5, "tanh", name=name)

    x = 9 * RNG.normal(size=(50, 6)).astype("float32")
    found = []
    for options in ({"hidden": smoothed}, {}):
        keras.utils.set_random_seed(1)
        model = networks.gaaf_mlp((6,), 3, units=(8, 8, 8), **options)
        found.append(probes.saturated_fraction(model, x))
    assert found[0] == pytest.approx(found[1], abs=1e-6)
    assert 0.1 < found[0]["hidden_1"] < 1
