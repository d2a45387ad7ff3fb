"""Sampling goes through a model's own predict, and touches nothing."""

import concurrent.futures
import gc
import itertools
import threading
import weakref

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_dropx.layers import AugmentedDropout, Jumpout
from keras_dropx.layers.dropout_family import in_training
from keras_dropx.layers.interception import reachable
from keras_dropx.models import (
    monte_carlo_predict,
    reestimate_batch_norm,
    sharpness,
)

BACKEND = keras.config.backend()
RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 8)).astype("float32")


def linear(rate=0.5, kind=AugmentedDropout):
    return keras.Sequential(
        [keras.Input((8,)), layers.Dense(16), kind(rate), layers.Dense(3)]
    )


class Preprocessing(keras.Model):
    """With a `predict_step` of its own."""

    def __init__(self, rate):
        super().__init__()
        self.dropout = layers.Dropout(rate)
        self.dense = layers.Dense(3)

    def call(self, x, training=None):
        return self.dense(self.dropout(x, training=training))

    def predict_step(self, *args):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(args[-1])
        return super().predict_step(*args[:-1], x / 100)


class Predicting(Preprocessing):
    """With a `predict` of its own, before and after Keras'."""

    def predict(self, x, batch_size=None, **kwargs):
        outputs = super().predict(np.array(x, "float32"), batch_size, **kwargs)
        return outputs[:, 0]


@pytest.mark.parametrize("kind, shape", [(Preprocessing, 3), (Predicting, 0)])
def test_the_models_own_predict_is_gone_through(kind, shape):
    model = kind(1e-9)
    model(X)
    x = (100 * X).tolist() if kind is Predicting else 100 * X
    expected = model.predict(x, verbose=0)
    samples = monte_carlo_predict(model, x, samples=3, batch_size=4, verbose=0)
    assert samples.shape == (3, *expected.shape)
    np.testing.assert_allclose(samples.mean(0), expected, atol=1e-6)
    model = kind(0.5)
    model(X)
    samples = monte_carlo_predict(model, x, samples=3, verbose=0)
    assert np.all(samples.std(0) > 0)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_a_generator_is_read_once():
    model = linear()
    expected = monte_carlo_predict(model, X, 3, 5, seed=1, verbose=0)

    def batches(labels, endless):
        for start in itertools.cycle((0, 5)) if endless else (0, 5):
            x = X[start : start + 5]
            yield (x, x) if labels else (x,)

    for labels in (False, True):
        for steps in (None, 2):
            samples = monte_carlo_predict(
                model,
                batches(labels, endless=steps is not None),
                samples=3,
                seed=1,
                verbose=0,
                steps=steps,
            )
            np.testing.assert_array_equal(samples, expected)
    model = Predicting(0.5)  # a whole prediction for each sample
    model(X)
    with pytest.raises(ValueError, match="`x`. Expected .*read again"):
        monte_carlo_predict(model, batches(False, False), verbose=0)


def test_a_predict_that_goes_its_own_way_is_refused():
    class Own(Preprocessing):
        def predict(self, x):
            return np.zeros(len(x))

    model = Own(0.5)
    model(X)
    with pytest.raises(ValueError, match="does not go through `keras.Model.p"):
        monte_carlo_predict(model, X, verbose=0)


class Fixed(keras.Model):
    """Calls one dropout layer in inference mode, always."""

    def __init__(self, always):
        super().__init__()
        self.off = layers.Dropout(0.5)
        self.on = layers.Dropout(0.5)
        self.always = always

    def call(self, x, training=None):
        if self.always:
            return self.off(x, training=False), self.on(x, training=training)
        return self.off(x, training=False), x


def test_a_literal_false_stays_off():
    model = Fixed(True)
    model(X)
    off, on = monte_carlo_predict(model, X, samples=3, verbose=0)
    np.testing.assert_array_equal(off, np.stack([X] * 3))
    assert np.all(on.std(0).max(1) > 0)
    model = Fixed(False)
    model(X)
    with pytest.raises(ValueError, match="called with `training=False`"):
        monte_carlo_predict(model, X, samples=3, verbose=0)


