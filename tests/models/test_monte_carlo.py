import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_dropx.layers import (
    AugmentedDropout,
    BackwardDropout,
    ForwardDropout,
    Jumpout,
    MaskedInput,
)
from keras_dropx.models import monte_carlo_predict, summarize

RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 8)).astype("float32")


def linear(rate=0.5, **kwargs):
    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(16),
            AugmentedDropout(rate, **kwargs),
            layers.Dense(3),
        ]
    )
    return model


def spread(samples):
    """The largest range over the samples of an output."""
    return np.ptp(samples, 0).max()


@pytest.mark.backends
def test_law_on_a_linear_network():
    # Inverted dropout of p: z = Σ w·h·ε/(1-p) has mean w·h and variance
    # p/(1-p)·Σ (w·h)², so the mean of T samples is off by √(variance/T).
    model = linear(0.3)
    first, second = model.layers[0], model.layers[2]
    hidden = X @ first.get_weights()[0]
    variance = 0.3 / 0.7 * hidden**2 @ second.get_weights()[0] ** 2
    expected = model.predict(X, verbose=0)
    samples = monte_carlo_predict(model, X, samples=1600, seed=1, verbose=0)
    assert samples.shape == (1600, 10, 3) and samples.dtype == "float32"
    # 30 outputs; the relative error of a variance of T draws is √(2/T).
    ratio = samples.var(0) / variance
    np.testing.assert_allclose(ratio.mean(), 1, atol=4 * np.sqrt(2 / 1600))
    for count in (25, 100, 400, 1600):
        z = (samples[:count].mean(0) - expected) / np.sqrt(variance / count)
        assert np.abs(z).max() < 4.5
        assert 0.5 < np.sqrt(np.mean(z**2)) < 1.6
    # The samples are independent of each other.
    parts = samples[:-1] - expected, samples[1:] - expected
    lag = (parts[0] * parts[1]).mean(0) / variance
    assert np.abs(lag).max() < 4.5 / np.sqrt(1600)


DROPPING = {
    "Dropout": lambda: layers.Dropout(0.5),
    "GaussianDropout": lambda: layers.GaussianDropout(0.5),
    "AlphaDropout": lambda: layers.AlphaDropout(0.5),
    "AugmentedDropout": lambda: AugmentedDropout(0.5),
    "ForwardDropout": lambda: ForwardDropout(0.5),
    "Jumpout": lambda: Jumpout(0.2),
    "MaskedInput": lambda: MaskedInput(layers.Dense(8), ForwardDropout(0.5)),
}


@pytest.mark.backends
@pytest.mark.parametrize("name", DROPPING)
def test_the_dropout_family_is_on(name):
    model = keras.Sequential([keras.Input((8,)), DROPPING[name]()])
    samples = monte_carlo_predict(model, X, samples=4, verbose=0)
    assert np.all(samples.std(0).max(1) > 0)
    # New masks for every sample and every batch.
    same = monte_carlo_predict(
        model, np.ones((8, 8)), samples=2, batch_size=4, verbose=0
    )
    assert not np.array_equal(same[0], same[1])
    assert not np.array_equal(same[0, :4], same[0, 4:])


INSIDE = {
    "LSTM": lambda rate: layers.LSTM(4, dropout=rate),
    "GRU-recurrent": lambda rate: layers.GRU(4, recurrent_dropout=rate),
    "Bidirectional": lambda rate: layers.Bidirectional(
        layers.SimpleRNN(4, dropout=rate)
    ),
    "cell": lambda rate: layers.RNN(layers.LSTMCell(4, dropout=rate)),
    "TimeDistributed": lambda rate: layers.TimeDistributed(
        layers.Dropout(rate)
    ),
}


@pytest.mark.few(3)
@pytest.mark.parametrize("rate", [0.5, 0.0])
@pytest.mark.parametrize("name", INSIDE)
def test_dropout_inside_other_layers_is_on(name, rate):
    x = RNG.normal(size=(3, 5, 8)).astype("float32")
    model = keras.Sequential(
        [keras.Input((5, 8)), layers.Dropout(1e-9), INSIDE[name](rate)]
    )
    samples = monte_carlo_predict(model, x, samples=3, verbose=0)
    assert (spread(samples) > 0) == (rate > 0)


