import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.integrate import quad
from scipy.stats import norm

from keras_dropx.callbacks import GradientInformation
from keras_dropx.experiments.baselines import SmoothedGradientDense
from keras_dropx.layers import MaskedInput
from keras_dropx.models.copying import copy_model
from keras_dropx.ops.masks import Noise

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 6)).astype("float32")
X[0] = 0
DY = RNG.normal(size=(20, 4)).astype("float32")
PHI = {
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
}
SLOPES = {
    "tanh": lambda z: 1 / np.cosh(z) ** 2,
    "relu": lambda z: float(z > 0),
    "sigmoid": lambda z: 0.25 / np.cosh(z / 2) ** 2,
}


def expected_slope(activation, z, tau):
    """E[φ′(z + τξ)] by adaptive integration."""

    def integrand(v):
        return SLOPES[activation](v) * norm.pdf(v, z, tau)

    low, high = min(z - 9 * tau, -20), max(z + 9 * tau, 20)
    points = [z, 0.0, z - 2 * tau, z + 2 * tau]
    return quad(integrand, low, high, points=points, limit=500)[0]


def built(rate=0.4, activation="tanh", **kwargs):
    layer = SmoothedGradientDense(4, rate, activation, **kwargs)
    layer.build((None, 6))
    layer.set_weights([RNG.normal(size=w.shape) for w in layer.get_weights()])
    return layer


def gradients(layer, x=X, dy=DY):
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
    targets = [x, *layer.trainable_variables]
    return y, tape.gradient(y, targets, tf.cast(dy, y.dtype))


def test_refusals():
    with pytest.raises(ValueError, match="`rate`. Expected a float value betw"):
        SmoothedGradientDense(4, 1.0)
    with pytest.raises(
        ValueError,
        match="`activation`. Expected 'tanh', 'relu' or 'sigmoid'. Rec",
    ):
        SmoothedGradientDense(4, 0.5, "gelu")
    # Its product is not the one MaskedInput takes over.
    with pytest.raises(ValueError, match="Expected a linear layer"):
        MaskedInput(SmoothedGradientDense(4, 0.5), Noise())


@pytest.mark.parametrize("activation", PHI)
def test_values_and_gradients_are_the_formula(activation):
    layer = built(0.4, activation)
    kernel, bias = (w.astype("float64") for w in layer.get_weights())
    x = X.astype("float64")
    z = x @ kernel + bias
    # τ² from its definition, one product of an input and a weight at a time.
    tau = np.sqrt(0.4 / 0.6 * ((x[:, :, None] * kernel[None]) ** 2).sum(axis=1))
    tau = np.maximum(tau, 1e-9)  # the first sample is 0
    slope = np.array(
        [
            SLOPES[activation](a)
            if b < 1e-6
            else expected_slope(activation, a, b)
            for a, b in zip(z.flat, tau.flat, strict=True)
        ]
    ).reshape(z.shape)
    y, (dx, dw, db) = gradients(layer)
    np.testing.assert_allclose(y, PHI[activation](z), rtol=1e-5, atol=1e-6)
    dz = DY * slope
    np.testing.assert_allclose(db, dz.sum(0), rtol=2e-5, atol=1e-4)
    np.testing.assert_allclose(dw, x.T @ dz, rtol=2e-5, atol=1e-4)
    np.testing.assert_allclose(dx, dz @ kernel.T, rtol=2e-5, atol=1e-4)
    # It is not the slope at z.
    plain = np.vectorize(SLOPES[activation])(z)
    assert np.abs(slope - plain).max() > 0.1


def slopes(activation, z, tau):
    """The slope of the layer at each z, read off as the bias gradient."""
    # At rate 0.5 an input τ with weights 1 has the deviation τ.
    layer = SmoothedGradientDense(len(z), 0.5, activation)
    layer.build((None, 1))
    bias = (z - tau).astype("float32")
    layer.set_weights([np.ones((1, len(z))), bias])
    x = np.array([[tau]], "float32")
    _, (_, _, db) = gradients(layer, x, np.ones((1, len(z))))
    return bias + x[0], db.numpy()