class Encoding(keras.Model):
    """Whose `predict_step` goes past its own `call`."""

    def __init__(self):
        super().__init__()
        self.encoder = linear()

    def call(self, x, training=None):
        return self.encoder(x, training=training)

    def predict_step(self, data):
        return self.encoder(data, training=False)


@pytest.mark.skipif(BACKEND == "jax", reason="a step is another function there")
def test_a_predict_step_may_call_a_part():
    model = Encoding()
    model(X)
    assert monte_carlo_predict(model, X, samples=3, verbose=0).std(0).max() > 0


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.Dropout(0.0),
        lambda: AugmentedDropout(0.0, backward_rate=0.1),
        lambda: Jumpout(sigma=0.0, min_rate=0.0),
        lambda: layers.Lambda(lambda x: x),
    ],
)
def test_models_without_a_rate_are_refused(layer):
    model = keras.Sequential([keras.Input((8,)), layer()])
    with pytest.raises(ValueError, match="above 0.*`Lambda`.*cannot be seen"):
        monte_carlo_predict(model, X, verbose=0)


def test_a_dropout_layer_without_a_seed_generator_is_refused():
    model = keras.Sequential([keras.Input((8,)), layers.Dropout(0.5)])
    del vars(model.layers[0])["seed_generator"]
    with pytest.raises(ValueError, match="holds no `keras.random.SeedGenera"):
        monte_carlo_predict(model, X, verbose=0)


def test_seeds_are_found_whatever_their_variables_are_called():
    model = linear()
    expected = monte_carlo_predict(model, X, samples=3, seed=1, verbose=0)
    for variable in model.variables:
        if variable.name == "seed_generator_state":
            variable._name = "state"
    samples = monte_carlo_predict(model, X, samples=3, seed=1, verbose=0)
    np.testing.assert_array_equal(samples, expected)
    assert samples.std(0).max() > 0


class Batches(keras.utils.PyDataset):
    def __init__(self, number):
        super().__init__()
        self.number = number

    def __len__(self):
        return self.number

    def __getitem__(self, index):
        return (X,)


# Of Keras on PyTorch, before the error.
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"samples": True}, "`samples`. Expected a positive integer"),
        ({"batch_size": False}, "`batch_size`. Expected a positive integer"),
        ({"batch_size": -1}, "`batch_size`. Expected a positive integer"),
        ({"seed": -1}, "`seed`. Expected an integer from 0"),
        ({"seed": 10**400}, "`seed`. Expected an integer from 0"),
        ({"verbose": "loud"}, "`verbose`. Expected 'auto', 0, 1 or 2"),
        ({"steps": 0}, "`steps`. Expected a positive integer"),
        ({"x": np.float32(1)}, "`x`. Expected arrays"),
        ({"x": None}, "`x`. Expected arrays"),
        ({"x": {}}, "`x`. Expected arrays"),
        ({"x": X[:0]}, "`x`. Expected at least one sample"),
        ({"x": (x for x in ())}, "`x`. Expected"),
        ({"x": Batches(0)}, "`x`. Expected (at least one s|what `model.p)"),
        ({"x": np.array([["a"] * 8])}, "`x`. Expected what `model.predict` t"),
        ({"verbose": np.array([1])}, "`verbose`. Expected 'auto', 0, 1 or 2"),
        ({"model": layers.Dense(2)}, "`model`. Expected a `keras.Model`"),
        ({"model": Preprocessing(0.5)}, "Expected a built model"),
    ],
)
def test_bad_arguments(arguments, message):
    arguments = {"model": linear(), "x": X, **arguments}
    with pytest.raises(ValueError, match=message):
        monte_carlo_predict(**arguments)


def test_numpy_integers_are_taken():
    samples = monte_carlo_predict(
        linear(), X, np.int64(2), np.int32(4), np.int64(1), verbose=0
    )
    assert samples.shape == (2, 10, 3)


def test_stateful_recurrent_layers_are_refused():
    model = keras.Sequential(
        [
            keras.Input(batch_shape=(2, 3, 4)),
            layers.LSTM(2, stateful=True, dropout=0.5),
        ]
    )
    with pytest.raises(ValueError, match="stateful recurrent layer.*'lstm"):
        monte_carlo_predict(model, np.ones((2, 3, 4)), verbose=0)


