import keras
import numpy as np
import pytest
from scipy.stats import kstest

from keras_dropx.experiments.baselines import NoiseMatchedDropout
from keras_dropx.layers import AugmentedDropout, MaskedInput

X = np.random.default_rng(0).normal(size=(1000, 1000)).astype("float32")
X[X == 0] = 1


def test_refusals():
    for name in ("rate", "backward_rate"):
        arguments = {"rate": 0.5, "backward_rate": 0.1, name: 1.0}
        with pytest.raises(ValueError, match=f"`{name}`. Expected a float"):
            NoiseMatchedDropout(**arguments)


def test_inference_is_the_identity():
    np.testing.assert_array_equal(NoiseMatchedDropout(0.5, 0.3)(X), X)


@pytest.mark.parametrize("rate", [0.0, 1e-4, 0.3, 0.5])
def test_the_forward_pass_is_that_of_augmented_dropout(rate, mode, vjp):
    ours, _ = vjp(NoiseMatchedDropout(rate, 0.2, seed=3), X, mode=mode)
    theirs, _ = vjp(AugmentedDropout(rate, 0.2, seed=3), X, mode=mode)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("ratio", [0.0, 1e-4, 0.2])
def test_law_of_the_backward_noise(rate, ratio, vjp):
    y, dx = vjp(NoiseMatchedDropout(rate, ratio, seed=1), X)
    kept = y != 0
    assert np.all(dx[~kept] == 0)
    forward = (y[kept] / X[kept]).astype("float64")
    quotient = dx[kept] / forward
    if ratio == 0:
        np.testing.assert_allclose(quotient, 1, rtol=1e-6)
        return
    deviation = np.sqrt(ratio / (1 - ratio))
    xi = (quotient - 1) / deviation
    n = xi.size
    assert n > 600_000
    assert abs(xi.mean()) < 4 / np.sqrt(n)
    assert abs(xi.var() - 1) < 4 * np.sqrt(2 / n)
    assert abs((xi**4).mean() - 3) < 4 * np.sqrt(96 / n)
    assert kstest(xi, "norm").pvalue > 1e-4
    # One number an element, and independent of the mask words.
    assert abs(np.corrcoef(xi[:-1], xi[1:])[0, 1]) < 4 / np.sqrt(n)
    largest = np.abs(xi).max()
    assert 4 < largest < 4.33


def test_mean_and_variance_are_those_of_the_nested_mask(vjp):
    moments = []
    for layer in (
        NoiseMatchedDropout(0.5, 0.3, seed=1),
        AugmentedDropout(0.5, 0.3, seed=1),
    ):
        y, dx = vjp(layer, X)
        noise = dx[y != 0] * 0.5
        moments.append([noise.mean(), noise.var()])
    n = 500_000  # kept elements; 3·σ⁴ is the larger fourth moment
    for mean, variance in moments:
        assert mean == pytest.approx(1, abs=4 * np.sqrt(0.3 / 0.7 / n))
        error = np.sqrt(2 / n) * 0.3 / 0.7
        assert variance == pytest.approx(0.3 / 0.7, abs=4 * error)


def test_masks_and_noise_are_new_each_call(vjp):
    layer = NoiseMatchedDropout(0.5, 0.3, seed=1)
    (y1, dx1), (y2, dx2) = vjp(layer, X[:4]), vjp(layer, X[:4])
    assert not np.array_equal(y1, y2)
    both = (y1 != 0) & (y2 != 0)
    assert not np.any(dx1[both] == dx2[both])


def test_masked_input_takes_it(vjp):
    import tensorflow as tf

    dense = keras.layers.Dense(3, use_bias=False)
    layer = MaskedInput(dense, NoiseMatchedDropout(0.5, 0.3, seed=2))
    x = tf.constant(X[:8, :6])
    layer.build(x.shape)
    with tf.GradientTape() as tape:
        tape.watch(x)
        z = layer(x, training=True)
    dw, dx = tape.gradient(z, [dense.kernel.value, x])
    site = NoiseMatchedDropout(0.5, 0.3, seed=2)
    forward, backward = vjp(site, x.numpy())
    kernel = dense.get_weights()[0]
    np.testing.assert_allclose(z, forward @ kernel, rtol=1e-5, atol=1e-6)
    ones = np.ones((8, 3), "float32")
    np.testing.assert_allclose(
        dw, (x.numpy() * backward).T @ ones, rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        dx, ones @ kernel.T * backward, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(dtype, vjp):
    half = dtype.removeprefix("mixed_")
    x = keras.ops.cast(X[:100], half)
    y, dx = vjp(NoiseMatchedDropout(0.5, 0.3, seed=1, dtype=dtype), x)
    full, full_dx = vjp(NoiseMatchedDropout(0.5, 0.3, seed=1), X[:100])
    assert y.dtype.name == dx.dtype.name == half
    np.testing.assert_array_equal(y == 0, full == 0)
    unit = {"mixed_float16": 2.0**-10, "mixed_bfloat16": 2.0**-7}[dtype]
    np.testing.assert_allclose(
        dx.astype("float32"), full_dx, rtol=2 * unit, atol=unit
    )


@pytest.mark.parametrize("jit_compile", [False, True])
def test_it_trains_saves_and_loads(jit_compile, tmp_path, vjp):
    model = keras.Sequential([keras.Input((1000,))])
    model.add(NoiseMatchedDropout(0.5, 0.3, seed=1, name="site"))
    model.add(keras.layers.Dense(1))
    model.compile("sgd", "mse", jit_compile=jit_compile)
    model.fit(X[:8], X[:8, :1], batch_size=4, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    site, copy = model.get_layer("site"), loaded.get_layer("site")
    assert copy.get_config() == site.get_config()
    # The random state is saved too.
    for ours, theirs in zip(vjp(copy, X[:2]), vjp(site, X[:2]), strict=True):
        np.testing.assert_array_equal(ours, theirs)
