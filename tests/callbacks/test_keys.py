"""What the values are called, and that none is lost."""

import copy

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_dropx.callbacks import (
    ActiveFraction,
    GradientInformation,
    MomentDrift,
    NetDistribution,
    NetVariance,
    UnitCorrelation,
    kernels,
    sites,
)
from keras_dropx.layers import AugmentedDropout
from keras_dropx.models import replace_dropout

BACKEND = keras.config.backend()
RNG = np.random.default_rng(0)
X = RNG.normal(size=(16, 6)).astype("float32")
Y = RNG.normal(size=(16, 3))
SEQUENCES = RNG.normal(size=(8, 5, 6)).astype("float32")
NAME = "gradient_information"


@keras.saving.register_keras_serializable("tests_callbacks")
class Block(layers.Layer):
    """Two layers, that are given to it or not, perhaps built."""

    def __init__(self, up=None, down=None, **kwargs):
        super().__init__(**kwargs)
        self.up = up or layers.Dense(6, activation="relu")
        self.rest = [layers.Dropout(0.5), down or layers.Dense(6)]

    def call(self, x, training=False):
        x = self.rest[0](self.up(x), training=training)
        return self.rest[1](x)

    def get_config(self):
        parts = {"up": self.up, "down": self.rest[1]}
        parts = {
            name: keras.saving.serialize_keras_object(part)
            for name, part in parts.items()
        }
        return {**super().get_config(), **parts}

    @classmethod
    def from_config(cls, config):
        for name in ("up", "down"):
            config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)


def recurrent():
    given = layers.Dense(6)
    given.build((None, 5, 6))
    model = keras.Sequential(
        [
            keras.Input((5, 6)),
            Block(name="own"),
            Block(given, layers.Dense(6, name="chosen"), name="given"),
            layers.Dropout(0.5, name="dropout"),
            layers.Bidirectional(layers.LSTM(3), name="bi"),
            layers.Dense(1, name="top"),
        ]
    )
    model.compile("sgd", "mse")
    return model


def trained_keys(model):
    found = [
        leaf.key
        for leaf in sites.leaves(model)
        if kernels.trained_kernels(leaf.layer)
    ]
    assert len(found) == len(set(found))
    return found


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "again", ["load", "clone", "deepcopy", "replace", "build"]
)
def test_keys_stay_when_a_model_is_made_again(again, tmp_path):
    model = recurrent()
    keys = trained_keys(model)
    assert keys == [
        "own/up",
        "own/rest_1",
        "given/up",
        "given/chosen",
        "bi/forward_lstm/cell",
        "bi/backward_lstm/cell",
        "top",
    ]
    if again == "load":
        model.save(tmp_path / "model.keras")
        other = keras.models.load_model(tmp_path / "model.keras")
    elif again == "clone":
        other = keras.models.clone_model(model)
    elif again == "deepcopy":
        other = copy.deepcopy(model)
    elif again == "replace":
        with pytest.warns(UserWarning):  # the dropout inside the blocks
            other = replace_dropout(model, lambda _: AugmentedDropout(0.5))
    else:
        other = recurrent()
    assert trained_keys(other) == keys


@pytest.mark.skipif(BACKEND == "jax", reason="JAX has no batch form")
def test_both_directions_are_logged_after_loading(tmp_path):
    model = recurrent()
    model.save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    callback = GradientInformation(layers=["bi"])
    y = np.ones((8, 1))
    model.fit(SEQUENCES, y, callbacks=[callback], verbose=0)
    one, two = (
        callback.results[f"{NAME}/bi/{direction}_lstm/cell"][0]
        for direction in ("forward", "backward")
    )
    assert one > 0 and two > 0 and one != two


def test_layers_of_one_key_are_an_error():
    pair = [("left/dense", object()), ("left/dense", object())]
    with pytest.raises(ValueError, match="told apart by their names.*left"):
        sites.chosen(pair, None, "layers with a kernel")


def test_a_kernel_that_a_wrapper_shares_is_the_wrapped_layers():
    dense = layers.Dense(4, activation="tanh")
    model = keras.Sequential(
        [keras.Input((6,)), layers.SpectralNormalization(dense, name="wrapped")]
    )
    (site,) = sites.linear_sites(model)
    assert site.key == "wrapped" and site.layer is dense
    assert trained_keys(model) == ["wrapped"]


