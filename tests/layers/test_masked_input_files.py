"""`MaskedInput` with LoRA, quantized, and its weights elsewhere."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_dropx.layers import AugmentedDropout, ForwardDropout, MaskedInput
from keras_dropx.models import monte_carlo_predict

X = np.random.default_rng(0).normal(size=(8, 16)).astype("float32")
# Keras' own quantizers and predictions warn.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation"),
    pytest.mark.filterwarnings("ignore:Layer .*`quantize` method"),
]


def build(wrap=lambda layer, rate: MaskedInput(layer, AugmentedDropout(rate))):
    model = keras.Sequential(
        [
            keras.Input((16,)),
            layers.Dense(16),
            wrap(layers.Dense(16, activation="tanh"), 0.5),
            wrap(layers.Dense(16), 0.2),
        ]
    )
    model.compile("sgd", "mse")
    return model


def predict(model):
    return keras.ops.convert_to_numpy(model(X))


@pytest.mark.few(1)
@pytest.mark.parametrize("change", ["lora", "int8", "int4", "float8"])
def test_it_predicts_is_saved_and_loaded_and_refuses_training(change, tmp_path):
    model = build()
    wrapped = model.layers[1]
    if change == "lora":
        wrapped.layer.enable_lora(2)
        for variable in wrapped.layer.weights:
            variable.assign(np.random.normal(size=variable.shape))
    else:
        model.quantize(change)
    expected = predict(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    model.save_weights(tmp_path / "x.weights.h5")
    clone = keras.models.clone_model(model)
    clone.load_weights(tmp_path / "x.weights.h5")
    for other in (model, loaded, clone):
        np.testing.assert_array_equal(predict(other), expected)
        assert other.predict(X, verbose=0).shape == expected.shape
    layer = loaded.layers[1].layer
    if change == "lora":
        assert layer.lora_rank == 2
    else:
        assert layer.quantization_mode == change
    # Saved again, it is the same once more.
    loaded.save(tmp_path / "again.keras")
    again = keras.models.load_model(tmp_path / "again.keras")
    np.testing.assert_array_equal(predict(again), expected)
    # Its samples are those of dropout before the layer, as without it.
    parts = [x for w in model.layers[1:] for x in (w.dropout, w.layer)]
    plain = keras.Sequential([keras.Input((16,)), model.layers[0], *parts])
    samples = [
        monte_carlo_predict(each, X, 3, seed=1, verbose=0)
        for each in (model, plain)
    ]
    np.testing.assert_array_equal(*samples)
    assert np.all(samples[0].std(0).max(0) > 0)
    # The end: on JAX, Keras leaves no values in a model whose step failed.
    for other in (model, loaded, clone):
        with pytest.raises(
            ValueError, match=r"MaskedInput does not train a .*Received: layer="
        ):
            other.fit(X, X, verbose=0)


def test_lists_of_weights_fit_both_ways_between_it_and_the_plain_model():
    plain, masked = build(lambda layer, rate: layer), build()
    masked.set_weights(plain.get_weights())
    np.testing.assert_array_equal(predict(masked), predict(plain))
    masked.fit(X, X, verbose=0)
    plain.set_weights(masked.get_weights())
    np.testing.assert_array_equal(predict(masked), predict(plain))


def test_its_weight_files_are_its_own(tmp_path):
    # As docs/guides/existing_models.md says; Keras has no way around it.
    plain, masked = build(lambda layer, rate: layer), build()
    for one, other in ((plain, masked), (masked, plain)):
        one.save_weights(tmp_path / "x.weights.h5")
        with pytest.raises(ValueError, match="objects could not be loaded"):
            other.load_weights(tmp_path / "x.weights.h5")


@pytest.mark.parametrize("when", ["new", "built"])
def test_its_layers_cannot_be_replaced(when):
    masked = MaskedInput(layers.Dense(4), AugmentedDropout(0.5))
    if when == "built":
        masked(X)
    inside = masked.layer, masked.dropout
    for name, value in (
        ("layer", layers.LSTM(2)),
        ("layer", layers.Dense(4)),
        ("layer", None),
        ("dropout", ForwardDropout(0.2)),
        ("dropout", 0.5),
    ):
        with pytest.raises(ValueError, match=f"`{name}`. Expected no other"):
            setattr(masked, name, value)
    assert (masked.layer, masked.dropout) == inside
    masked.dropout.rate = 0
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(masked(X, training=True)),
        keras.ops.convert_to_numpy(masked(X)),
    )
