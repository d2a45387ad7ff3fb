import keras
import numpy as np
import pytest

from keras_dropx.layers import AugmentedDropout
from keras_dropx.models import reestimate_batch_norm

RNG = np.random.default_rng(0)


def network(dropout=0.5, shape=(6,)):
    inputs = keras.Input(shape)
    x = keras.layers.BatchNormalization(name="first")(inputs)
    x = keras.layers.Dense(5, activation="relu")(x)
    x = AugmentedDropout(dropout)(x)
    x = keras.layers.Dense(4)(x)
    outputs = keras.layers.BatchNormalization(name="second")(x)
    return keras.Model(inputs, outputs)


def trained(model, x):
    model.compile("sgd", "mse")
    model.fit(x, np.zeros((len(x), 4)), epochs=2, verbose=0)
    return model


def test_statistics_are_the_means_of_the_batches_without_noise():
    x = RNG.normal(2, 3, size=(70, 6)).astype("float32")
    model = trained(network(), x)
    copy = reestimate_batch_norm(model, x, batch_size=32)

    # The same by hand, each batch normalised by itself, in float64.
    first, second = model.get_layer("first"), model.get_layer("second")
    dense = [x for x in model.layers if isinstance(x, keras.layers.Dense)]
    moments = {"first": [], "second": []}
    for start in (0, 32, 64):
        z = x[start : start + 32].astype("float64")
        weight = len(z) / 70
        moments["first"].append(weight * np.array([z.mean(0), z.var(0)]))
        z = (z - z.mean(0)) / np.sqrt(z.var(0) + first.epsilon)
        z = z * first.gamma.numpy() + first.beta.numpy()
        z = np.maximum(z @ dense[0].kernel.numpy() + dense[0].bias.numpy(), 0)
        z = z @ dense[1].kernel.numpy() + dense[1].bias.numpy()
        moments["second"].append(weight * np.array([z.mean(0), z.var(0)]))
    assert second.epsilon == first.epsilon
    for name, parts in moments.items():
        mean, variance = sum(parts)
        layer = copy.get_layer(name)
        np.testing.assert_allclose(
            layer.moving_mean.numpy(), mean, rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(
            layer.moving_variance.numpy(), variance, rtol=1e-4
        )


def test_everything_else_is_the_same_to_the_bit():
    x = RNG.normal(size=(50, 6)).astype("float32")
    model = trained(network(), x)
    before = [variable.numpy() for variable in model.variables]
    copy = reestimate_batch_norm(model, x)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    for mine, theirs in zip(
        model.trainable_variables, copy.trainable_variables, strict=True
    ):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    assert [type(x) for x in copy.layers] == [type(x) for x in model.layers]
    assert copy.get_layer("first").momentum == 0.99
    changed = np.abs(
        copy.get_layer("second").moving_variance.numpy()
        - model.get_layer("second").moving_variance.numpy()
    )
    assert changed.min() > 0


def test_frozen_batch_norm_keeps_its_statistics():
    x = RNG.normal(3, 1, size=(40, 6)).astype("float32")
    model = network()
    model.get_layer("first").trainable = False
    copy = reestimate_batch_norm(model, x)
    np.testing.assert_array_equal(
        copy.get_layer("first").moving_mean.numpy(), 0
    )
    assert np.abs(copy.get_layer("second").moving_mean.numpy()).min() > 0


def test_nested_models_and_several_inputs():
    inner = network(shape=(3,))
    left, right = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    model = keras.Model({"a": left, "b": right}, inner(left + right))
    x = {name: RNG.normal(2, 1, size=(40, 3)) for name in "ab"}
    copy = reestimate_batch_norm(model, x)
    layer = copy.get_layer(inner.name).get_layer("first")
    expected = np.mean([(x["a"] + x["b"])[:32].mean(0)], axis=0) * 0.8
    expected += (x["a"] + x["b"])[32:].mean(0) * 0.2
    np.testing.assert_allclose(layer.moving_mean.numpy(), expected, rtol=1e-4)


def test_refusals():
    plain = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="Expected a model with a `BatchNorm"):
        reestimate_batch_norm(plain, np.zeros((4, 2)))
    layer = keras.layers.BatchNormalization()
    layer.renorm = True
    renorm = keras.Sequential([keras.Input((2,)), layer])
    with pytest.raises(ValueError, match="`renorm=True`"):
        reestimate_batch_norm(renorm, np.zeros((4, 2)))


def test_the_copy_is_compiled_and_keeps_what_layers_compute():
    x = RNG.normal(3, 5, size=(64, 6)).astype("float32")
    normalization = keras.layers.Normalization()
    normalization.adapt(x)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            normalization,
            keras.layers.BatchNormalization(),
            keras.layers.Dense(4),
        ]
    )
    assert not reestimate_batch_norm(model, x).compiled
    model.compile("sgd", "mse")
    copy = reestimate_batch_norm(model, x, batch_size=64)
    assert copy.evaluate(x, np.zeros((64, 4)), verbose=0) > 0
    statistics = copy.layers[1].get_weights()[2:]
    # What is normalised already has mean 0 and variance 1.
    np.testing.assert_allclose(statistics[0], 0, atol=1e-5)
    np.testing.assert_allclose(statistics[1], 1, atol=1e-4)


def test_batch_norm_inside_of_another_layer_is_refused():
    inner = keras.layers.TimeDistributed(keras.layers.BatchNormalization())
    model = keras.Sequential(
        [keras.Input((4, 6)), keras.layers.BatchNormalization(), inner]
    )
    with pytest.raises(ValueError, match="inside of another layer.*'time_dist"):
        reestimate_batch_norm(model, np.ones((4, 4, 6)))