@pytest.mark.parametrize("rate", [0.5, 0.0])
def test_dropout_of_attention_is_on(rate):
    inputs = keras.Input((5, 8))
    attended = layers.MultiHeadAttention(2, 4, dropout=rate)(inputs, inputs)
    attended = layers.Attention(dropout=rate)([attended, attended])
    model = keras.Model(inputs, layers.Dropout(1e-9)(attended))
    x = RNG.normal(size=(3, 5, 8)).astype("float32")
    samples = monte_carlo_predict(model, x, samples=3, verbose=0)
    assert (spread(samples) > 0) == (rate > 0)


def test_everything_else_is_in_inference():
    inputs = keras.Input((8,))
    x = layers.BatchNormalization()(inputs)
    x = layers.GaussianNoise(1.0)(x)
    x = layers.Dropout(1e-9)(x)
    model = keras.Model(inputs, x)
    samples = monte_carlo_predict(model, 3 + 5 * X, samples=3, verbose=0)
    expected = model.predict(3 + 5 * X, verbose=0)
    for sample in samples:
        np.testing.assert_array_equal(sample, expected)


def test_augmentation_is_in_inference():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.RandomFlip(),
            layers.RandomRotation(0.5),
            layers.Dropout(1e-9),
        ]
    )
    x = RNG.uniform(size=(4, 8, 8, 1))
    assert spread(monte_carlo_predict(model, x, samples=3, verbose=0)) == 0


@pytest.mark.backends
def test_the_model_is_afterwards_what_it_was():
    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(8),
            layers.BatchNormalization(),
            layers.GaussianNoise(0.1),
            Jumpout(0.2),
            layers.Dropout(0.5),
            MaskedInput(layers.Dense(3), AugmentedDropout(0.5)),
        ]
    )
    model.compile("adam", "mse")
    model.fit(X, np.ones((10, 3)), verbose=0)
    attributes = [dict(vars(layer)) for layer in model._flatten_layers()]
    variables = [*model.variables, *model.optimizer.variables]
    before = [ops.convert_to_numpy(variable) for variable in variables]
    monte_carlo_predict(model, X, samples=3, verbose=0)
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), value)
    after = [dict(vars(layer)) for layer in model._flatten_layers()]
    for one, other in zip(attributes, after, strict=True):
        assert one.keys() == other.keys()
    # Its own functions are not turned: two predictions are the same.
    one, other = (model.predict(X, verbose=0) for _ in range(2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.backends
def test_an_error_leaves_the_model_as_it_was():
    model = linear(seed=1)
    before = [ops.convert_to_numpy(variable) for variable in model.variables]
    with pytest.raises(Exception, match="incompatible|expected|shape"):
        monte_carlo_predict(model, np.ones((4, 9)), seed=3, verbose=0)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), value)
    assert "call" not in vars(model.layers[1])


@pytest.mark.backends
@pytest.mark.parametrize("dropout", [AugmentedDropout, layers.Dropout])
def test_seed_and_batch_size_fix_the_samples(dropout):
    model = keras.Sequential([keras.Input((8,)), dropout(0.5), layers.Dense(3)])

    def draw(seed, model=model):
        return monte_carlo_predict(
            model, X, samples=3, batch_size=4, seed=seed, verbose=0
        )

    np.testing.assert_array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))
    # A model that has gone on training draws the same masks.
    model(X, training=True)
    first = draw(1)
    np.testing.assert_array_equal(first, draw(1))
    # No seed: new samples each time, which `set_random_seed` fixes.
    keras.utils.set_random_seed(4)
    free = draw(None), draw(None)
    assert not np.array_equal(*free)
    keras.utils.set_random_seed(4)
    np.testing.assert_array_equal(draw(None), free[0])