@pytest.mark.few(5)
@pytest.mark.parametrize("tau", [0.01, 0.1, 0.3, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("activation", PHI)
def test_expected_slope_is_within_1e_5_for_every_z_and_tau(activation, tau):
    z = np.array([-8.0, -3.0, -1.0, -0.2, 0.1, 0.7, 2.0, 5.0])
    z, ours = slopes(activation, z, tau)  # z as float32 rounds it
    expected = [expected_slope(activation, v, tau) for v in z]
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("activation", PHI)
def test_no_gain_is_added(activation):
    # ∫ E[φ′(z + τξ)] dz = φ(∞) - φ(-∞) whatever τ.
    z, slope = slopes(activation, np.linspace(-30, 30, 6001), 2.0)
    rise = PHI[activation](30.0) - PHI[activation](-30.0)
    assert np.trapezoid(slope, z) == pytest.approx(rise, rel=1e-4)


def test_no_gradient_through_tau():
    # At the top of tanh′ a larger τ lowers the slope: were τ differentiated,
    # the second derivative with respect to the kernel would see it.
    layer = built(0.4, use_bias=False)
    x = tf.constant(X)
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            y = layer(x, training=True)
        first = inner.gradient(y, layer.kernel.value)
    assert outer.gradient(first, layer.kernel.value) is None


@pytest.mark.parametrize("activation", PHI)
def test_it_is_dense_in_inference_and_at_rate_0(activation):
    smoothed, nothing = built(0.4, activation), built(0.0, activation)
    dense = keras.layers.Dense(4, activation)
    dense.build((None, 6))
    for layer in (smoothed, nothing):
        dense.set_weights(layer.get_weights())
        np.testing.assert_array_equal(layer(X), dense(X))
    for ours, theirs in zip(
        gradients(nothing)[1], gradients(dense)[1], strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    names = [(v.name, v.shape) for v in smoothed.variables]
    assert names == [(v.name, v.shape) for v in dense.variables]


def model_of(layer):
    return keras.Sequential(
        [keras.Input((6,)), layer, keras.layers.Dense(1, name="out")]
    )


@pytest.mark.few(1)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled_steps_are_eager_ones(jit_compile):
    results = []
    for options in ({"run_eagerly": True}, {"jit_compile": jit_compile}):
        keras.utils.set_random_seed(1)
        model = model_of(SmoothedGradientDense(4, 0.4))
        model.compile(keras.optimizers.SGD(0.1), "mse", **options)
        model.fit(X, DY[:, :1], batch_size=5, epochs=3, verbose=0)
        results.append(model.get_weights())
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_it_saves_and_loads(tmp_path):
    layer = SmoothedGradientDense(4, 0.4, "relu", use_bias=False, name="s")
    model = model_of(layer)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    copy = loaded.get_layer("s")
    assert copy.rate == 0.4 and copy.get_config()["activation"] == "relu"
    assert copy.get_config() == layer.get_config()
    other = copy_model(model, lambda layer: None).get_layer("s")
    for ours, theirs, others in zip(
        *(gradients(x)[1] for x in (copy, layer, other)), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(ours, others)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_keeps_the_squares_in_float32(dtype):
    half = built(0.4, dtype=dtype)
    full = built(0.4)
    full.set_weights(half.get_weights())
    # 300² is beyond float16; τ is then so large that the slope is small.
    x = np.concatenate([X, np.full((1, 6), 300, "float32")])
    dy = np.ones((21, 4), "float32")
    y, ours = gradients(half, x, dy)
    assert y.dtype == half.compute_dtype
    _, theirs = gradients(full, x, dy)
    assert all(np.all(np.isfinite(g)) for g in ours)
    unit = {"mixed_float16": 2.0**-10, "mixed_bfloat16": 2.0**-7}[dtype]
    scale = np.abs(theirs[0]).max()
    np.testing.assert_allclose(ours[0], theirs[0], atol=20 * unit * scale)


def test_probes_see_its_gradient():
    # δ of the layer is dy·E[φ′]: what it logs follows from the weight
    # gradient of one sample, |h|·|δ| in the mean.
    labels = np.arange(20, dtype="float32")[:, None] / 20
    layer = SmoothedGradientDense(4, 0.4, name="s")
    model = model_of(layer)
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=False)
    probe = GradientInformation((X, labels))
    history = model.fit(X, labels, verbose=0, callbacks=[probe]).history
    terms = []
    for x, label in zip(X[:, None], labels[:, None], strict=True):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x, training=True) - label) ** 2)
        gradient = tape.gradient(loss, layer.kernel.value)
        terms.append(np.mean(np.abs(gradient)))
    (logged,) = [v[-1] for k, v in history.items() if "mation/s" in k]
    assert logged == pytest.approx(np.mean(terms), rel=1e-4)
