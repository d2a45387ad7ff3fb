import keras
import numpy as np
import pytest

from keras_dropx.experiments import networks
from keras_dropx.layers import AugmentedDropout, MaskedInput


@pytest.mark.parametrize(
    ("network", "shape", "sites"),
    [(networks.mlp, (8, 8, 1), 2), (networks.convnet_bn, (8, 8, 1), 3)],
)
def test_dropout_is_called_once_per_site(network, shape, sites):
    made = []

    def dropout():
        made.append(AugmentedDropout(0.5))
        return made[-1]

    model = network(shape, 7, dropout)
    assert [x for x in model.layers if isinstance(x, AugmentedDropout)] == made
    assert len(made) == sites
    assert model(np.zeros((2, *shape))).shape == (2, 7)
    assert network(shape, 7).count_params() == model.count_params()


def test_exact_mlp_has_the_same_weights_in_the_same_order():
    def shapes(**options):
        model = networks.mlp(
            (8, 8, 1), 7, lambda: AugmentedDropout(0.5), **options
        )
        return [weight.shape for weight in model.weights], model.layers

    drop_in, _ = shapes()
    exact, layers = shapes(exact=True)
    assert exact == drop_in
    assert sum(isinstance(layer, MaskedInput) for layer in layers) == 2


def test_mlp_has_the_parameters_of_64_256_256_10():
    expected = 64 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10
    assert networks.mlp((8, 8, 1), 10).count_params() == expected


def test_logits_are_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = networks.mlp((4,), 3)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.output.dtype == "float32"


def test_convnet_refuses_small_images():
    with pytest.raises(ValueError, match="at least 8 × 8 pixels.*(4, 4, 1)"):
        networks.convnet_bn((4, 4, 1), 10)