@pytest.mark.few(1)
@pytest.mark.parametrize("values", [(0.5, 0.0), (0.0, 0.5)])
@pytest.mark.parametrize("masked_input", [False, True])
def test_a_scheduled_rate_stays_where_it_is(values, masked_input):
    """At the last step of the first rate, and at the first of the second."""
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([9], values)
    layer = AugmentedDropout(schedule, seed=0)
    last = layer
    if masked_input:
        identity = layers.Dense(
            500, use_bias=False, kernel_initializer="identity"
        )
        last = MaskedInput(identity, layer)
    model = keras.Sequential([keras.Input((500,)), last])
    x = np.ones((6, 500), "float32")
    for calls, rate in zip((9, 1), values, strict=True):
        for _ in range(calls):
            layer(x, training=True)
        samples = monte_carlo_predict(model, x, 10, 2, seed=1, verbose=0)
        dropped = (samples == 0).mean((1, 2))
        assert np.abs(dropped - rate).max() <= 5 * 0.5 / 3000**0.5 * (rate > 0)
        if rate:  # All draws are different ones.
            draws = samples.reshape(-1, 500)
            assert len(np.unique(draws, axis=0)) == len(draws)
        assert ops.convert_to_numpy(layer.seed_generator.state)[1] in (9, 10)


def test_two_layers_of_one_seed_draw_other_masks():
    inputs = keras.Input((200,))
    outputs = [layers.Dropout(0.5, seed=1)(inputs) for _ in range(2)]
    model = keras.Model(inputs, outputs)
    one, other = monte_carlo_predict(
        model, np.ones((4, 200)), samples=2, seed=1, verbose=0
    )
    assert one.shape == (2, 4, 200)
    assert not np.array_equal(one, other)


def test_structures_of_inputs_and_outputs():
    inputs = {name: keras.Input((8,), name=name) for name in "ab"}
    x = layers.Dropout(0.5)(inputs["a"])
    model = keras.Model(inputs, {"x": x, "y": layers.Add()([x, inputs["b"]])})
    samples = monte_carlo_predict(
        model, {"a": X, "b": X}, samples=3, batch_size=4, verbose=0
    )
    assert {name: x.shape for name, x in samples.items()} == {
        "x": (3, 10, 8),
        "y": (3, 10, 8),
    }
    np.testing.assert_allclose(
        samples["y"] - samples["x"], np.stack([X] * 3), atol=1e-6
    )


@pytest.mark.parametrize("kind", [list, tuple])
def test_lists_of_inputs(kind):
    inputs = [keras.Input((8,)), keras.Input((8,))]
    model = keras.Model(inputs, layers.Dropout(0.5)(inputs[0] - inputs[1]))
    samples = monte_carlo_predict(model, kind([X, X]), samples=3, verbose=0)
    assert samples.shape == (3, 10, 8) and not np.any(samples)
    single = linear()
    samples = monte_carlo_predict(single, kind([X]), samples=3, verbose=0)
    assert samples.shape == (3, 10, 3)


def test_inputs_are_not_cast_by_the_global_policy():
    keras.config.set_dtype_policy("mixed_float16")
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Rescaling(1e-6, dtype="float32"),
            layers.Dropout(0.5, dtype="float32"),
        ]
    )
    x = np.full((4, 6), 1e6, "float32")
    samples = monte_carlo_predict(model, x, samples=3, verbose=0)
    assert np.all(np.isin(samples, [0, 2]))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dropout = layers.Dropout(0.5)
        self.norm = layers.BatchNormalization()

    def call(self, x, training=None):
        return self.norm(self.dropout(x, training=training))


def test_subclassed_models():
    model = Subclassed()
    expected = ops.convert_to_numpy(model(X))
    samples = monte_carlo_predict(model, X, samples=400, seed=0, verbose=0)
    assert spread(samples) > 0
    error = np.abs(X) / np.sqrt(400)
    assert np.all(np.abs(samples.mean(0) - expected) < 5 * error)


def test_the_step_is_compiled_once():
    calls = []

    class Counting(layers.Layer):
        def call(self, x):
            calls.append(1)
            return x

    model = keras.Sequential(
        [keras.Input((8,)), Counting(), layers.Dropout(0.5)]
    )
    compiles = keras.config.backend() != "torch"
    model.compile(jit_compile=compiles)
    calls.clear()
    monte_carlo_predict(model, X[:8], samples=9, batch_size=4, verbose=0)
    assert len(calls) <= 2 or not compiles


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return X[4 * index : 4 * index + 4], np.zeros(3)


