"""The callbacks that measure on a probe batch."""

import copy

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_dropx.callbacks import (
    ActiveFraction,
    MomentDrift,
    NetDistribution,
    NetVariance,
    UnitCorrelation,
)
from keras_dropx.layers import (
    GAAF,
    AugmentedDropout,
    BackwardDropout,
    Jumpout,
    MaskedInput,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 6)).astype("float32")
IMAGES = RNG.normal(size=(16, 6, 6, 1)).astype("float32")


def sequential(*stack, shape=(6,)):
    model = keras.Sequential([keras.Input(shape), *stack])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    return model


def measure(callback, model, x=X, epochs=1, **options):
    """Fits once, at a learning rate of 0, and returns the results."""
    y = np.zeros((len(x), *model.output_shape[1:]))
    model.fit(x, y, callbacks=[callback], epochs=epochs, verbose=0, **options)
    return callback.results


def convnet():
    return sequential(
        layers.Conv2D(4, 3, name="conv"),
        layers.BatchNormalization(),
        layers.ReLU(name="relu"),
        Jumpout(0.2, seed=1, name="jumpout"),
        layers.Conv2D(4, 3, activation="relu", name="second"),
        layers.Flatten(),
        AugmentedDropout(0.5, seed=2, name="drop"),
        MaskedInput(
            layers.Dense(5, GAAF("tanh")),
            AugmentedDropout(0.3, 0.1, seed=3),
            name="masked",
        ),
        layers.Dropout(0.2, seed=4, name="plain"),
        layers.Dense(2, activation="softmax", name="top"),
        shape=(6, 6, 1),
    )


CALLBACKS = {
    "NetVariance": lambda **k: NetVariance(IMAGES, samples=3, **k),
    "NetDistribution": lambda **k: NetDistribution(IMAGES, **k),
    "UnitCorrelation": lambda **k: UnitCorrelation(IMAGES, **k),
    "ActiveFraction": lambda **k: ActiveFraction(IMAGES, samples=3, **k),
    "MomentDrift": lambda **k: MomentDrift(IMAGES, samples=3, **k),
}
EXPECTED = {
    "NetVariance": {
        "net_variance": ["conv", "relu", "second", "masked", "top"]
    },
    "NetDistribution": {"saturation": ["relu", "second", "masked"]},
    "UnitCorrelation": {"unit_correlation": ["relu", "second", "masked"]},
    "ActiveFraction": {
        "active_fraction": "relu jumpout second drop masked plain".split(),
        "changed_fraction": ["jumpout", "drop", "masked", "plain"],
        "active_drop_rate": ["jumpout", "drop", "masked", "plain"],
        "clipped_fraction": ["jumpout", "drop", "masked", "plain"],
    },
    "MomentDrift": {
        name: ["second", "drop/masked", "masked/masked", "top"]
        for name in (
            "mean_drift",
            "variance_drift",
            "variance_ratio_r",
            "variance_keeping_exponent",
        )
    },
}


