import keras
import numpy as np
import pytest

from keras_dropx.ops import jumpout


def fraction(x, per_sample=False):
    q = jumpout.active_fraction(keras.ops.convert_to_tensor(x), per_sample)
    assert keras.backend.standardize_dtype(q.dtype) == "float32"
    return keras.ops.convert_to_numpy(q)


def test_active_fraction_counts_what_is_above_0():
    x = np.array([[1, 0, -1, 2], [0, 0, -0.0, 1e-30]], "float32")
    assert fraction(x) == 0.375
    np.testing.assert_array_equal(fraction(x, True), [[0.5], [0.25]])


@pytest.mark.parametrize("shape", [(6,), (6, 5), (6, 5, 4), (6, 5, 4, 3, 2)])
def test_active_fraction_per_sample_broadcasts_to_the_input(shape):
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    q = fraction(x, per_sample=True)
    assert q.shape == shape[:1] + (1,) * (len(shape) - 1)
    np.testing.assert_allclose(
        q.ravel(), (x > 0).reshape(6, -1).mean(axis=1), rtol=1e-6
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_active_fraction_is_exact_in_half_precision(dtype):
    x = np.where(np.arange(100_000) % 3 == 0, 1.0, -1.0)
    q = fraction(keras.ops.cast(x, dtype))
    assert q == np.float32((x > 0).mean())


def test_active_fraction_does_not_saturate_beyond_2_to_24(mode, run):
    x = np.ones(2**25, "bool")
    x[::4] = False
    q = run(
        lambda x: jumpout.active_fraction(keras.ops.cast(x, "bfloat16")),
        x,
        mode=mode,
    )
    assert q == 0.75


@pytest.mark.parametrize(
    "rate, q, expected",
    [
        (0.1, 1.0, 0.1),
        (0.1, 0.5, 0.2),
        (0.1, 0.1, 0.6),
        (0.6, 0.3, 0.6),
        (0.1, 1e-30, 0.6),
        (0.1, 0.0, 0.0),
        (0.0, 0.0, 0.0),
        (0.0, 0.5, 0.0),
    ],
)
@pytest.mark.parametrize("tensors", ["", "q", "rate q"])
def test_normalized_rate_is_the_clipped_quotient(rate, q, expected, tensors):
    if "rate" in tensors:
        rate = np.float32(rate)
    if "q" in tensors:
        q = keras.ops.convert_to_tensor(q, "float32")
    normalized = jumpout.normalized_rate(rate, q, 0.6)
    assert float(normalized) == pytest.approx(expected, rel=1e-6)
