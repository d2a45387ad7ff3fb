import copy

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_dropx.callbacks import GradientInformation, probe
from keras_dropx.layers import AugmentedDropout, ForwardDropout, MaskedInput

BACKEND = keras.config.backend()
RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 6)).astype("float32")
Y = RNG.integers(0, 3, 32)
LOSS = "sparse_categorical_crossentropy"
# JAX has the form on a probe batch only.
FORMS = [(X[:16], Y[:16])] if BACKEND == "jax" else [None, (X[:16], Y[:16])]


def mlp(dropout=lambda: AugmentedDropout(0.5, 0.1)):
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, activation="tanh", name="first"),
            dropout(),
            layers.Dense(8, activation="tanh", name="second"),
            layers.BatchNormalization(),
            layers.Dropout(0.2),
            layers.Dense(3, activation="softmax", name="top"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), LOSS)
    return model


def fit(model, *callbacks, **options):
    options = {"epochs": 2, "batch_size": 8, "verbose": 0, **options}
    return model.fit(X, Y, callbacks=list(callbacks), **options)


def keys(names, normalized=True):
    prefixes = ["gradient_information"]
    prefixes += ["gradient_information_normalized"] * normalized
    return {f"{prefix}/{name}" for prefix in prefixes for name in names}


@pytest.mark.parametrize("data", FORMS)
def test_logs_results_and_history(data, tmp_path):
    callback = GradientInformation(data=data)
    history = fit(mlp(), callback).history
    wanted = keys(["first", "second", "top"])
    assert wanted | {"loss"} == set(history)
    results = callback.results
    assert set(results) == wanted | {"epoch"}
    assert results["epoch"].tolist() == [0, 1]
    for key in wanted:
        assert results[key].tolist() == history[key]
        assert np.all(results[key] > 0)
    ratios = (
        results["gradient_information/first"]
        / results["gradient_information_normalized/first"]
    )
    np.testing.assert_allclose(
        results["gradient_information/top"] / ratios,
        results["gradient_information_normalized/top"],
    )
    results.to_csv(tmp_path / "results.csv")
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert len(lines) == 3
    assert lines[0].split(",") == list(results)
    assert float(lines[2].split(",")[1]) == results[list(results)[1]][1]


