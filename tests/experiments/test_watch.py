import numpy as np
import pytest

from keras_dropx.experiments import watch


@pytest.mark.parametrize("epochs", [1, 3, 10, 24, 100])
def test_probes_are_spread_and_end_with_the_last_epoch(epochs):
    found = sorted(watch.spread(10, epochs) & set(range(epochs)))
    assert found[-1] == epochs - 1
    assert len(found) == min(epochs, 10)
    if epochs >= 10:
        assert max(np.diff(found)) <= -(-epochs // 10)