class Endless(keras.utils.PyDataset):
    num_batches = None

    def __getitem__(self, index):
        return X[:4]


def test_endless_data_needs_steps():
    model = linear()
    with pytest.raises(ValueError, match="`x`.*a number of `steps`.*endless"):
        monte_carlo_predict(model, Endless(), verbose=0)
    samples = monte_carlo_predict(
        model, Endless(), samples=2, steps=3, verbose=0
    )
    assert samples.shape == (2, 12, 3)


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", [AugmentedDropout, layers.Dropout])
def test_threads(kind):
    """Sampling beside plain inference: each gives what it gives alone."""
    model = linear(kind=kind)
    quiet = ops.convert_to_numpy(model(X))
    expected = monte_carlo_predict(model, X, samples=2, seed=1, verbose=0)
    sampled, plain, errors = [], [], []

    def sample():
        try:
            for _ in range(2):
                sampled.append(
                    monte_carlo_predict(model, X, 2, seed=1, verbose=0)
                )
        except Exception as error:
            errors.append(error)

    def infer():
        try:
            while any(thread.is_alive() for thread in threads[:2]):
                plain.append(ops.convert_to_numpy(model(X)))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=f) for f in (sample, sample, infer)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and len(sampled) == 4 and plain
    for each in sampled:
        np.testing.assert_array_equal(each, expected)
    for each in plain:
        np.testing.assert_array_equal(each, quiet)
    assert "call" not in vars(model.layers[1])


def test_a_reachable_layer_is_off_in_other_threads():
    layer = layers.Dropout(0.5)
    found = []

    def infer():
        found.append(ops.convert_to_numpy(layer(X)))

    with reachable([layer]), in_training(layer):
        thread = threading.Thread(target=infer)
        thread.start()
        thread.join()
        assert np.any(ops.convert_to_numpy(layer(X)) == 0)
    np.testing.assert_array_equal(found[0], X)
    assert "call" not in vars(layer)


def registered():
    """How many custom gradients TensorFlow keeps."""
    if BACKEND != "tensorflow":
        return 0
    from tensorflow.python.framework import ops

    return len(ops.gradient_registry._registry)


def test_nothing_is_kept():
    """Neither the model nor, on TensorFlow, traced custom gradients."""

    model = linear()
    model.compile("sgd", "mse")
    reference = weakref.ref(model)
    before = registered()
    for _ in range(3):
        monte_carlo_predict(model, X, samples=2, verbose=0)
    sharpness(model, X, X[:, :3], directions=1, steps=3)
    assert registered() == before
    del model
    gc.collect()
    assert reference() is None


@pytest.mark.full
def test_eight_threads():
    """50 samplings of one seed beside 200 plain inference calls."""
    model = linear()
    quiet = ops.convert_to_numpy(model(X))
    expected = monte_carlo_predict(model, X, samples=2, seed=1, verbose=0)

    def sample(_):
        return monte_carlo_predict(model, X, 2, seed=1, verbose=0)

    def infer(_):
        return ops.convert_to_numpy(model(X))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        sampled = [pool.submit(sample, i) for i in range(50)]
        plain = [pool.submit(infer, i) for i in range(200)]
    for each in sampled:
        np.testing.assert_array_equal(each.result(), expected)
    for each in plain:
        np.testing.assert_array_equal(each.result(), quiet)


@pytest.mark.alone
@pytest.mark.full
@pytest.mark.parametrize("name", ["monte_carlo_predict", "batch_norm"])
def test_200_calls_leave_the_memory_flat(name):
    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(16),
            AugmentedDropout(0.5),
            layers.BatchNormalization(),
        ]
    )

    def megabytes():
        gc.collect()
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096 / 2**20

    for call in range(200):
        if name == "batch_norm":
            reestimate_batch_norm(model, X, in_place=True)
        else:
            monte_carlo_predict(model, X, samples=2, verbose=0)
        if call == 9:
            before, entries = megabytes(), registered()
    assert registered() == entries
    assert megabytes() - before < 20
