import keras
import pytest

from benchmarks import layers, operations
from keras_dropx.layers import AugmentedDropout, Jumpout

SHAPE = (64, 32)


@pytest.mark.parametrize(
    "make, expected",
    [
        (layers.Copy, 0),
        (lambda: keras.layers.Activation("tanh"), 4),
        (lambda: AugmentedDropout(0.25, 0.25), 1),
        (lambda: Jumpout(0.2), 1),
    ],
    ids=["copy", "tanh", "augmented", "jumpout"],
)
def test_what_pytorch_saves_is_counted(make, expected):
    x = keras.random.normal(SHAPE)
    layer = keras.Sequential([make()])
    layer(x)
    kept = operations.kept_bytes(layer, x, x, "eager")
    assert kept / (64 * 32) == expected