@pytest.mark.backends
def test_probes_see_activations_and_masks_inside_other_layers():
    model = keras.Sequential(
        [
            keras.Input((6,)),
            Block(layers.Dense(6, activation="tanh"), name="block"),
            layers.Dense(1, name="top"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.0), "mse")
    plain = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(6, activation="tanh", name="up"),
            layers.Dropout(0.5),
            layers.Dense(6, name="rest_1"),
            layers.Dense(1, name="top"),
        ]
    )
    plain.compile(keras.optimizers.SGD(0.0), "mse")
    plain.set_weights(model.get_weights()[: len(plain.get_weights())])
    variance = NetVariance(X, samples=40)
    callbacks = [
        NetDistribution(X),
        UnitCorrelation(X),
        ActiveFraction(X, samples=2),
        MomentDrift(X, samples=2),
        variance,
    ]
    logs = []
    for network in (model, plain):
        history = network.fit(X, X[:, :1], callbacks=callbacks, verbose=0)
        logs.append(history.history)
    for name in (
        "saturation/{}up",
        "unit_correlation/{}up",
        "active_fraction/{}up",
        "variance_ratio_r/{}rest_1",
        "net_variance/{}up",
    ):
        inside, outside = (
            log[name.format(prefix)][0]
            for log, prefix in zip(logs, ("block/", ""), strict=True)
        )
        assert inside == pytest.approx(outside, 1e-4), name
    assert logs[0]["active_drop_rate/block/rest_0"] == [0.5]
    assert logs[0]["net_variance/block/rest_1"][0] > 0


@pytest.fixture
def adapted():
    """A model before and after `enable_lora`, with a mask in front."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            AugmentedDropout(0.5, seed=1),
            layers.Dense(4, activation="tanh", name="first"),
            layers.Dense(3, name="top"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.0), "mse")
    drift = MomentDrift(X)
    model.fit(X, Y, callbacks=[drift], verbose=0)
    first = model.get_layer("first")
    first.enable_lora(2)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    return model, first, drift.results


def test_drift_is_of_the_same_layer_with_lora(adapted):
    model, first, before = adapted
    drift = MomentDrift(X)
    model.fit(X, Y, callbacks=[drift], verbose=0)
    assert set(drift.results) == set(before)
    # As long as the second matrix is 0, so is what is added to the kernel.
    np.testing.assert_allclose(
        drift.results["variance_ratio_r/first"],
        before["variance_ratio_r/first"],
        1e-5,
    )
    first.lora_kernel_b.assign(RNG.normal(size=(2, 4)))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    model.fit(X, Y, callbacks=[drift], verbose=0)
    kernel = ops.convert_to_numpy(first.kernel)
    by_hand = np.sum((X**2).mean(0) @ kernel**2) / np.sum((X @ kernel).var(0))
    assert drift.results["variance_ratio_r/first"][0] == pytest.approx(
        by_hand, 1e-4
    )


@pytest.mark.parametrize("data", [None, (X, Y)])
def test_the_matrices_of_lora_are_the_kernel(adapted, data):
    if data is None and BACKEND == "jax":
        pytest.skip("JAX has no batch form")
    model, first, _ = adapted
    model.layers[0].rate = 0.0
    model.compile(keras.optimizers.SGD(0.0), "mse")
    first.lora_kernel_b.assign(RNG.normal(size=(2, 4)))
    callback = GradientInformation(data=data)
    model.fit(X, Y, batch_size=16, callbacks=[callback], verbose=0)
    a, b = (
        ops.convert_to_numpy(v)
        for v in (first.lora_kernel_a, first.lora_kernel_b)
    )
    scale = first.lora_alpha / first.lora_rank
    kernel, bias = (ops.convert_to_numpy(v) for v in (first.kernel, first.bias))
    top, top_bias = model.get_layer("top").get_weights()
    h = np.tanh(X @ kernel + bias)
    delta = 2 / 3 * (h @ top + top_bias - Y) @ top.T * (1 - h**2)
    by_a = scale * X[:, :, None] * (delta @ b.T)[:, None]
    by_b = scale * (X @ a)[:, :, None] * delta[:, None]
    if data is None:
        by_a, by_b = by_a.mean(0), by_b.mean(0)
        sizes = np.concatenate([np.abs(by_a).ravel(), np.abs(by_b).ravel()])
    else:
        parts = [np.abs(part).reshape(16, -1) for part in (by_a, by_b)]
        sizes = np.concatenate(parts, 1)
    got = callback.results[f"{NAME}/first"][0]
    assert got == pytest.approx(sizes.mean(), 1e-4)


@pytest.mark.skipif(BACKEND == "jax", reason="JAX has no batch form")
def test_own_steps_without_a_graph():
    """A variational autoencoder and the like: no `call`, several networks."""

    class Pair(keras.Model):
        def __init__(self):
            super().__init__()
            self.encoder = keras.Sequential(
                [layers.Dense(4, name="dense")], name="encoder"
            )
            self.decoder = keras.Sequential(
                [layers.Dense(6, name="dense")], name="decoder"
            )

        def call(self, x):
            return self.decoder(self.encoder(x))

    model = Pair()
    model.compile("sgd", "mse")
    callback = GradientInformation()
    history = model.fit(X, X, epochs=2, callbacks=[callback], verbose=0).history
    assert set(history) == {
        "loss",
        f"{NAME}/encoder/dense",
        f"{NAME}/decoder/dense",
    }