@pytest.mark.few(1)
@pytest.mark.backends
@pytest.mark.parametrize("data", FORMS)
def test_training_is_the_same_to_the_bit(data, tmp_path):
    states = []
    for callbacks in ([], [GradientInformation(data=data)]):
        keras.utils.set_random_seed(3)
        model = mlp()
        fit(model, *callbacks, validation_split=0.25)
        variables = [*model.variables, *model.optimizer.variables]
        states.append([ops.convert_to_numpy(v) for v in variables])
        model.save(tmp_path / f"{len(callbacks)}.keras")
        loaded = keras.models.load_model(tmp_path / f"{len(callbacks)}.keras")
        states[-1].append(len(loaded.optimizer.variables))
    for one, other in zip(*states, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.few(1)
@pytest.mark.backends
@pytest.mark.parametrize("data", FORMS)
def test_nothing_is_left_on_the_model(data):
    model = mlp()
    parts = [model, model.optimizer, *model.layers]
    before = [set(vars(part)) for part in parts]
    fit(model)
    plain = [set(vars(part)) for part in parts]
    fit(model, GradientInformation(data=data))
    for part, one, two in zip(parts, before, plain, strict=True):
        assert set(vars(part)) <= one | two
    fit(model)


@pytest.mark.backends
def test_the_form_on_a_batch_is_equation_5():
    # By hand for one sample at a time, under the masks of the same pass.
    model = mlp(lambda: AugmentedDropout(0.0))
    model.layers[-2].rate = 0.0  # no masks: each sample stands alone
    batch_norm = model.layers[3]
    batch_norm.trainable = False  # nor does it mix them
    model.compile("sgd", LOSS)
    callback = GradientInformation(data=(X[:5], Y[:5]))
    fit(model, callback, epochs=1, batch_size=32, steps_per_epoch=1)
    values = [ops.convert_to_numpy(v) for v in model.trainable_variables]
    sizes = np.zeros(3)
    for n in range(5):
        gradients = loss_gradients(model, values, X[n : n + 1], Y[n : n + 1])
        sizes += [np.mean(np.abs(gradients[i])) / 5 for i in (0, 2, 4)]
    for name, size in zip(("first", "second", "top"), sizes, strict=True):
        got = callback.results[f"gradient_information/{name}"][0]
        np.testing.assert_allclose(got, size, 1e-5)


def loss_gradients(model, values, x, y):
    """Gradients of the loss by the trainable variables, as arrays."""

    def total(tap):
        parts = [tap(ops.convert_to_tensor(value)) for value in values]
        state = [v.value for v in model.non_trainable_variables]
        y_pred, _ = model.stateless_call(parts, state, x, training=True)
        loss = keras.losses.sparse_categorical_crossentropy(y, y_pred)
        return ops.mean(loss), ()

    _, _, found = probe.gradients(total)
    return [ops.convert_to_numpy(gradient) for gradient in found]


LINEAR = {
    "dense": ((5, 4), lambda: layers.Dense(3)),
    "dense-rank-3": ((5, 2, 4), lambda: layers.Dense(3)),
    "einsum": ((5, 2, 4), lambda: layers.EinsumDense("abc,cd->abd", (2, 3))),
    "conv1d": ((5, 7, 2), lambda: layers.Conv1D(3, 3, padding="causal")),
    "conv2d": ((5, 6, 6, 2), lambda: layers.Conv2D(3, 3, 2, padding="same")),
    "transpose": ((5, 4, 4, 2), lambda: layers.Conv2DTranspose(3, 3, 2)),
    "depthwise": (
        (5, 6, 6, 2),
        lambda: layers.DepthwiseConv2D(3, depth_multiplier=2),
    ),
}


@pytest.mark.few(4)
@pytest.mark.backends
@pytest.mark.parametrize("kind", LINEAR)
@pytest.mark.parametrize("calls", [1, 2])
def test_the_terms_of_the_samples(kind, calls):
    from keras_dropx.callbacks.gradient_sample_form import sample_size

    shape, build = LINEAR[kind]
    layer = build()
    layer.build(shape)
    pairs = []
    for _ in range(calls):
        h = RNG.normal(size=shape).astype("float32")
        delta = RNG.normal(size=layer(h).shape).astype("float32")
        pairs.append((h, delta))

    def gradient(samples):
        def total(tap):
            kernel = tap(ops.copy(layer.kernel))
            with keras.StatelessScope([(layer.kernel, kernel)]):
                parts = [
                    ops.sum(
                        layer(h[samples])
                        * ops.convert_to_tensor(delta[samples])
                    )
                    for h, delta in pairs
                ]
            return sum(parts), ()

        _, _, (found,) = probe.gradients(total)
        return ops.convert_to_numpy(found)

    terms = [gradient(slice(n, n + 1)) for n in range(5)]
    whole = gradient(slice(5))
    error = 1e-6 * np.abs(whole).max()
    np.testing.assert_allclose(sum(terms), whole, 0, error)
    expected = np.mean([np.abs(term).mean() for term in terms])
    got = float(ops.convert_to_numpy(sample_size(layer, pairs)))
    np.testing.assert_allclose(got, expected, 1e-5)


@pytest.mark.backends
def test_terms_of_a_masked_input_are_of_the_backward_mask():
    # Of one sample mean|h δᵀ| / mean|δ| is mean|h|; here h ⊙ ε_b is h itself.
    dense = layers.Dense(3)
    dropout = ForwardDropout(0.9, seed=1)
    model = keras.Sequential(
        [keras.Input((6,)), MaskedInput(dense, dropout, name="top")]
    )
    model.compile("sgd", "mse")
    callback = GradientInformation(data=(X[:1], np.ones((1, 3))))
    model.fit(X, np.ones((32, 3)), callbacks=[callback], verbose=0)
    size = callback.results["gradient_information_normalized/top"][0]
    assert size == pytest.approx(np.abs(X[0]).mean(), 1e-5)


@pytest.mark.full
def test_loss_sum_is_not_multiplied_again():
    sizes = []
    for reduction in ("sum", "sum_over_batch_size"):
        keras.utils.set_random_seed(1)
        model = mlp()
        loss = keras.losses.SparseCategoricalCrossentropy(reduction=reduction)
        model.compile(keras.optimizers.SGD(0.0), loss)
        callback = GradientInformation(data=(X[:16], Y[:16]))
        fit(model, callback, epochs=1, batch_size=32)
        sizes.append(callback.results["gradient_information/first"][0])
    np.testing.assert_allclose(*sizes, rtol=1e-5)


def test_weight_decay_is_left_out_of_the_form_on_a_batch():
    sizes = []
    for decay in (0.0, 10.0):
        keras.utils.set_random_seed(1)
        dense = layers.Dense(
            3, kernel_regularizer=keras.regularizers.L2(decay), name="top"
        )
        model = keras.Sequential([keras.Input((6,)), dense])
        model.compile(keras.optimizers.SGD(0.0), "mse")
        callback = GradientInformation(data=(X, np.ones((32, 3))))
        model.fit(X, np.ones((32, 3)), callbacks=[callback], verbose=0)
        sizes.append(callback.results["gradient_information/top"][0])
    assert sizes[0] == pytest.approx(sizes[1], rel=1e-6)


@pytest.mark.few(1)
@pytest.mark.parametrize("data", FORMS)
def test_chosen_layers_and_every_n_steps(data):
    callback = GradientInformation(data=data, layers=["top"], frequency=3)
    history = fit(mlp(), callback, epochs=3).history  # 4 steps an epoch
    assert set(history) == keys(["top"]) | {"loss"}
    results = callback.results
    assert results["step"].tolist() == [3, 6, 9, 12]
    latest = results["gradient_information/top"][[0, 1, 3]].tolist()
    assert history["gradient_information/top"] == latest


@pytest.mark.few(1)
@pytest.mark.parametrize("data", FORMS)
def test_every_n_steps_with_an_n_beyond_the_first_epoch(data):
    callback = GradientInformation(data=data, frequency=6)
    history = fit(mlp(), callback).history
    assert len(history["gradient_information/top"]) == 2
    assert callback.results["step"].tolist() == [4, 6]


@pytest.mark.few(1)
@pytest.mark.parametrize("data", FORMS)
def test_a_second_training_starts_afresh(data):
    callback = GradientInformation(data=data)
    model = mlp()
    fit(model, callback)
    first = callback.results
    fit(model, callback, epochs=3)
    assert callback.results["epoch"].tolist() == [0, 1, 2]
    assert first["epoch"].tolist() == [0, 1]
    fit(mlp(), callback, epochs=1)
    assert callback.results["epoch"].tolist() == [0]


@pytest.mark.few(1)
@pytest.mark.parametrize("data", FORMS)
def test_copies(data):
    callback = GradientInformation(data=data)
    other = copy.deepcopy(callback)
    fit(mlp(), other)
    assert not callback.results and len(other.results["epoch"]) == 2
    again = copy.deepcopy(other)
    fit(mlp(), again, epochs=1)
    assert len(again.results["epoch"]) == 1


@pytest.mark.parametrize("data", FORMS)
def test_layers_of_one_name_in_nested_models(data):
    def block(name):
        return keras.Sequential(
            [keras.Input((6,)), layers.Dense(6, name="dense")], name=name
        )

    inputs = keras.Input((6,))
    x = block("left")(inputs) + block("right")(inputs)
    model = keras.Model(inputs, layers.Dense(3, "softmax", name="top")(x))
    model.compile("sgd", LOSS)
    history = fit(model, GradientInformation(data=data)).history
    assert set(history) == keys(["left/dense", "right/dense", "top"]) | {"loss"}


@pytest.mark.few(1)
@pytest.mark.parametrize("data", FORMS)
def test_output_in_a_nested_model_and_an_activation_behind_it(data):
    values = []
    for style in ("inside", "behind", "nested"):
        keras.utils.set_random_seed(1)
        activation = "softmax" if style == "inside" else None
        stack = [layers.Dense(3, activation=activation, name="top")]
        if style != "inside":
            stack.append(layers.Softmax())
        if style == "nested":
            stack = [keras.Sequential([keras.Input((6,)), *stack])]
        model = keras.Sequential([keras.Input((6,)), *stack])
        model.compile("sgd", LOSS)
        callback = GradientInformation(data=data)
        fit(model, callback, shuffle=False)
        values.append(callback.results["gradient_information_normalized/top"])
    np.testing.assert_allclose(values[0], values[1], 1e-5)
    np.testing.assert_allclose(values[0], values[2], 1e-5)


@pytest.mark.few(1)
@pytest.mark.parametrize("data", FORMS)
def test_nan_and_infinity_are_logged_and_stop_nothing(data):
    model = mlp()
    weights = model.get_weights()
    weights[0][0, 0] = np.nan
    model.set_weights(weights)
    history = fit(model, GradientInformation(data=data)).history
    assert len(history["loss"]) == 2
    assert np.all(np.isnan(history["gradient_information/top"]))


@pytest.mark.parametrize(
    "data, message",
    [
        (
            (X[:, :5], Y),
            r"probe batch of shape \(None, 6\). Received: \(32, 5\)",
        ),
        ((X[0], Y), r"of shape \(None, 6\). Received: \(6,\)"),
        (([X, X], Y), r"Received: \(32, 6\), \(32, 6\)"),
        ((X, Y[:5]), r"as many labels as inputs.*batches of \[5, 32\]"),
    ],
)
def test_a_probe_batch_that_does_not_fit_is_refused(data, message):
    with pytest.raises(ValueError, match=message):
        fit(mlp(), GradientInformation(data=data))


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"`data`. Expected a tuple \(x, y\)"):
        GradientInformation(data=X)
    with pytest.raises(ValueError, match="`frequency`. Expected 'epoch' or a"):
        GradientInformation(frequency=0)
    with pytest.raises(ValueError, match="`layers`. Expected a list of layer"):
        GradientInformation(layers="top")
    callback = GradientInformation(data=(X, Y), layers=["tip"])
    with pytest.raises(
        ValueError,
        match=r"`layers`. Expected linear layers, of \['first', 'second', "
        r"'top'\]. Received: layers=\['tip'\]",
    ):
        fit(mlp(), callback)