@pytest.mark.parametrize("name", CALLBACKS)
def test_logs_results_and_picture(name, tmp_path):
    callback = CALLBACKS[name]()
    model = convnet()
    history = model.fit(
        IMAGES, np.ones((16, 2)), callbacks=[callback], epochs=2, verbose=0
    ).history
    keys = {
        f"{prefix}/{layer}"
        for prefix, names in EXPECTED[name].items()
        for layer in names
    }
    assert set(history) == keys | {"loss"}
    results = callback.results
    for key in keys:
        assert results[key].tolist() == history[key]
        assert np.all(np.isfinite(results[key]))
    results.to_csv(tmp_path / "results.csv")
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 3
    callback.plot(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000


@pytest.mark.few(1)
@pytest.mark.backends
@pytest.mark.parametrize("name", CALLBACKS)
# JAX always compiles, torch.compile takes no Keras layers.
@pytest.mark.parametrize(
    "jit_compile",
    [False, pytest.param(True, marks=pytest.mark.full)]
    if keras.config.backend() == "tensorflow"
    else ["auto"],
)
def test_training_is_the_same_to_the_bit(name, jit_compile):
    states = []
    for callbacks in ([], [CALLBACKS[name](frequency=2)]):
        keras.utils.set_random_seed(3)
        model = convnet()
        model.compile("adam", "mse", jit_compile=jit_compile)
        model.fit(
            IMAGES, np.ones((16, 2)), 4, 2, callbacks=callbacks, verbose=0
        )
        variables = [*model.variables, *model.optimizer.variables]
        states.append([ops.convert_to_numpy(v) for v in variables])
        left = [set(vars(x)) & {"call", "drop_rate"} for x in model.layers]
        assert left == [set()] * len(left)
    for one, other in zip(*states, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.few(1)
@pytest.mark.parametrize("name", CALLBACKS)
def test_copies_chosen_layers_and_refusals(name):
    callback = copy.deepcopy(CALLBACKS[name](layers=["second"]))
    keys = measure(callback, convnet(), IMAGES)
    assert {key.split("/")[-1] for key in keys if "/" in key} == {"second"}
    again = copy.deepcopy(callback)  # after use, too
    assert len(measure(again, convnet(), IMAGES)["epoch"]) == 1
    with pytest.raises(ValueError, match=r"layers.*Received: layers=\['tip'\]"):
        measure(CALLBACKS[name](layers=["tip"]), convnet(), IMAGES)
    with pytest.raises(ValueError, match=r"\(None, 6\). Received: \(16, 6, 6"):
        measure(CALLBACKS[name](), sequential(layers.Dense(1)))


@pytest.mark.backends
def test_net_variance_has_its_closed_form():
    # p/(1-p) Σ_i (W_ij h_i)² behind inverted dropout.
    model = sequential(
        layers.Dense(8, activation="tanh", name="first"),
        AugmentedDropout(0.3, seed=1),
        layers.Dense(4, name="second"),
    )
    (w, b), (v, _) = (model.layers[i].get_weights() for i in (0, 2))
    h = np.tanh(X @ w + b)
    expected = np.mean(0.3 / 0.7 * h**2 @ v**2)
    results = measure(NetVariance(X, samples=400), model)
    assert results["net_variance/first"].tolist() == [0]
    got = results["net_variance/second"][0]
    assert got == pytest.approx(expected, rel=0.05)
    # ddof 0: of T masks a share 1/T is missing on average.
    few = measure(NetVariance(X, samples=2), model, epochs=40)
    assert few["net_variance/second"].mean() == pytest.approx(
        expected / 2, rel=0.1
    )


def test_net_variance_leaves_batch_norm_in_inference():
    model = sequential(
        layers.GaussianNoise(1.0),
        layers.BatchNormalization(),
        layers.Dense(3, name="dense"),
        layers.Dropout(0.5),
    )
    assert measure(NetVariance(X), model)["net_variance/dense"][0] == 0


def test_a_layer_and_its_activation_are_one_net_value():
    model = sequential(
        layers.Dense(4, name="dense"),
        layers.Activation("tanh", name="tanh"),
        layers.Dense(4, name="logits"),
    )
    keys = set(measure(NetVariance(X), model))
    assert keys == {"epoch", "net_variance/tanh", "net_variance/logits"}


@pytest.mark.few(3)
@pytest.mark.parametrize(
    "activation, saturated",
    [
        ("tanh", lambda z: np.abs(z) > np.arctanh(np.sqrt(0.9))),
        ("relu", lambda z: z < 0),
        (GAAF("tanh"), lambda z: np.abs(z) > 1.8184),
        ("sigmoid", lambda z: np.abs(z) > 3.6369),
    ],
)
@pytest.mark.parametrize("alone", [False, True])
def test_saturation(activation, saturated, alone):
    dense = layers.Dense(5, kernel_initializer="glorot_normal", name="act")
    if alone:
        dense.name = "dense"
        if not isinstance(activation, GAAF):
            activation = layers.Activation(activation, name="act")
        else:
            activation = GAAF("tanh", name="act")
        model = sequential(dense, activation)
    else:
        dense.activation = keras.activations.get(activation)
        model = sequential(dense)
    kernel = 3 * dense.get_weights()[0]
    dense.set_weights([kernel, np.ones(5)])
    results = measure(NetDistribution(X, bins=10), model)
    z = X @ kernel + 1
    expected = np.mean(saturated(z))
    assert 0.05 < expected < 0.95
    assert results["saturation/act"][0] == pytest.approx(expected, abs=4e-3)
    counts, edges = np.histogram(z, 10)
    np.testing.assert_allclose(
        results["net_value_edges/act"][0], edges, 1e-4, 1e-4
    )
    assert results["net_value_counts/act"].shape == (1, 10)
    assert results["net_value_counts/act"].sum() == z.size


def test_saturation_is_of_elementwise_activations():
    model = sequential(
        layers.Dense(4, activation="softmax", name="softmax"),
        layers.PReLU(name="prelu"),
        layers.Softmax(name="last"),
    )
    assert "saturation/prelu" in measure(NetDistribution(X), model)
    assert "saturation/softmax" not in measure(NetDistribution(X), model)


@pytest.mark.parametrize("shape", [(6,), (6, 6, 1)])
def test_unit_correlation(shape):
    x = X if shape == (6,) else IMAGES
    layer = layers.Dense(5, activation="tanh", name="act")
    if len(shape) == 3:
        layer = layers.Conv2D(5, 3, activation="tanh", name="act")
    model = sequential(layer, shape=shape)
    y = ops.convert_to_numpy(model(x)).reshape(-1, 5)
    correlation = np.abs(np.corrcoef(y.T))
    expected = (correlation.sum() - 5) / 20
    results = measure(UnitCorrelation(x), model, x)
    assert results["unit_correlation/act"][0] == pytest.approx(expected, 1e-4)


def test_unit_correlation_of_copies_and_of_dead_units():
    kernel = np.zeros((6, 4))
    kernel[:, 0] = kernel[:, 1] = 1
    kernel[:, 2] = -1
    dense = layers.Dense(4, activation="tanh", name="act")
    model = sequential(dense)
    dense.set_weights([kernel, np.zeros(4)])
    results = measure(UnitCorrelation(X), model)
    assert results["unit_correlation/act"][0] == pytest.approx(1)
    dense.set_weights([0 * kernel, np.zeros(4)])
    results = measure(UnitCorrelation(X), model)
    assert np.isnan(results["unit_correlation/act"][0])


def relu_network(noise):
    """Three layers whose shares of active units differ, by their biases."""
    stack = []
    for number, bias in enumerate((0.5, 0.0, -0.4)):
        stack += [
            layers.Dense(
                50,
                activation="relu",
                bias_initializer=keras.initializers.Constant(bias),
            ),
            noise(f"noise_{number}"),
        ]
    return sequential(*stack)


def test_the_changed_fraction_is_constant_under_jumpout_only():
    def changed(noise, name="changed_fraction"):
        results = measure(ActiveFraction(X), relu_network(noise))
        return np.array([results[f"{name}/noise_{k}"][0] for k in range(3)])

    def jumpout(name):
        return Jumpout(rate=0.05, name=name)

    fractions = changed(jumpout, "active_fraction")
    assert np.ptp(fractions) > 0.2
    np.testing.assert_allclose(changed(jumpout), 0.05, 1e-5)
    assert np.all(np.diff(changed(jumpout, "active_drop_rate")) > 0.01)
    assert changed(jumpout, "clipped_fraction").tolist() == [0, 0, 0]

    def dropout(name):
        return AugmentedDropout(0.1, name=name)

    assert np.ptp(changed(dropout)) > 0.02
    np.testing.assert_allclose(changed(dropout, "active_drop_rate"), 0.1)


def test_the_share_of_clipped_draws():
    # p > 0.3 is clipped where q⁺ = 1/2: P(0.01 + |N(0, 0.2)| > 0.3) = 0.147.
    x = np.tile([[1.0, -1.0]], (8, 3))
    for per_sample in (False, True):
        noise = Jumpout(0.2, per_sample=per_sample, name="noise", seed=1)
        model = sequential(noise, layers.Dense(1))
        samples = 60 if per_sample else 500
        results = measure(ActiveFraction(x, samples=samples), model, x)
        assert results["active_fraction/noise"][0] == 0.5
        draws = samples * (8 if per_sample else 1)
        error = 4 * np.sqrt(0.147 * 0.853 / draws)
        got = results["clipped_fraction/noise"][0]
        assert got == pytest.approx(0.147, abs=error)


def test_active_fraction_of_schedules_and_backward_dropout():
    rate = keras.optimizers.schedules.PolynomialDecay(0.4, 8, 0.0)
    model = sequential(
        AugmentedDropout(rate, name="scheduled"),
        BackwardDropout(0.5, name="backward"),
        layers.ReLU(name="relu"),
        layers.Dense(1),
    )
    results = measure(ActiveFraction(X), model, epochs=2, batch_size=16)
    got = results["active_drop_rate/scheduled"]
    np.testing.assert_allclose(got, [0.2, 0.0], atol=1e-6)
    assert "active_fraction/backward" not in results
    assert "active_fraction/relu" in results


@pytest.mark.few(2)
@pytest.mark.backends
@pytest.mark.parametrize(
    "rescale, a", [("mean", 1), ("batchnorm", 0.75), (0.5, 0.5)]
)
@pytest.mark.parametrize("conv", [False, True])
def test_drift_follows_the_written_forms(rescale, a, conv):
    rng = np.random.default_rng(1)
    x = rng.normal(0.5, 1, size=(512, 6)).astype("float32")
    behind = layers.Dense(8, name="behind", bias_initializer="ones")
    shape = (6,)
    if conv:
        x = rng.normal(0.5, 1, size=(128, 8, 8, 2)).astype("float32")
        behind = layers.Conv2D(6, 3, name="behind", bias_initializer="ones")
        shape = (8, 8, 2)
    model = sequential(
        AugmentedDropout(0.3, rescale=rescale, seed=1), behind, shape=shape
    )
    results = measure(MomentDrift(x, samples=60), model, x)
    r = results["variance_ratio_r/behind"][0]
    mean = results["mean_drift/behind"][0]
    variance = results["variance_drift/behind"][0]
    assert mean == pytest.approx(0.7 ** (1 - a), abs=0.02)
    expected = 0.7 ** (2 - 2 * a) * (1 + 0.3 / 0.7 * r)
    assert variance == pytest.approx(expected, rel=0.02)
    if not conv:
        kernel = behind.get_weights()[0]
        by_hand = np.sum((x**2).mean(0) @ kernel**2) / np.sum(
            (x @ kernel).var(0)
        )
        assert r == pytest.approx(by_hand, 1e-4)
    exponent = results["variance_keeping_exponent/behind"][0]
    kept = 0.7 ** (2 - 2 * exponent) * (1 + 0.3 / 0.7 * r)
    assert kept == pytest.approx(1)


def test_drift_is_of_one_mask_at_a_time_and_of_the_layer_behind():
    inputs = keras.Input((6,))
    x = AugmentedDropout(0.5, name="low")(inputs)
    side = layers.Dense(6, name="one")(x)
    x = AugmentedDropout(0.5, name="high")(side)
    x = layers.Dense(6, name="two")(x)
    model = keras.Model(inputs, layers.Dense(1, name="top")(x + side))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    results = measure(MomentDrift(X), model)
    behind = {key.split("/")[1] for key in results if "/" in key}
    assert behind == {"one", "two"}


@pytest.mark.backends
def test_masks_are_drawn_anew_and_are_the_models_own():
    def build():
        keras.utils.set_random_seed(0)
        return sequential(
            AugmentedDropout(0.5, seed=1), layers.Dense(1, name="d")
        )

    one, two = (measure(NetVariance(X), build(), epochs=2) for _ in range(2))
    assert one["net_variance/d"].tolist() == two["net_variance/d"].tolist()
    assert one["net_variance/d"][0] != one["net_variance/d"][1]


def test_drift_of_a_mask_that_does_not_drop_yet():
    warm_up = keras.optimizers.schedules.PolynomialDecay(0.0, 4, 0.5)
    model = sequential(AugmentedDropout(warm_up), layers.Dense(1, name="d"))
    results = measure(MomentDrift(X), model, epochs=2, batch_size=16)
    assert results["variance_drift/d"][0] > 1.5  # after 4 steps


def test_drift_without_variance_in_inference():
    """Of equal samples: a ratio that is infinite, without a warning."""
    model = sequential(
        AugmentedDropout(0.5), layers.Dense(1, use_bias=False, name="d")
    )
    results = measure(MomentDrift(np.zeros_like(X)), model)
    assert np.isnan(results["variance_drift/d"]).all()
    results = measure(MomentDrift(np.ones_like(X)), model)
    assert (results["variance_drift/d"] > 1e3).all()


def test_drift_is_not_of_dropout_inside_other_layers():
    model = sequential(
        layers.LSTM(4, dropout=0.5),
        AugmentedDropout(0.5),
        layers.Dense(1, name="d"),
        shape=(5, 6),
    )
    x = RNG.normal(size=(32, 5, 6))
    results = measure(MomentDrift(x), model, x)
    assert {k.split("/")[1] for k in results if "/" in k} == {"d"}
    model = sequential(BackwardDropout(0.5), layers.Dense(1))
    with pytest.raises(
        ValueError, match="layers behind a mask. There are none"
    ):
        measure(MomentDrift(X), model)


def test_drift_of_a_layer_used_twice():
    inputs = keras.Input((6,))
    dense = layers.Dense(4, use_bias=False, name="d")
    x = dense(AugmentedDropout(0.5, seed=1)(inputs)) + dense(inputs * 3)
    model = keras.Model(inputs, layers.Dense(1)(x))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x = X + 2
    results = measure(MomentDrift(x, samples=100), model, x)
    assert results["mean_drift/d"][0] == pytest.approx(1, abs=0.02)


def test_activations_used_twice():
    relu = layers.ReLU(name="relu")
    inputs = keras.Input((6,))
    x = relu(layers.Dense(3)(relu(layers.Dense(4)(inputs))))
    model = keras.Model(inputs, layers.Dense(1)(x))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    for callback in (NetVariance(X), NetDistribution(X), UnitCorrelation(X)):
        assert any("/relu" in key for key in measure(callback, model))


@pytest.mark.parametrize("deep", [X[:, :1], X[:, 0]])
def test_inputs_by_name_and_without_their_last_axis(deep):
    inputs = [keras.Input((6,), name="wide"), keras.Input((1,), name="deep")]
    x = layers.Concatenate()(inputs)
    model = keras.Model(inputs, layers.Dense(1, activation="tanh", name="d")(x))
    model.compile("sgd", "mse")
    x = {"wide": X, "deep": deep}
    callback = NetDistribution(x)
    model.fit(x, np.ones((64, 1)), callbacks=[callback], verbose=0)
    assert "saturation/d" in callback.results


def test_a_model_that_is_built_by_its_data():
    def build(x):
        model = keras.Sequential([layers.Dense(1, activation="tanh", name="d")])
        model.compile("sgd", "mse")
        if keras.config.backend() == "tensorflow":  # others do it in `fit`
            with pytest.raises(
                ValueError, match="NetVariance needs a model th"
            ):
                model.fit(x, x[:, :1], callbacks=[NetVariance(x)], verbose=0)
            model.build((None, 6))
        return model

    model = build(X)
    results = NetVariance(X)
    model.fit(X, X[:, :1], batch_size=8, callbacks=[results], verbose=0)
    assert results.results["net_variance/d"].tolist() == [0]


@pytest.mark.parametrize("samples", [1, 2.0, True])
def test_bad_samples_are_refused(samples):
    for kind in (NetVariance, ActiveFraction, MomentDrift):
        with pytest.raises(ValueError, match="integer of at least 2"):
            kind(X, samples=samples)
    with pytest.raises(ValueError, match="`bins`. Expected a positive integer"):
        NetDistribution(X, bins=0)
