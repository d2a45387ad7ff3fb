"""Arguments of the baselines are checked whenever they are set."""

import pytest

from keras_dropx.experiments.baselines import (
    ConcreteDropout,
    NoiseMatchedDropout,
)


@pytest.mark.parametrize(
    "make, name, good, bad",
    [
        (lambda: NoiseMatchedDropout(0.5, 0.1), "rate", 0, 1.5),
        (lambda: NoiseMatchedDropout(0.5, 0.1), "backward_rate", 0, 1),
        (lambda: NoiseMatchedDropout(0.5, 0.1), "seed", 3, "x"),
        (lambda: NoiseMatchedDropout(0.5, 0.1), "noise_shape", (None, 1), 2),
        (lambda: ConcreteDropout(0.0, 1.0), "rate", 0.2, 0),
        (lambda: ConcreteDropout(0.0, 1.0), "temperature", 1, 0),
        (lambda: ConcreteDropout(0.0, 1.0), "weight_regularizer", 1, -1),
        (lambda: ConcreteDropout(0.0, 1.0), "dropout_regularizer", 0, None),
    ],
)
def test_an_assignment_is_checked(make, name, good, bad):
    layer = make()
    setattr(layer, name, good)
    assert getattr(layer, name) == good
    if isinstance(good, (int, float)) and name != "seed":
        assert type(getattr(layer, name)) is float
    with pytest.raises(ValueError, match=f"rgument `{name}`"):
        setattr(layer, name, bad)
    assert getattr(layer, name) == good