@pytest.mark.parametrize("data", FORMS)
def test_a_subclassed_model_has_no_normalised_form(data):
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.first = layers.Dense(8, activation="tanh")
            self.other = layers.Dense(3, activation="softmax", name="top")

        def call(self, x):
            return self.other(self.first(x))

    keras.utils.set_random_seed(1)
    functional = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, activation="tanh", name="first"),
            layers.Dense(3, activation="softmax", name="top"),
        ]
    )
    keras.utils.set_random_seed(1)
    found = []
    for model in (functional, Subclassed()):  # which its first step builds
        model.compile(keras.optimizers.SGD(0.1), LOSS)
        found.append(GradientInformation(data=data))
        fit(model, found[-1], shuffle=False)
    wanted = keys(["first", "top"], normalized=False)
    assert set(found[1].results) == wanted | {"epoch"}
    for key in wanted:
        np.testing.assert_allclose(
            found[0].results[key], found[1].results[key], 1e-4
        )
    fit(model, found[-1])  # built by now


@pytest.mark.few(1)
@pytest.mark.parametrize("data", FORMS)
def test_the_error_is_pooled_over_all_outputs(data):
    # Of the error of two outputs, of which one has no weight in the loss.
    if data is not None:
        data = (X, [np.ones((32, 1))] * 2)
    inputs = keras.Input((6,))
    h = layers.Dense(4, name="h")(inputs)
    heads = [layers.Dense(1, name=name)(h) for name in ("a", "b")]
    errors = []
    for weights in ([0, 1], [1, 0], [1, 1]):
        model = keras.Model(inputs, heads)
        model.compile(
            keras.optimizers.SGD(0.0), ["mse", "mse"], loss_weights=weights
        )
        callback = GradientInformation(data=data)
        model.fit(
            X,
            [np.ones((32, 1))] * 2,
            batch_size=32,
            callbacks=[callback],
            verbose=0,
        )
        sizes = [v[0] for k, v in callback.results.items() if k.endswith("/h")]
        errors.append(sizes[0] / sizes[1])
    assert errors[0] + errors[1] == pytest.approx(errors[2], 1e-5)


