import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import minimize_scalar

from keras_dropx import random
from keras_dropx.experiments.baselines import ConcreteDropout, link_kernels
from keras_dropx.layers import AugmentedDropout
from keras_dropx.models import monte_carlo_predict

RNG = np.random.default_rng(0)


def logistic(x):
    return 1 / (1 + np.exp(-x))


def logit(p):
    return np.log(p / (1 - p))


def free(rate=0.3, **kwargs):
    """A layer without regularisers, which needs no kernel."""
    return ConcreteDropout(0, 0, rate, **kwargs)


def uniforms(shape, seed):
    """The u of the first call of a layer of this seed."""
    state = keras.ops.convert_to_tensor(keras.random.SeedGenerator(seed).state)
    high, low = random.words(state, shape, extended=True)
    low = np.floor(np.asarray(low, "float64") / 1024) + 0.5
    return 1 - (np.asarray(high, "float64") + low / 64) / 65536


def formula(x, u, theta, t=0.1):
    """y for the logit θ, in float64."""
    p = logistic(theta)
    z = logistic((np.log(p) - np.log(1 - p) + np.log(u) - np.log1p(-u)) / t)
    return x * (1 - z) / (1 - p)


@pytest.mark.parametrize("rate", [0, 1, -0.1, float("nan"), True, "a"])
def test_the_first_rate_is_inside_0_and_1(rate):
    with pytest.raises(ValueError, match="`rate`. Expected a float value bet"):
        free(rate)


@pytest.mark.parametrize(
    "name", ["weight_regularizer", "dropout_regularizer", "temperature"]
)
def test_factors_are_not_negative(name):
    arguments = {"weight_regularizer": 1, "dropout_regularizer": 1, name: -1}
    with pytest.raises(ValueError, match=f"`{name}`. Expected a finite numb"):
        ConcreteDropout(**arguments)


def test_inference_is_the_identity():
    x = RNG.normal(size=(5, 7)).astype("float32")
    np.testing.assert_array_equal(free()(x), x)


@pytest.mark.parametrize("rate", [0.05, 0.9])
def test_values_are_the_formula(rate, mode, run):
    x = RNG.normal(size=(50, 70)).astype("float32")
    layer = free(rate, seed=4)
    layer.build(x.shape)
    y = run(lambda x: layer(x, training=True), x, mode=mode)
    expected = formula(x, uniforms(x.shape, 4), logit(rate))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-6)


def test_gradients_are_those_of_the_formula():
    x = RNG.normal(size=(50, 70))
    dy = RNG.normal(size=(50, 70))
    # At 0.1 nearly all of the derivative is in a few elements.
    layer = free(0.3, temperature=0.5, seed=4)
    tensor = tf.constant(x, "float32")
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        y = layer(tensor, training=True)
        loss = tf.reduce_sum(y * tf.constant(dy, "float32"))
    dx, dtheta = tape.gradient(loss, [tensor, layer.logit.value])
    u = uniforms(x.shape, 4)
    theta, step = logit(0.3), 1e-5
    ones = formula(np.ones_like(x), u, theta, 0.5)
    np.testing.assert_allclose(dx, dy * ones, rtol=1e-4, atol=1e-6)
    difference = formula(x, u, theta + step, 0.5) - formula(
        x, u, theta - step, 0.5
    )
    numeric = np.sum(dy * difference) / (2 * step)
    assert dtheta.numpy() == pytest.approx(numeric, rel=1e-3)


@pytest.mark.parametrize("rate", [1e-3, 0.1, 0.5, 0.8])
def test_law_of_the_relaxed_mask(rate, assert_share):
    x = np.ones((1000, 1000), "float32")
    y = keras.ops.convert_to_numpy(free(rate, seed=1)(x, training=True))
    z = 1 - y * (1 - rate)
    assert np.all(np.isfinite(y))
    # P(z > ½) = p exactly, and most are near 0 or 1 at this temperature.
    assert_share(np.sum(z > 0.5), z.size, rate)
    # P(z <= q) = P(u <= logistic(t·logit(q) - θ)).
    for q in (0.01, 0.1, 0.9, 0.99):
        share = logistic(0.1 * logit(q) - logit(rate))
        assert_share(np.sum(z <= q), z.size, share)


