"""Does it help: `compare` against loops by hand, on any model and data."""

import json
import logging
import re
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_dropx.experiments import (
    Comparison,
    compare,
    comparison,
    tune,
    tuning,
)
from keras_dropx.experiments.method import Method
from keras_dropx.layers import AugmentedDropout, ForwardDropout
from keras_dropx.models import reestimate_batch_norm, replace_dropout

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4)).astype("float32")
Y = (X.sum(axis=1) > 0).astype("int32")
TRAIN, TEST = (X[:24], Y[:24]), (X[24:], Y[24:])
FAST = {"seeds": 2, "epochs": 1, "batch_size": 8, "verbose": 0}
TWO = ["none", "forward"]


def build(dropout, units=6, loss="binary_crossentropy", metrics=("accuracy",)):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(units, activation="relu"),
            dropout(0.5),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    # XLA would only take longer to compile.
    model.compile("adam", loss, metrics=list(metrics), jit_compile=False)
    return model


def with_activation(dropout, activation):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(6),
            activation("tanh"),
            dropout(0.5),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(
        "sgd", "binary_crossentropy", metrics=["accuracy"], jit_compile=False
    )
    return model


def given():
    return build(keras.layers.Dropout)


@pytest.mark.parametrize("module", [comparison, tuning])
def test_tensorflow_does_not_talk_of_retracing(module, monkeypatch, caplog):
    """Many models are compiled, and it counts the functions alone."""
    logger = tf.get_logger()

    def check_data(name, data):
        logger.warning("5 out of the last 5 calls triggered retracing")
        raise EOFError

    monkeypatch.setattr(logger, "level", logging.WARNING)
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(module, "check_data", check_data)
    call = {comparison: compare, tuning: tune}[module]
    with pytest.raises(EOFError):
        call(build, TRAIN, TEST)
    assert not caplog.records
    assert logger.level == logging.WARNING


def results(comparison, method):
    return [
        {k: v for k, v in r.items() if k.startswith(("test_", "train_loss"))}
        for r in comparison.records
        if r["method"] == method
    ]


def start_as_compare(model, sites, seed, train, offset=0):
    if keras.config.backend() != "tensorflow":
        # Its loss and metrics are built: see `compare`.
        model.test_on_batch(train[0][:8], train[1][:8])
    for place, layer in enumerate(sites):
        entropy = np.random.SeedSequence((seed, place, offset))
        state = layer.seed_generator.state
        word = entropy.generate_state(1)[0]
        state.assign(np.array([word, 0]).astype(state.dtype))


