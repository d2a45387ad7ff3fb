import keras
import numpy as np
import pytest
from keras import layers

from keras_dropx.layers import (
    AugmentedDropout,
    BackwardDropout,
    ForwardDropout,
    Jumpout,
    MaskedInput,
)
from keras_dropx.models import scale_for_dropout, scale_for_inference

DENSE = dict(kernel_initializer="ones", bias_initializer="ones")


def network(*between, rate=0.25, rescale=0.0, shape=(8,)):
    return keras.Sequential(
        [
            keras.Input(shape),
            AugmentedDropout(rate, rescale=rescale),
            *between,
            layers.Dense(1, name="top", **DENSE),
        ]
    )


@pytest.mark.parametrize(
    "scale, factor",
    [(scale_for_inference, 0.75), (scale_for_dropout, 1 / 0.75)],
)
def test_the_kernel_is_scaled_and_the_bias_is_not(scale, factor):
    model = network()
    assert scale(model.get_layer("top"), 0.25) is None
    kernel, bias = model.get_layer("top").get_weights()
    np.testing.assert_allclose(kernel, np.full((8, 1), factor), 1e-6)
    assert bias.tolist() == [1]


@pytest.mark.backends
def test_the_rules_keep_the_mean_of_a_net_value():
    model = network()
    top = model.get_layer("top")
    x = np.random.default_rng(0).normal(1, 1, size=(1, 8))
    x = np.repeat(x, 40_000, 0).astype("float32")

    def net(x, **options):
        return keras.ops.convert_to_numpy(model(x, **options))

    before = net(x[:1]).mean()
    trained = net(x, training=True)
    error = 4 * trained.std() / np.sqrt(len(x))
    # Trained at this kernel, inference needs it smaller.
    scale_for_inference(top, 0.25)
    assert abs(net(x[:1]).mean() - trained.mean()) < error
    # Pretrained at that kernel, training needs it larger.
    scale_for_dropout(top, 0.25)
    scale_for_dropout(top, 0.25)
    noisy = net(x, training=True)
    assert abs(noisy.mean() - before) < 4 * noisy.std() / np.sqrt(len(x))


@pytest.mark.parametrize(
    "between",
    [
        [layers.Flatten()],
        [layers.Permute((2, 1)), layers.Reshape((16,))],
        [layers.ZeroPadding1D(1), layers.Flatten()],
    ],
)
def test_layers_that_only_move_values_may_stand_between(between):
    model = network(*between, shape=(4, 4))
    scale_for_inference(model.get_layer("top"), 0.25)
    assert model.get_layer("top").get_weights()[0].max() == 0.75


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(2, 2),
        layers.DepthwiseConv2D(2),
        layers.Conv2DTranspose(2, 2),
        layers.EinsumDense("abcd,de->abce", (4, 4, 5)),
    ],
)
def test_other_linear_layers(layer):
    model = keras.Sequential(
        [keras.Input((4, 4, 3)), ForwardDropout(0.5, rescale=0.0), layer]
    )
    before = layer.get_weights()[0]
    scale_for_inference(layer, 0.5)
    np.testing.assert_array_equal(model.layers[1].get_weights()[0], before / 2)


def test_masked_input_brings_its_own_mask():
    def masked(rescale):
        dropout = AugmentedDropout(0.5, 0.1, rescale=rescale)
        layer = MaskedInput(layers.Dense(1, **DENSE), dropout)
        layer.build((None, 8))
        return layer

    layer = masked(0.0)
    scale_for_inference(layer, 0.5)
    assert layer.layer.get_weights()[0].max() == 0.5
    with pytest.raises(ValueError, match="Expected an unscaled mask"):
        scale_for_inference(masked("mean"), 0.5)


def test_a_layer_outside_of_a_model_is_taken_on_trust():
    dense = layers.Dense(1, **DENSE)
    dense.build((None, 8))
    scale_for_dropout(dense, 0.5)
    assert dense.get_weights()[0].max() == 2


@pytest.mark.parametrize("scale", [scale_for_inference, scale_for_dropout])
@pytest.mark.parametrize(
    "front",
    [
        [layers.Dropout(0.5)],
        [AugmentedDropout(0.5)],
        [AugmentedDropout(0.5, rescale="batchnorm")],
        [BackwardDropout(0.5)],
        [AugmentedDropout(0.5, rescale=0.0), layers.ReLU()],
        [],
    ],
)
def test_all_but_unscaled_masks_are_refused(scale, front):
    top = layers.Dense(1, name="top", **DENSE)
    keras.Sequential([keras.Input((8,)), *front, top])
    with pytest.raises(
        ValueError,
        match=r"unscaled mask \(`rescale=0.0`\) in front of 'top' wherever",
    ):
        scale(top, 0.5)
    assert top.get_weights()[0].max() == 1


def test_every_use_of_a_layer_has_to_be_behind_an_unscaled_mask():
    top = layers.Dense(8, name="top")
    inputs = keras.Input((8,))
    top(AugmentedDropout(0.5, rescale=0.0)(inputs))
    top(AugmentedDropout(0.5)(inputs))
    with pytest.raises(ValueError, match="Expected an unscaled mask"):
        scale_for_inference(top, 0.5)


@pytest.mark.parametrize("rate", [1.0, -0.1, "0.5", None])
def test_bad_rates_are_refused(rate):
    with pytest.raises(ValueError, match="argument `rate`. Expected a float"):
        scale_for_inference(network().get_layer("top"), rate)


def test_a_rate_that_is_not_the_masks_is_refused():
    with pytest.raises(
        ValueError, match="Expected the rate of the mask, 0.25. Received: rate="
    ):
        scale_for_inference(network().get_layer("top"), 0.5)
    # Of Jumpout's drawn rate there is none to compare with.
    top = layers.Dense(1)
    keras.Sequential([keras.Input((8,)), Jumpout(0.2, rescale=0.0), top])
    scale_for_inference(top, 0.3)


@pytest.mark.parametrize(
    "layer", [layers.Dense(1), layers.LSTM(2), layers.ReLU(), "top"]
)
def test_other_layers_are_refused(layer):
    with pytest.raises(
        ValueError, match="`layer`. Expected a built layer, one"
    ):
        scale_for_inference(layer, 0.5)
