"""Which batches the callbacks take, and that they see what `fit` sees."""

import copy
import json

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
)

BACKEND = keras.config.backend()
RNG = np.random.default_rng(0)
X = RNG.normal(size=(16, 6)).astype("float32")
Y = RNG.normal(size=(16, 3)).astype("float32")
PROBES = [
    NetVariance,
    NetDistribution,
    UnitCorrelation,
    ActiveFraction,
    MomentDrift,
]


def network(kind=keras.Model, named=False):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,), name="x")
    h = layers.Dense(4, activation="tanh", name="first")(inputs)
    outputs = layers.Dense(3, name="top")(h)
    model = kind({"x": inputs} if named else inputs, outputs)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    return model


def saturation(x, model=None, data=(X, Y)):
    """The share of saturated units, of which the inputs' size decides."""
    callback = NetDistribution(x)
    model = model or network()
    model.fit(*data, callbacks=[callback], verbose=0)
    return callback.results["saturation/first"][0]


def size(data, model=None, fitted=(X, Y)):
    callback = GradientInformation(data=data)
    model = model or network()
    model.fit(*fitted, callbacks=[callback], verbose=0)
    return callback.results["gradient_information/first"][0]


class Batches(keras.utils.PyDataset):
    def __init__(self, *arrays):
        super().__init__()
        self.arrays = arrays

    def __len__(self):
        return 4

    def __getitem__(self, index):
        parts = [array[4 * index : 4 * index + 4] for array in self.arrays]
        return tuple(parts)


def kinds(x):
    yield "array", x
    yield "PyDataset", Batches(x, Y)
    yield "tensor", ops.convert_to_tensor(x)


def test_inputs_of_every_kind():
    expected = saturation(3 * X)
    assert expected > 0.05
    for kind, x in kinds(3 * X):
        assert saturation(x) == expected, kind
    named = {"x": X}
    assert saturation({"x": 3 * X}, network(named=True), (named, Y)) == expected
    assert size((named, Y), network(named=True), (named, Y)) == pytest.approx(
        size((X, Y)), 1e-5
    )


@pytest.mark.full
def test_sparse_inputs():
    scipy = pytest.importorskip("scipy.sparse")
    x = 3 * X * (np.abs(X) > 0.3)
    assert saturation(scipy.csr_matrix(x)) == saturation(x) > 0
    data = (scipy.csr_matrix(x), Y)
    assert size(data) == pytest.approx(size((x, Y)), 1e-5)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        assert saturation(tf.sparse.from_dense(x)) == saturation(x)


def test_data_frames():
    pandas = pytest.importorskip("pandas")
    frame, labels = pandas.DataFrame(3 * X), pandas.DataFrame(Y)
    assert saturation(frame) == saturation(3 * X)
    assert size((frame, labels)) == pytest.approx(size((3 * X, Y)), 1e-5)


@pytest.mark.backends
def test_data_of_every_kind():
    expected = size((X, Y))
    weights = np.ones(16)
    for data in ([X, Y], (X, Y, weights), Batches(X, Y)):
        assert size(data) == pytest.approx(expected, 1e-5)
    assert size((X, Y, 2 * weights)) == pytest.approx(2 * expected, 1e-5)


@pytest.mark.backends
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_tf_data():
    tf = pytest.importorskip("tensorflow")
    dataset = tf.data.Dataset.from_tensor_slices((3 * X, Y)).batch(4)
    assert saturation(dataset) == saturation(3 * X)
    assert size(dataset) == pytest.approx(size((3 * X, Y)), 1e-5)
    copied = copy.deepcopy(NetDistribution(dataset))
    assert copied.x is dataset
    with pytest.raises(ValueError, match="`x`. Expected a dataset that ends"):
        saturation(dataset.repeat())
    with pytest.raises(ValueError, match="`x`. Expected at least one sample"):
        saturation(dataset.take(0))


class OwnStep(keras.Model):
    """Divides in its own steps."""

    def train_step(self, *arguments):
        *state, (x, y) = arguments
        return super().train_step(*state, (x / 100, y / 100))

    def predict_step(self, *arguments):
        *state, data = arguments
        x, *_ = keras.utils.unpack_x_y_sample_weight(data)
        return super().predict_step(*state, (x / 100,))


class Preprocessed(keras.Model):
    """Divides in `fit`, as the tasks of KerasHub."""

    def preprocess_samples(self, x, y=None, sample_weight=None):
        x = x / 100
        return x if y is None else (x, y / 100)

    def fit(self, x, y, **options):
        return super().fit(*self.preprocess_samples(x, y), **options)