def test_of_one_seed_it_drops_the_units_that_dropout_drops():
    x = np.ones((300, 300), "float32")
    y = free(0.3, seed=5)(x, training=True) * 0.7
    plain = AugmentedDropout(0.3, seed=5)(x, training=True)
    ours, theirs = (keras.ops.convert_to_numpy(t) for t in (y, plain))
    # 0.3 is 19,660.8 of 65,536 words: an element or two may differ.
    assert np.sum((ours > 0.5) != (theirs > 0)) <= 3


def test_features_are_dropped_at_all_positions():
    x = np.ones((30, 4, 5, 60), "float32")
    y = keras.ops.convert_to_numpy(free(0.5)(x, training=True))
    assert np.all(y == y[:, :1, :1])
    assert len(np.unique(y[:, 0, 0])) > 1000


def penalty(theta, kernel, weight, dropout, features):
    p = logistic(theta)
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    return weight * np.sum(kernel**2) / (1 - p) - dropout * features * entropy


@pytest.mark.parametrize("shape", [(6,), (4, 4, 6)])
@pytest.mark.parametrize("theta", [-7.0, 0.0, 3.0])
def test_penalty_and_its_gradients_are_the_formula(shape, theta):
    dense = len(shape) == 1
    behind = keras.layers.Dense(3) if dense else keras.layers.Conv2D(3, 2)
    site = ConcreteDropout(0.02, 0.3)
    model = keras.Sequential([keras.Input(shape), site, behind])
    link_kernels(model)
    site.logit.assign(theta)
    kernel = behind.get_weights()[0].astype("float64")

    def value(theta):
        return penalty(theta, kernel, 0.02, 0.3, features=6)

    with tf.GradientTape() as tape:
        (loss,) = model.losses
    gradients = tape.gradient(loss, [site.logit.value, behind.kernel.value])
    assert float(loss) == pytest.approx(value(theta), rel=1e-5)
    numeric = (value(theta + 1e-5) - value(theta - 1e-5)) / 2e-5
    assert gradients[0].numpy() == pytest.approx(numeric, rel=1e-4)
    expected = 0.02 * 2 * kernel / (1 - logistic(theta))
    np.testing.assert_allclose(gradients[1], expected, rtol=1e-5)
    # The model owns neither kernel twice nor another variable.
    assert len(model.weights) == 3
    assert len(model.trainable_variables) == 3


def test_the_penalty_is_finite_at_the_ends():
    site = ConcreteDropout(0, 1.0)
    site.build((None, 5))
    for theta in (-200.0, 80.0):
        site.logit.assign(theta)
        with tf.GradientTape() as tape:
            (loss,) = site.losses
        gradient = tape.gradient(loss, site.logit.value)
        assert float(loss) == 0 or abs(float(loss)) < 1e-6
        assert np.isfinite(gradient)