def test_datasets():
    model = linear()

    def draw(x):
        return monte_carlo_predict(
            model, x, samples=3, batch_size=4, seed=1, verbose=0
        )

    expected = draw(X)
    np.testing.assert_array_equal(draw(Batches()), expected)
    np.testing.assert_array_equal(draw(ops.convert_to_tensor(X)), expected)
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        data = tf.data.Dataset.from_tensor_slices((X, X)).batch(4)
        np.testing.assert_array_equal(draw(data), expected)


@pytest.mark.parametrize(
    "verbose, shown", [("auto", True), (1, True), (0, False)]
)
def test_one_progress_bar(verbose, shown, capsys):
    monte_carlo_predict(linear(), X, samples=3, batch_size=4, verbose=verbose)
    out = capsys.readouterr().out
    assert ("9/9" in out) == shown
    assert out.count("\n") == shown


def test_refusals():
    with pytest.raises(ValueError, match="`samples`. Expected a positive int"):
        monte_carlo_predict(linear(), X, samples=0)
    with pytest.raises(ValueError, match="`samples`. Expected a positive int"):
        monte_carlo_predict(linear(), X, samples=2.5)
    with pytest.raises(ValueError, match="generator must return a tuple"):
        monte_carlo_predict(linear(), (batch for batch in [X]))
    with pytest.raises(ValueError, match=r"one length, not of \[3, 10\]"):
        monte_carlo_predict(linear(), [X, X[:3]])
    model = keras.Sequential([keras.Input((8,)), layers.Dense(2)], name="dry")
    with pytest.raises(ValueError, match="model with dropout.*model 'dry'"):
        monte_carlo_predict(model, X)
    model = keras.Sequential([keras.Input((8,)), BackwardDropout(0.5)])
    with pytest.raises(ValueError, match="dropout in its forward pass"):
        monte_carlo_predict(model, X)


@pytest.mark.backends
def test_summary_of_probabilities():
    # Two samples, two predictions, two classes, by hand.
    samples = np.array([[[1, 0], [0.5, 0.5]], [[0, 1], [0.5, 0.5]]])
    summary = summarize(samples)
    ln2 = np.log(2)
    assert summary.mean.tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert summary.std.tolist() == [[0.5, 0.5], [0, 0]]
    np.testing.assert_allclose(summary.predictive_entropy, [ln2, ln2])
    # All of the first is disagreement, nothing of the second.
    np.testing.assert_allclose(summary.mutual_information, [ln2, 0], atol=1e-15)


def test_summary_of_logits():
    logits = RNG.normal(0, 300, size=(20, 7, 5)).astype("float32")
    summary = summarize(logits, from_logits=True)
    assert np.all(np.isfinite(summary.predictive_entropy))
    p = ops.convert_to_numpy(ops.softmax(logits))
    np.testing.assert_allclose(summary.mean, p.mean(0), atol=1e-6)
    np.testing.assert_allclose(
        summary.predictive_entropy, summarize(p).predictive_entropy, atol=1e-5
    )
    assert np.all(summary.mutual_information >= 0)
    assert np.all(summary.mutual_information <= summary.predictive_entropy)


def test_summary_of_regression():
    samples = RNG.normal(size=(20, 7, 2))
    summary = summarize(samples)
    np.testing.assert_allclose(summary.mean, samples.mean(0))
    np.testing.assert_allclose(summary.std, samples.std(0))
    assert summary.predictive_entropy is None
    assert summary.mutual_information is None
    assert summarize(np.ones((4, 3, 1))).predictive_entropy is None


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"samples": []}, "`samples`. Expected an array .* not empty"),
        ({"samples": 10**400}, "`samples`. Expected an array of numbers"),
        ({"samples": ["a"]}, "`samples`. Expected an array of numbers"),
        ({"from_logits": "x"}, "`from_logits`. Expected True or False"),
    ],
)
def test_summarize_says_what_it_takes(arguments, message):
    with pytest.raises(ValueError, match=message):
        summarize(**{"samples": np.ones((2, 3)), **arguments})