@pytest.mark.few(2)
@pytest.mark.parametrize("kind", [OwnStep, Preprocessed])
def test_the_models_own_preprocessing(kind):
    raw = 100 * X, 100 * Y
    expected = saturation(3 * X)
    assert saturation(300 * X, network(kind), raw) == expected
    assert saturation(Batches(300 * X, Y), network(kind), raw) == expected
    got = size(raw, network(kind), raw)
    assert got == pytest.approx(size((X, Y)), 1e-4)


def test_following_a_step_moves_nothing():
    states = []
    for callbacks in ([], [NetVariance(X), GradientInformation((X, Y))]):
        model = network(OwnStep)
        model.compile("adam", "mse", metrics=["mae"])
        model.fit(X, Y, epochs=2, verbose=0, callbacks=callbacks)
        state = [*model.variables, *model.optimizer.variables]
        states.append([ops.convert_to_numpy(v) for v in state])
        assert not set(vars(model)) & {"call", "compute_loss", "train_step"}
    for one, other in zip(*states, strict=True):
        np.testing.assert_array_equal(one, other)


class Opaque(keras.Model):
    def fit(self, x, *args, **options):
        return super().fit(x / 100, *args, **options)


class WithoutCall(keras.Model):
    def train_step(self, *arguments):
        raise NotImplementedError


class WithoutLoss(keras.Model):
    def train_step(self, *arguments):
        *_, (x, _) = arguments
        self(x, training=True)
        self.optimizer.apply([])


def test_preprocessing_that_cannot_be_known_is_refused():
    with pytest.raises(ValueError, match="Opaque has its own `fit`.*`x`"):
        saturation(X, network(Opaque))
    with pytest.raises(ValueError, match="Opaque has its own `fit`.*`data`"):
        size((X, Y), network(Opaque))
    with pytest.raises(ValueError, match="own `train_step`, .*dataset of"):
        saturation(X, network(WithoutCall))
    with pytest.raises(ValueError, match="own `train_step`, .*`compute_loss`"):
        size((X, Y), network(WithoutLoss))


@pytest.mark.parametrize(
    "x",
    [
        None,
        1.0,
        "text",
        [],
        {},
        np.float32(1.0),
        np.zeros(()),
        np.zeros((0, 6)),
        [X, None],
        object(),
        (row for row in X),
    ],
)
def test_what_can_be_no_batch_is_refused_at_once(x):
    for kind in PROBES:
        with pytest.raises(ValueError, match="received for argument `x`"):
            kind(x)
    with pytest.raises(ValueError, match="received for argument `data`"):
        GradientInformation(data=(x, Y))


@pytest.mark.parametrize(
    "name, values",
    {
        "layers": [2, "first", [1], [], {"first": 1}, True],
        "frequency": [0, -1, 1.5, "step", True, None, 10**400, [1]],
        "log_dir": [1, "", b"logs", ["logs"]],
        "samples": [1, 2.0, True, None, "2", 10**400, np.nan],
        "bins": [0, 2.0, True, None, "2", 10**400],
        "data": [2, X, {"x": X}, (X,), (X, Y, Y, Y), (X, 1), "xy"],
    }.items(),
)
def test_bad_arguments_are_refused_at_once(name, values):
    for value in values:
        for kind in [*PROBES, GradientInformation]:
            arguments = {} if kind is GradientInformation else {"x": X}
            if name in ("samples", "bins", "data") and not hasattr(
                kind(**arguments), name
            ):
                continue
            with pytest.raises(
                ValueError,
                match=f"^Invalid value received for argument `{name}`",
            ):
                kind(**arguments, **{name: value})


def test_whole_numbers_of_numpy_and_sets_are_taken():
    callback = NetVariance(
        X, samples=np.int64(2), layers={"top"}, frequency=np.int32(1)
    )
    history = network().fit(X, Y, callbacks=[callback], verbose=0)
    assert set(history.history) == {"loss", "net_variance/top"}


def test_all_logs_are_floats_of_python():
    keras.config.set_dtype_policy("mixed_float16")
    model = network()
    callbacks = [NetDistribution(X), ActiveFraction(X, samples=2)]
    callbacks += [GradientInformation((X, Y))]
    if BACKEND != "jax":
        callbacks += [GradientInformation()]
    for callback in callbacks:
        logs = model.fit(X, Y, callbacks=[callback], verbose=0).history
        assert json.loads(json.dumps(logs)) == logs