@pytest.mark.few(1)
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_the_form_on_a_batch_in_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    model = keras.Sequential(
        [
            keras.Input((4, 6)),
            layers.Conv1D(3, 2, name="conv"),
            layers.Dense(2, name="dense"),
            layers.Flatten(),
            layers.Dense(3, dtype="float32", name="top"),
        ]
    )
    model.compile("sgd", "mse")
    x, y = RNG.normal(size=(8, 4, 6)), np.ones((8, 3))
    callback = GradientInformation(data=(x, y))
    model.fit(x, y, callbacks=[callback], verbose=0)
    assert all(v[0] > 0 for k, v in callback.results.items() if "/" in k)


def test_recurrent_output_layers():
    model = keras.Sequential(
        [keras.Input((4, 6)), layers.Dense(3, name="dense"), layers.LSTM(2)]
    )
    model.compile("sgd", "mse")
    x, y = RNG.normal(size=(8, 4, 6)), np.ones((8, 2))
    for data in FORMS:
        data = data and (x, y)
        callback = GradientInformation(data=data, layers=["dense"])
        model.fit(x, y, callbacks=[callback], verbose=0)
        value = callback.results["gradient_information_normalized/dense"]
        assert np.all(np.isfinite(value))


def test_losses_of_which_one_is_a_sum_are_refused():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, [layers.Dense(1)(inputs) for _ in range(2)])
    model.compile("sgd", ["mse", keras.losses.MeanSquaredError("sum")])
    y = [np.ones((32, 1))] * 2
    with pytest.raises(ValueError, match="all are means, or all are sums"):
        model.fit(X, y, callbacks=[GradientInformation(data=(X, y))], verbose=0)


def test_the_picture(tmp_path):
    callback = GradientInformation(data=(X, Y))
    with pytest.raises(ValueError, match="Nothing has been measured yet"):
        callback.plot(tmp_path / "none.png")
    fit(mlp(), callback)
    callback.plot(tmp_path / "gradients.png")
    assert (tmp_path / "gradients.png").stat().st_size > 10_000