@pytest.mark.few(1)
@pytest.mark.parametrize("samples", [5, 20, 1000])
def test_the_rate_goes_where_the_size_of_the_training_set_puts_it(samples):
    # A linear unit of ‖w‖ = 1 and inputs of variance 1: with the loss
    # (y - ŷ)²/2 and the factors for N samples and l = 1 the objective is
    # ½·p/(1 - p) + 1/(2N)/(1 - p) - K·H(p)/N, whatever the data are.
    site = ConcreteDropout(1 / (2 * samples), 1 / samples, 0.5)
    unit = keras.layers.Dense(1, use_bias=False, trainable=False)
    model = keras.Sequential([keras.Input((10,)), site, unit])
    link_kernels(model)
    unit.set_weights([np.full((10, 1), 10**-0.5)])
    x = RNG.normal(size=(2000, 10)).astype("float32")
    model.compile(
        keras.optimizers.Adam(0.05),
        lambda y, z: keras.ops.square(y - z) / 2,
        jit_compile=False,
    )
    y = x.sum(1, keepdims=True) * 10**-0.5
    model.fit(x, y, batch_size=100, epochs=15, verbose=0)

    def objective(p):
        terms = penalty(logit(p), np.ones(1), 0.5, 1, 10) / samples
        return p / (1 - p) / 2 + terms

    best = minimize_scalar(objective, bounds=(1e-9, 0.999), method="bounded").x
    # The relaxed mask has less variance than the drop mask.
    assert float(site.learned_rate) == pytest.approx(best, abs=0.05)
    assert (best > 0.25) == (samples < 10) and (best < 0.01) == (samples > 100)


def classifier(site, **kwargs):
    model = keras.Sequential(
        [keras.Input((8,)), site, keras.layers.Dense(3, name="out")]
    )
    model.compile(
        keras.optimizers.SGD(0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        **kwargs,
    )
    return model


X = RNG.normal(size=(20, 8)).astype("float32")
Y = np.arange(20) % 3


@pytest.mark.few(1)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_it_trains_compiled(jit_compile):
    keras.utils.set_random_seed(2)
    site = ConcreteDropout(1e-3, 1e-2, 0.4)
    model = classifier(site, jit_compile=jit_compile)
    link_kernels(model)
    before = float(site.learned_rate)
    model.fit(X, Y, batch_size=10, epochs=2, verbose=0)
    assert np.isfinite(model.evaluate(X, Y, verbose=0))
    assert float(site.learned_rate) != before
    assert model.predict(X, verbose=0).shape == (20, 3)


def test_an_unlinked_kernel_is_refused_when_a_loss_is_wanted():
    model = classifier(ConcreteDropout(1e-3, 1e-2, name="site"))
    match = "ConcreteDropout 'site' does not know the kernel"
    with pytest.raises(ValueError, match=match):
        model.fit(X, Y, verbose=0)
    with pytest.raises(ValueError, match=match):
        model.evaluate(X, Y, verbose=0)
    model.predict(X, verbose=0)
    model = classifier(ConcreteDropout(0, 1e-2))
    model.fit(X, Y, verbose=0)


def test_it_saves_and_loads(tmp_path):
    site = ConcreteDropout(1e-3, 1e-2, 0.4, 0.2, seed=3, name="site")
    model = classifier(site)
    link_kernels(model)
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    copy = loaded.get_layer("site")
    config = json.loads(json.dumps(site.get_config()))
    assert copy.get_config() == site.get_config() == config
    assert float(copy.learned_rate) == float(site.learned_rate)
    with pytest.raises(ValueError, match="when it is loaded"):
        loaded.fit(X, Y, verbose=0)
    link_kernels(loaded)
    np.testing.assert_allclose(
        loaded.evaluate(X, Y, verbose=0), model.evaluate(X, Y, verbose=0)
    )


def test_monte_carlo_prediction_finds_it():
    model = classifier(free(0.5))
    samples = monte_carlo_predict(model, X, samples=3, verbose=0)
    assert np.all(samples.std(0) > 0)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_draws_in_float32(dtype):
    x = np.ones((100, 100), "float32")
    site = free(0.3, seed=1, dtype=dtype)
    y = site(x, training=True)
    assert y.dtype == site.compute_dtype and site.logit.dtype == "float32"
    full = keras.ops.convert_to_numpy(free(0.3, seed=1)(x, training=True))
    unit = {"mixed_float16": 2.0**-10, "mixed_bfloat16": 2.0**-7}[dtype]
    y = keras.ops.convert_to_numpy(keras.ops.cast(y, "float32"))
    np.testing.assert_allclose(y, full, rtol=unit, atol=1e-6)