def check_equal(got, expected):
    if keras.config.backend() == "tensorflow":
        assert got == expected
        return
    for a, b in zip(got, expected, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_allclose(a[key], b[key], 1e-4)


def by_hand(make, sites, seeds, train, test, epochs=2, offset=0):
    """Public Keras alone; returns what `results` does."""
    found = []
    for seed in seeds:
        keras.utils.set_random_seed(seed)
        start = build(lambda rate: keras.layers.Identity()).get_weights()
        model = build(make)
        model.set_weights(start)
        start_as_compare(model, sites(model), seed, train, offset)
        keras.utils.set_random_seed(seed)
        history = model.fit(
            *train[:2],
            sample_weight=train[2],
            epochs=epochs,
            batch_size=8,
            verbose=0,
        )
        scores = model.evaluate(
            *test, batch_size=8, verbose=0, return_dict=True
        )
        scores = {f"test_{name}": value for name, value in scores.items()}
        found.append({"train_loss": history.history["loss"], **scores})
    return found


@pytest.mark.backends
@pytest.mark.full
def test_records_are_those_of_a_loop_by_hand_to_the_bit():
    weights = RNG.uniform(size=24).astype("float32")
    train = (*TRAIN, weights)
    comparison = compare(
        build, train, TEST, ["dropout", "forward"], **{**FAST, "epochs": 2}
    )
    assert comparison.seeds == [0, 1]
    for name, make, offset in (
        ("dropout", AugmentedDropout, 0),
        ("forward", ForwardDropout, 0),
        ("remasked", AugmentedDropout, 1),
    ):
        expected = by_hand(
            make,
            lambda model: [model.layers[1]],
            [0, 1],
            train,
            TEST,
            2,
            offset,
        )
        check_equal(results(comparison, name), expected)


@keras.saving.register_keras_serializable("test_comparison")
class Block(keras.layers.Layer):
    """A block as KerasHub has them: attention and dropout in its inside."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.attention = keras.layers.MultiHeadAttention(2, 2, dropout=0.2)
        self.dense = keras.layers.Dense(4, activation="relu")
        self.dropout = keras.layers.Dropout(0.4)

    def build(self, shape):
        self.attention.build(shape, shape)
        self.dense.build(shape)
        super().build(shape)

    def call(self, x, training=False):
        x = x + self.attention(x, x, training=training)
        return x + self.dropout(self.dense(x), training=training)


class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [Block(), Block()]
        self.norm = keras.layers.Normalization()
        self.last = keras.layers.Dense(1, activation="sigmoid")

    def call(self, x, training=False):
        x = keras.ops.reshape(self.norm(x), (-1, 2, 4))
        for block in self.blocks:
            x = block(x, training=training)
        return self.last(keras.ops.mean(x, axis=1))


def functional():
    inputs = keras.Input((8,))
    x = keras.layers.Reshape((2, 4))(inputs)
    x = Block()(x)
    x = keras.layers.Dropout(0.3)(keras.layers.Flatten()(x))
    return keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(x))


def by_hand_in_place(make, method, start, seed, train, test):
    """Public Keras and `replace_dropout`; returns what `results` does."""
    keras.utils.set_random_seed(seed)
    weights = make().get_weights()
    if start is not None:
        weights = start
    model, sites = make(), []

    def replacement(layer):
        sites.append(layer)
        return method(layer.rate)

    replace_dropout(model, replacement, in_place=True)
    model.set_weights(weights)
    start_as_compare(model, sites, seed, train)
    keras.utils.set_random_seed(seed)
    history = model.fit(*train, epochs=1, batch_size=8, verbose=0)
    scores = model.evaluate(*test, batch_size=8, verbose=0, return_dict=True)
    scores = {f"test_{name}": value for name, value in scores.items()}
    return {"train_loss": history.history["loss"], **scores}


@pytest.mark.full
@pytest.mark.parametrize("start", ["fresh", "given"])
@pytest.mark.parametrize("kind", [Subclassed, functional])
def test_models_that_are_reached_in_place_alone(kind, start):
    x = RNG.normal(size=(40, 8)).astype("float32")
    train, test = (x[:24], Y[:24]), (x[24:], Y[24:])

    def make():
        model = kind()
        if kind is Subclassed:
            model.norm.adapt(x + 3)
        model.compile(
            "adam",
            "binary_crossentropy",
            metrics=["accuracy"],
            jit_compile=False,
        )
        model(x[:8])
        return model

    model = make()
    before = model.get_weights()
    comparison = compare(model, train, test, TWO, start=start, **FAST)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    rates = comparison.plan.methods[1].rates
    assert sorted(rates) == sorted(
        [0.2, 0.4] * 2 if kind is Subclassed else [0.2, 0.4, 0.3]
    )
    given = before if start == "given" else None
    for name, method in (
        ("none", lambda rate: keras.layers.Dropout(0.0)),
        ("dropout", AugmentedDropout),
        ("forward", ForwardDropout),
    ):
        expected = [
            by_hand_in_place(make, method, given, seed, train, test)
            for seed in (0, 1)
        ]
        check_equal(results(comparison, name), expected)


class NoConfig(Subclassed):
    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function


def test_a_model_that_cannot_be_made_again_is_refused():
    model = NoConfig(lambda x: x)
    model.norm.adapt(np.eye(8))
    model.compile("adam", "binary_crossentropy")
    with pytest.raises(ValueError, match="`model`.*build.dropout") as caught:
        compare(model, (np.ones((9, 8)), Y[:9]), TEST, TWO, **FAST)
    assert "\n" not in str(caught.value)


class Watch(keras.callbacks.Callback):
    """Writes down where each run starts, and its batches."""

    seen, batches = [], []

    def __deepcopy__(self, memo):
        return Watch()

    def on_train_begin(self, logs=None):
        noisy = np.asarray(
            self.model.layers[1](np.ones((1, 50)), training=True)
        )
        self.seen.append((self.model.get_weights(), noisy))
        self.batches.append([])

    def on_train_batch_end(self, batch, logs=None):
        self.batches[-1].append(logs.get("number"))


def number(y, p):
    return y


@pytest.mark.full
def test_methods_of_a_seed_start_from_the_same_weights_and_forward_masks():
    Watch.seen.clear()
    Watch.batches.clear()

    def numbered(dropout):
        return build(dropout, loss="mse", metrics=(number,))

    compare(
        numbered,
        (TRAIN[0], np.arange(24.0, dtype="float32")),
        TEST,
        ["dropout", "forward"],
        metric="loss",
        fit={"callbacks": [Watch()]},
        **FAST,
    )
    # The mean number of the samples so far tells one order from another.
    first, second = Watch.batches[:4], Watch.batches[4:]
    assert first == [first[0]] * 4 and second == [second[0]] * 4
    assert len(first[0]) == 3 and first[0] != second[0]
    runs = [Watch.seen[:4], Watch.seen[4:]]
    for (none, silent), (weights, noisy), *others in runs:
        assert (silent == 1).all()
        for other in (none, *(weights for weights, _ in others)):
            for a, b in zip(weights, other, strict=True):
                np.testing.assert_array_equal(a, b)
        (_, forward), (_, other_masks) = others
        np.testing.assert_array_equal(noisy == 0, forward == 0)
        assert (noisy != other_masks).any()
    assert (runs[0][0][0][0] != runs[1][0][0][0]).any()
    assert (runs[0][1][1] != runs[1][1][1]).any()


class Seeds(keras.callbacks.Callback):
    """Writes down the seeds of noise and dropout at the start of each run."""

    seen = []

    def __deepcopy__(self, memo):
        return Seeds()

    def on_train_begin(self, logs=None):
        found = [getattr(x, "seed_generator", None) for x in self.model.layers]
        self.seen.append([int(np.asarray(x.state)[0]) for x in found if x])


def test_noise_of_the_model_is_paired_and_has_seeds_of_its_own():
    def noisy(dropout):
        model = keras.Sequential(
            [
                keras.Input((4,)),
                keras.layers.Dense(6),
                keras.layers.GaussianNoise(0.1),
                dropout(0.5),
                keras.layers.Dense(1, activation="sigmoid"),
            ]
        )
        model.compile("sgd", "binary_crossentropy", jit_compile=False)
        return model

    Seeds.seen.clear()
    arguments = {**FAST, "seeds": 1, "fit": {"callbacks": [Seeds()]}}
    compare(noisy, TRAIN, TEST, ["dropout"], **arguments)
    (plain,), (noise, masks), (same_noise, other_masks) = Seeds.seen
    assert plain == noise == same_noise
    assert len({noise, masks, other_masks}) == 3


def test_initial_weights_are_drawn_once_a_seed():
    built = []

    def counted(dropout):
        built.append(dropout)
        return build(dropout)

    compare(counted, TRAIN, TEST, TWO, **FAST)
    # Without dropout, none, dropout, forward, other masks; then the seeds.
    assert len(built) == 5 + FAST["seeds"]


@pytest.mark.full
def test_two_methods_that_are_one_differ_by_nothing():
    """Batch order and masks are paired: else these could not agree."""
    comparison = compare(build, TRAIN, TEST, {"mine": AugmentedDropout}, **FAST)
    assert results(comparison, "mine") == results(comparison, "dropout")
    (contrast,) = comparison.contrasts
    assert (contrast["treatment"], contrast["control"]) == ("mine", "dropout")
    assert contrast["verdict"] == "not resolved"


def test_methods_that_fit_are_named_and_contrasted():
    comparison = compare(with_activation, TRAIN, TEST, **FAST)
    names = [method.name for method in comparison.plan.methods]
    assert names == [
        "none",
        "dropout",
        "augmented",
        "forward",
        "backward",
        "jumpout",
        "gaaf",
        "gain",
        "remasked",
    ]
    assert [(c["treatment"], c["control"]) for c in comparison.contrasts] == [
        ("dropout", "none"),
        ("augmented", "dropout"),
        ("forward", "dropout"),
        ("backward", "none"),
        ("jumpout", "dropout"),
        ("gaaf", "gain"),
    ]
    assert len(comparison.records) == 18
    text = str(comparison)
    assert text.startswith(comparison.verdict)
    assert "dropout under other masks" in text and "no dropout" in text
    starts = {r["seed"]: r for r in comparison.records if r["method"] == "none"}
    for record in comparison.records:
        if record["method"] == "gaaf":
            assert record["train_loss"] != starts[record["seed"]]["train_loss"]


@pytest.mark.few(1)
@pytest.mark.parametrize("start", ["fresh", "given"])
def test_compiled_model_is_not_changed_and_starts_as_it_is_told(start):
    model = given()
    model.fit(*TRAIN, verbose=0)
    before = model.get_weights()
    Watch.seen.clear()
    compare(
        model,
        TRAIN,
        TEST,
        TWO,
        start=start,
        fit={"callbacks": Watch()},
        **FAST,
    )
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    first, other = Watch.seen[0][0], Watch.seen[-1][0]
    assert (first[0] == before[0]).all() == (start == "given")
    assert (first[0] == other[0]).all() == (start == "given")


def test_normalisation_stays_and_batch_norm_is_reestimated():
    normalise = keras.layers.Normalization()
    normalise.adapt(X + 3)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            normalise,
            keras.layers.Dropout(0.5),
            keras.layers.Dense(6),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    model.layers[3].moving_mean.assign(np.full(6, 5.0))

    class Starts(keras.callbacks.Callback):
        seen = []

        def __deepcopy__(self, memo):
            return Starts()

        def on_train_begin(self, logs=None):
            norm, batch = self.model.layers[0], self.model.layers[3]
            self.seen.append(
                [np.asarray(norm.mean), np.asarray(batch.moving_mean)]
            )

    comparison = compare(
        model, TRAIN, TEST, TWO, fit={"callbacks": [Starts()]}, **FAST
    )
    for mean, moving in Starts.seen:
        np.testing.assert_array_equal(mean, np.asarray(normalise.mean))
        np.testing.assert_array_equal(moving, np.zeros(6))
    assert all("reestimated_accuracy" in r for r in comparison.records)
    assert "re-estimated" in str(comparison)


@pytest.mark.full
def test_batch_norm_of_a_run_is_not_that_of_the_last():
    def with_norm(dropout):
        model = keras.Sequential(
            [
                keras.Input((4,)),
                dropout(0.5),
                keras.layers.Dense(6),
                keras.layers.BatchNormalization(),
                keras.layers.Dense(1, activation="sigmoid"),
            ]
        )
        model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
        return model

    both = compare(with_norm, TRAIN, TEST, TWO, **FAST)
    again = compare(with_norm, TRAIN, TEST, TWO, **{**FAST, "seeds": [1]})
    key = "test_loss"
    assert again.values("forward", key)[1] == both.values("forward", key)[1]


@pytest.mark.backends
def test_dataset_and_pydataset():
    def batches(x, y):
        return tf.data.Dataset.from_tensor_slices((x, y)).batch(8)

    for train, test in (
        (batches(*TRAIN), batches(*TEST)),
        (Batches(), Batches()),
    ):
        compared = compare(
            build, train, test, ["dropout"], **{**FAST, "seeds": 1}
        )
        # What dropout is contrasted with, and its noise floor, run too.
        methods = [record["method"] for record in compared.records]
        assert methods == ["none", "dropout", "remasked"]


def with_batch_norm(dropout):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            dropout(0.5),
            keras.layers.Dense(16, activation="relu"),
            dropout(0.5),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(
        keras.optimizers.SGD(0.3, momentum=0.9),
        "binary_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    return model


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        part = slice(8 * index, 8 * index + 8)
        return X[part], Y[part]


@pytest.mark.backends
@pytest.mark.full
@pytest.mark.parametrize(
    "train",
    [
        TRAIN,
        tf.data.Dataset.from_tensor_slices(TRAIN).batch(8),
        Batches(),
    ],
    ids=["arrays", "dataset", "pydataset"],
)
def test_batch_norm_is_reestimated_on_any_data(train):
    """As `reestimate_batch_norm` does it with the trained model."""

    class Keep(keras.callbacks.Callback):
        def __deepcopy__(self, memo):
            return Keep()

        def on_train_end(self, logs=None):
            copy = reestimate_batch_norm(self.model, x, batch_size=8)
            score = copy.evaluate(
                *TEST, batch_size=8, verbose=0, return_dict=True
            )
            self.scores.append(score["loss"])

    Keep.scores = []
    x = train[0] if isinstance(train, tuple) else train
    comparison = compare(
        with_batch_norm, train, TEST, TWO, fit={"callbacks": Keep()}, **FAST
    )
    # A seed after the other, each method in turn; so are the records sorted.
    records = sorted(comparison.records, key=lambda record: record["seed"])
    found = [record["reestimated_loss"] for record in records]
    assert found == pytest.approx(Keep.scores, rel=1e-6)
    assert found != [record["test_loss"] for record in records]


@pytest.mark.full
def test_where_clean_statistics_help_the_verdict_says_so():
    # Enough examples that it says so for any of them, and on any CPU.
    x = np.random.default_rng(0).normal(size=(3000, 4)).astype("float32")
    y = (x.sum(axis=1) > 0).astype("int32")
    comparison = compare(
        with_batch_norm,
        (x[:2000], y[:2000]),
        (x[2000:], y[2000:]),
        ["none"],
        seeds=6,
        epochs=4,
        batch_size=50,
        verbose=0,
        metric="loss",
    )
    assert "`keras_dropx.models.reestimate_batch_norm`" in comparison.verdict


@pytest.mark.full
def test_dict_input_two_outputs_and_regression():
    def two(dropout):
        a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
        h = dropout(0.3)(keras.layers.concatenate([a, b]))
        outputs = {
            "mean": keras.layers.Dense(1, name="mean")(h),
            "sign": keras.layers.Dense(1, "sigmoid", name="sign")(h),
        }
        model = keras.Model({"a": a, "b": b}, outputs)
        model.compile(
            "adam",
            {"mean": "mse", "sign": "binary_crossentropy"},
            metrics={"mean": ["mae"]},
            jit_compile=False,
        )
        return model

    data = (
        {"a": X, "b": -X},
        {"mean": X.sum(axis=1), "sign": Y.astype("float32")},
    )
    comparison = compare(two, data, data, TWO, metric="mean_mae", **FAST)
    assert comparison.direction == "min"
    assert "test_mean_mae" in comparison.records[0]
    plain = compare(two, data, data, TWO, **FAST)
    assert (plain.metric, plain.direction) == ("loss", "min")


@pytest.mark.full
def test_early_stopping_is_new_for_each_run():
    stop = keras.callbacks.EarlyStopping(
        monitor="loss", patience=0, min_delta=9
    )
    comparison = compare(
        build,
        TRAIN,
        TEST,
        TWO,
        fit={"callbacks": [stop]},
        **{**FAST, "epochs": 5},
    )
    assert {len(r["train_loss"]) for r in comparison.records} == {2}
    assert stop.stopped_epoch == 0


@pytest.mark.full
def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    comparison = compare(build, TRAIN, TEST, TWO, **FAST)
    assert comparison.records[0]["precision"] == "mixed_float16"
    assert np.isfinite(list(comparison.values("forward").values())).all()


class Explode(keras.layers.Layer):
    def call(self, inputs, training=False):
        return inputs * float("nan") if training else inputs


def test_a_run_that_diverged_has_the_keys_of_the_others():
    record = {"seed": 0, "train_loss": [1.0], "test_loss": 1.0}
    records = [
        {**record, "method": "good", "test_accuracy": 0.5},
        {**record, "method": "bad", "test_accuracy": 0.5, "test_loss": np.nan},
    ]
    methods = [Method("good"), Method("bad")]
    plan = types.SimpleNamespace(methods=methods)
    found = Comparison(plan, "accuracy", "max", None, 1, "", records)
    good, bad = found.rows
    assert good.keys() == bad.keys() and "reestimated_mean" not in bad
    assert found.values("bad", "reestimated_accuracy") == {}
    assert np.isnan(found.values("bad")[0]) and bad["diverged"] == 1


@pytest.mark.full
def test_run_that_diverges_is_recorded_and_the_rest_goes_on(tmp_path):
    comparison = compare(
        build,
        TRAIN,
        TEST,
        {"bad": lambda rate: Explode(), "good": ForwardDropout},
        output=tmp_path,
        **FAST,
    )
    marks = {r["method"]: r["diverged"] for r in comparison.records}
    assert marks == {
        "dropout": False,
        "bad": True,
        "good": False,
        "remasked": False,
    }
    assert "Bad diverged under 2 of 2 seeds." in comparison.verdict
    # Its accuracy is a number, that of predictions which are none.
    assert np.isfinite([r["test_accuracy"] for r in comparison.records]).all()
    (bad,) = [c for c in comparison.contrasts if c["treatment"] == "bad"]
    assert (bad["diverged"], bad["mean"], bad["verdict"]) == (
        *(2, None, "not resolved"),
    )
    assert re.search("│ bad +│ +diverged │", str(comparison))
    again = compare(
        build,
        TRAIN,
        TEST,
        {"bad": lambda rate: Explode(), "good": ForwardDropout},
        output=tmp_path,
        **FAST,
    )
    assert len((tmp_path / "runs.jsonl").read_text().splitlines()) == 8
    assert str(again) == str(comparison)


class Interrupt(keras.callbacks.Callback):
    """Ctrl-C after as many trainings as are left, which is no setting."""

    left = 0

    def __deepcopy__(self, memo):
        return self

    def on_train_begin(self, logs=None):
        Interrupt.left -= 1
        if Interrupt.left < 0:
            raise KeyboardInterrupt


def test_interrupted_it_shows_what_it_has_and_goes_on(tmp_path):
    arguments = {**FAST, "seeds": 3, "output": tmp_path}

    def run(left):
        Interrupt.left = left
        fit = {"callbacks": [Interrupt()]}
        return compare(build, TRAIN, TEST, TWO, fit=fit, **arguments)

    part = run(9)
    assert part.seeds == [0, 1] and len(part.records) == 8
    kept = (tmp_path / "runs.jsonl").read_text().splitlines()
    assert len(kept) == 9
    whole = run(3)
    assert whole.seeds == [0, 1, 2] and Interrupt.left == 0
    lines = (tmp_path / "runs.jsonl").read_text().splitlines()
    assert lines[:9] == kept and len(lines) == 12


@pytest.mark.full
def test_other_data_is_another_comparison_in_the_same_folder(tmp_path):
    for y in (Y[:24], 1 - Y[:24]):
        compared = compare(
            build, (X[:24], y), TEST, TWO, output=tmp_path, **FAST
        )
        assert len(compared.records) == 8
    assert len((tmp_path / "runs.jsonl").read_text().splitlines()) == 16


@pytest.mark.full
def test_interrupted_without_a_folder_it_has_nothing_to_show():
    Interrupt.left = 1
    fit = {"callbacks": [Interrupt()]}
    with pytest.raises(KeyboardInterrupt):
        compare(build, TRAIN, TEST, TWO, fit=fit, **FAST)


@pytest.mark.full
def test_runs_are_repeated_where_something_does_something_else(tmp_path):
    def power(exponent):
        return lambda y, p: keras.ops.mean(keras.ops.abs(y - p) ** exponent)

    def count(exponent=2.0, train=TRAIN, **options):
        def make(dropout):
            return build(dropout, loss=power(exponent), **options)

        arguments = {**FAST, "seeds": 1, "output": tmp_path}
        compare(make, train, TEST, ["none"], **arguments)
        return len((tmp_path / "runs.jsonl").read_text().splitlines())

    assert count() == 3
    assert count() == 3
    assert count(1.5) == 6
    assert count(metrics=("accuracy", "mae")) == 9
    assert count(train=(TRAIN[0] + 1, TRAIN[1])) == 12
    assert count(train=(*TRAIN, np.full(24, 0.5))) == 15
    assert count() == 15
    model = given()
    before = model.get_weights()
    arguments = {**FAST, "seeds": 1, "output": tmp_path, "start": "given"}

    def runs():
        compare(model, TRAIN, TEST, ["none"], **arguments)
        return len((tmp_path / "runs.jsonl").read_text().splitlines())

    assert runs() == runs() == 18
    model.set_weights([weight + 1 for weight in before])
    assert runs() == 21


@pytest.mark.full
def test_seeds_run_on_until_all_is_resolved():
    planted = compare(
        build,
        TRAIN,
        TEST,
        {"bad": lambda rate: Explode()},
        **{**FAST, "seeds": (2, 3)},
    )
    assert planted.seeds == [0, 1, 2] and planted.looks == 2
    stopped = compare(build, TRAIN, TEST, [], **{**FAST, "seeds": (2, 8)})
    # Nothing to resolve.
    assert stopped.seeds == [0, 1] and stopped.contrasts == []


def test_page_and_figure(tmp_path):
    comparison = compare(build, TRAIN, TEST, TWO, **FAST)
    assert isinstance(comparison, Comparison)
    comparison.report(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert comparison.verdict in page and "data:image/png" in page
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    comparison.report(tmp_path / "page.md")
    assert (tmp_path / "page.png").exists()
    with pytest.raises(ValueError, match="`path`"):
        comparison.report(tmp_path / "page.pdf")
    json.dumps(comparison.records)


ENDLESS = tf.data.Dataset.from_tensor_slices(TRAIN).batch(8).repeat()


def uncompiled(dropout):
    return keras.Sequential([keras.Input((4,)), dropout(0.5)])


def no_site(dropout):
    return build(lambda rate: keras.layers.Identity())


class Weighted(keras.layers.Layer):
    def build(self, shape):
        self.weight = self.add_weight(shape=())

    def call(self, inputs):
        return inputs * self.weight


def twice(dropout):
    return build(dropout, metrics=("accuracy", "AUC"))


def own_metric(dropout):
    def plainness(y, p):
        return keras.ops.mean(p)

    return build(dropout, metrics=(plainness,))


@pytest.mark.parametrize(
    "words, model, arguments",
    [
        ("`model`.*compiled", uncompiled, {}),
        ("`model`.*site", no_site, {}),
        ("`model`.*build", 3, {}),
        ("`model`.*build", lambda: None, {}),
        ("`train`.*one length", build, {"train": (X[:5], Y[:4])}),
        ("`test`.*Dataset", build, {"test": X}),
        ("`test`.*an end", build, {"test": ENDLESS}),
        ("`train`.*steps_per_epoch", build, {"train": ENDLESS}),
        ("`methods`.*'forward'", build, {"methods": ["sideways"]}),
        ("`methods`.*build", build, {"methods": ["gaaf"]}),
        (
            "`methods`.*same param",
            build,
            {"methods": {"w": lambda r: Weighted()}},
        ),
        ("`methods`.*own", build, {"methods": {"none": ForwardDropout}}),
        ("`metric`.*'accuracy'", build, {"metric": "auc"}),
        ("`metric`.*'max'", own_metric, {"metric": "plainness"}),
        ("`seeds`", build, {"seeds": (5, 2)}),
        ("`seeds`", build, {"seeds": 0}),
        ("`epochs`", build, {"epochs": 0}),
        ("`margin`", build, {"margin": 0}),
        ("`fit`.*'epochs'", build, {"fit": {"epochs": 3}}),
        ("`start`", build, {"start": "given"}),
        ("`verbose`", build, {"verbose": "loud"}),
    ],
)
def test_mistakes_are_said_before_anything_is_trained(words, model, arguments):
    arguments = {"train": TRAIN, "test": TEST, **FAST, **arguments}
    arguments["fit"] = arguments.get("fit", {"callbacks": [Fails()]})
    with pytest.raises(ValueError, match=words) as caught:
        compare(model, **arguments)
    assert "\n" not in str(caught.value)


class Fails(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        raise AssertionError("trained")


@pytest.mark.full
def test_metric_is_the_one_that_is_compiled():
    assert compare(build, TRAIN, TEST, TWO, **FAST).metric == "accuracy"
    assert compare(twice, TRAIN, TEST, TWO, **FAST).metric == "loss"
    comparison = compare(
        own_metric, TRAIN, TEST, TWO, metric=("plainness", "max"), **FAST
    )
    assert comparison.direction == "max"
