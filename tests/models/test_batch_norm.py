import keras
import numpy as np
import pytest

from keras_dropx.layers import AugmentedDropout
from keras_dropx.models import reestimate_batch_norm
from keras_dropx.models.batch_norm import statistics_estimator

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


@pytest.mark.backends
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


@pytest.mark.backends
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


class Normalizer(keras.Model):
    """A Functional model with a constructor of its own."""

    def __init__(self, size):
        inputs = keras.Input((size,))
        x = keras.layers.BatchNormalization()(inputs)
        super().__init__(inputs, keras.layers.Dropout(0.5)(x))


def test_a_class_that_is_left_behind_is_one_warning():
    model = keras.Sequential([Normalizer(6), Normalizer(6)])
    model.compile("sgd", "mse")
    x = RNG.normal(3, 1, size=(10, 6)).astype("float32")
    with pytest.warns(UserWarning, match="stay behind") as caught:
        copy = reestimate_batch_norm(model, x)
    # PyTorch warns too, of other things.
    (found,) = (w for w in caught if "stay behind" in str(w.message))
    assert found.filename == __file__
    assert copy.compiled
    assert reestimate_batch_norm(model, x, in_place=True) is model


class Block(keras.layers.Layer):
    """Batch normalisation in a layer, after dropout."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dropout = keras.layers.Dropout(0.5)
        self.norm = keras.layers.BatchNormalization()
        self.fixed = keras.layers.BatchNormalization()

    def call(self, x, training=None):
        x = self.norm(self.dropout(x, training=training), training=training)
        return self.fixed(x, training=False)


class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [Block(), Block()]

    def call(self, x, training=None):
        for block in self.blocks:
            x = block(x, training=training)
        return x

    def predict_step(self, *args):
        return super().predict_step(*args[:-1], args[-1] / 100)


def test_any_depth_in_place_by_way_of_the_models_own_predict_step():
    x = RNG.normal(200, 300, size=(70, 6)).astype("float32")
    model = Subclassed()
    model(x)
    before = [keras.ops.convert_to_numpy(v) for v in model.variables]
    assert reestimate_batch_norm(model, x, in_place=True) is model
    norm = model.blocks[0].norm
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(norm.moving_mean), x.mean(0) / 100, 1e-4
    )
    variances = [x[i : i + 32].var(0) / 1e4 for i in (0, 32, 64)]
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(norm.moving_variance),
        np.average(variances, 0, [32, 32, 6]),
        1e-4,
    )
    # What is normalised by the batch has mean 0 and variance 1.
    second = model.blocks[1].norm.moving_variance
    np.testing.assert_allclose(keras.ops.convert_to_numpy(second), 1, 5e-2)
    # All else is as it was: seeds, and what is always in inference mode.
    moved = {
        id(variable)
        for block in model.blocks
        for variable in (block.norm.moving_mean, block.norm.moving_variance)
    }
    for variable, value in zip(model.variables, before, strict=True):
        same = np.array_equal(keras.ops.convert_to_numpy(variable), value)
        assert same == (id(variable) not in moved), variable.path


def test_inside_of_time_distributed():
    inner = keras.layers.BatchNormalization()
    model = keras.Sequential(
        [keras.Input((4, 6)), keras.layers.TimeDistributed(inner)]
    )
    x = RNG.normal(3, 1, size=(10, 4, 6)).astype("float32")
    reestimate_batch_norm(model, x, in_place=True)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(inner.moving_mean), x.mean((0, 1)), 1e-5
    )


class Batches(keras.utils.PyDataset):
    x = RNG.normal(3, 1, size=(40, 6)).astype("float32")

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return self.x[20 * index : 20 * index + 20], np.zeros(20)


def sources():
    x = Batches.x
    yield [x]
    yield Batches()
    yield keras.ops.convert_to_tensor(x)
    yield ((x[i : i + 20],) for i in (0, 20))
    yield ((x[i : i + 20], x[:20]) for i in (0, 20))
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        yield tf.data.Dataset.from_tensor_slices(x).batch(20)
        yield tf.data.Dataset.from_tensor_slices((x, x)).batch(20)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_inputs_that_predict_takes():
    model = network()
    expected = reestimate_batch_norm(model, Batches.x, batch_size=20)
    for x in sources():
        copy = reestimate_batch_norm(model, x, batch_size=20)
        for one, other in zip(
            copy.get_weights(), expected.get_weights(), strict=True
        ):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"x": np.ones((1, 6))}, "`x`. Expected at least two samples"),
        ({"x": np.ones((0, 6))}, "`x`. Expected at least one sample"),
        ({"x": np.float32(1)}, "`x`. Expected arrays"),
        ({"x": None}, "`x`. Expected arrays"),
        ({"x": []}, "`x`. Expected arrays"),
        ({"x": iter([1])}, "`x`. Expected arrays"),
        ({"batch_size": False}, "`batch_size`. Expected a positive integer"),
        ({"batch_size": 0}, "`batch_size`. Expected a positive integer"),
        ({"batch_size": 10**400}, "`batch_size`. Expected a positive integer"),
        ({"in_place": 1}, "`in_place`. Expected True or False"),
        ({"model": 3}, "`model`. Expected a `keras.Model`"),
        ({"model": Subclassed()}, "Expected a built model"),
    ],
)
def test_bad_arguments(arguments, message):
    arguments = {"model": network(), "x": np.ones((4, 6)), **arguments}
    with pytest.raises(ValueError, match=message):
        reestimate_batch_norm(**arguments)


def test_the_model_is_not_touched():
    model = network()
    x = RNG.normal(size=(40, 6)).astype("float32")
    attributes = [dict(vars(layer)) for layer in model._flatten_layers()]
    estimate = statistics_estimator(model)
    first = estimate(x, 32)
    for one, other in zip(estimate(x, 32), first, strict=True):
        np.testing.assert_array_equal(one, other)
    after = [dict(vars(layer)) for layer in model._flatten_layers()]
    for one, other in zip(attributes, after, strict=True):
        assert one.keys() == other.keys()
