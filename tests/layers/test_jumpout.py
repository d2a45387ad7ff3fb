import math

import keras
import numpy as np
import pytest

from keras_dropx import random
from keras_dropx.layers import AugmentedDropout, Jumpout

SHAPE = (8, 6, 5, 16)
GRID = 2.0**-16
TABLE_1 = [
    {**modified, "adaptive": adaptive, "rescale": rescale}
    for modified in ({"sigma": 0.2}, {"rate": 0.2})
    for adaptive in (True, False)
    for rescale in ("batchnorm", "mean")
]
EXPONENTS = {"mean": 1, "variance": 0.5, "batchnorm": 0.75}


def inputs(shape=SHAPE, shift=0.0, dtype="float32"):
    x = np.random.default_rng(1).normal(shift, size=shape)
    return x.astype(dtype)


def uniform(seed, shape, stream):
    drawn = random.next_seed(keras.random.SeedGenerator(seed))
    words = random.words(drawn, shape, stream, extended=True)
    high, low = (keras.ops.convert_to_numpy(w).astype("float64") for w in words)
    return (high + low * GRID) * GRID


def uniform_of_rate(seed, shape):
    drawn = random.next_seed(keras.random.SeedGenerator(seed))
    high, _ = random.words(drawn, (*shape, 2), random.RATE)
    pairs = keras.ops.convert_to_numpy(high).astype("float64")
    return (pairs[..., 0] + pairs[..., 1] * GRID) * GRID


def half_normal(u):
    """Inverts erf(z / √2) = u by Newton's method in float64."""
    z = np.zeros_like(u)
    erf = np.vectorize(math.erf, otypes=["float64"])
    for _ in range(60):
        slope = np.sqrt(2 / np.pi) * np.exp(-(z**2) / 2)
        z += (u - erf(z / np.sqrt(2))) / slope
    return z


def reference(
    x,
    seed,
    sigma=None,
    rate=None,
    min_rate=0.01,
    max_rate=0.6,
    adaptive=True,
    rescale="batchnorm",
    per_sample=False,
    noise_shape=None,
):
    """Algorithm 1 in float64: U, p′ and s of the call with this seed."""
    each = x.shape[:1] + (1,) * (x.ndim - 1) if per_sample else ()
    p = np.full(each, rate, "float64")
    if sigma is not None:
        draw = half_normal(uniform_of_rate(seed, each))
        p = np.minimum(min_rate + sigma * draw, max_rate)
    if adaptive:
        axes = tuple(range(1, x.ndim)) if per_sample else None
        q = np.mean(x > 0, axis=axes, keepdims=per_sample)
        quotient = p / np.where(q > 0, q, 1)
        p = np.where(q > 0, np.clip(quotient, 0, max_rate), 0)
    mask_shape = [
        size if noise is None else noise
        for size, noise in zip(
            x.shape, noise_shape or [None] * x.ndim, strict=True
        )
    ]
    u = uniform(seed, tuple(mask_shape), random.FORWARD)
    scale = (1 - p) ** -EXPONENTS.get(rescale, rescale)
    return u, p, scale


def assert_follows_algorithm_1(y, dx, x, dy, seed, **kwargs):
    u, p, scale = reference(x, seed, **kwargs)
    u, p, scale = (np.broadcast_to(a, x.shape) for a in (u, p, scale))
    # Within half a step of the grid the mask may go either way.
    sure = np.abs(u - p) > GRID
    assert sure.mean() > 0.99
    rtol = GRID / (1 - np.max(p)) + 1e-6
    for ours, values in ((y, x), (dx, dy)):
        expected = np.where(u >= p, values * scale, 0)
        np.testing.assert_allclose(ours[sure], expected[sure], rtol=rtol)


@pytest.mark.parametrize("kwargs", [{}, {"sigma": 0.1, "rate": 0.1}])
def test_both_or_neither_of_sigma_and_rate_are_refused(kwargs):
    with pytest.raises(ValueError) as error:
        Jumpout(**kwargs)
    text = str(error.value)
    assert text.startswith("Expected exactly one of the arguments `sigma`")
    received = {"sigma": None, "rate": None, **kwargs}
    assert text.endswith(
        "Received: sigma={sigma}, rate={rate}".format(**received)
    )


@pytest.mark.parametrize(
    "kwargs, name, expected",
    [
        ({"sigma": -1.0}, "sigma", "a finite number of at least 0"),
        ({"sigma": float("inf")}, "sigma", "a finite number of at least 0"),
        ({"sigma": True}, "sigma", "a finite number of at least 0"),
        ({"rate": 1.0}, "rate", "a float value between 0 and 1 (1 excluded)"),
        ({"rate": float("nan")}, "rate", "a float value between 0 and 1"),
        ({"sigma": 0.1, "min_rate": -1}, "min_rate", "a float value between"),
        ({"sigma": 0.1, "max_rate": 1}, "max_rate", "a float value between"),
        (
            {"sigma": 0.1, "min_rate": 0.7},
            "min_rate",
            "a value not above `max_rate`, 0.6.",
        ),
        ({"rate": 0.7}, "rate", "a value not above `max_rate`, 0.6, to which"),
        ({"rate": 0.1, "adaptive": 1}, "adaptive", "True or False"),
        ({"rate": 0.1, "per_sample": "no"}, "per_sample", "True or False"),
        (
            {"rate": 0.1, "backward_rate": 1},
            "backward_rate",
            "a float value between",
        ),
    ],
)
def test_a_bad_argument_is_refused(kwargs, name, expected):
    with pytest.raises(ValueError) as error:
        Jumpout(**kwargs)
    text = str(error.value)
    assert f"Invalid value received for argument `{name}`. Expected" in text
    assert expected in text
    assert text.endswith(f"Received: {name}={kwargs[name]!r}")


def test_max_rate_does_not_bind_a_fixed_rate_that_is_not_adaptive(
    vjp, assert_share
):
    x = np.ones(1_000_000, "float32")
    y, _ = vjp(Jumpout(rate=0.75, adaptive=False, seed=1), x)
    assert_share(np.count_nonzero(y == 0), x.size, 0.75)


@pytest.mark.parametrize("row", TABLE_1)
@pytest.mark.parametrize("shift", [-0.5, 1.0])
def test_each_row_of_table_1_follows_algorithm_1(row, shift, vjp):
    x, dy = inputs(shift=shift), inputs()
    y, dx = vjp(Jumpout(**row, seed=3), x, dy)
    assert_follows_algorithm_1(y, dx, x, dy, seed=3, **row)
    assert np.any(y == 0)


@pytest.mark.parametrize(
    "options",
    [
        {"rescale": "variance"},
        {"rescale": 0.3},
        {"rescale": 0.0},
        {"min_rate": 0.1, "max_rate": 0.2},
        {"noise_shape": (None, 1, 1, None)},
        {"per_sample": True},
        {"per_sample": True, "noise_shape": (None, 1, 1, None)},
        {"per_sample": True, "noise_shape": (1, 1, None, None)},
    ],
)
@pytest.mark.parametrize("kind", [{"sigma": 0.2}, {"rate": 0.15}])
def test_each_option_follows_algorithm_1(kind, options, vjp):
    options = {**kind, **options}
    x, dy = inputs(), inputs(shift=2.0)
    x[0] = -np.abs(x[0])
    y, dx = vjp(Jumpout(**options, seed=5), x, dy)
    assert_follows_algorithm_1(y, dx, x, dy, seed=5, **options)


@pytest.mark.parametrize("per_sample", [False, True])
def test_each_mode_follows_algorithm_1(per_sample, mode, vjp):
    options = {"sigma": 0.2, "per_sample": per_sample}
    x, dy = inputs(), inputs(shift=2.0)
    y, dx = vjp(Jumpout(**options, seed=6), x, dy, mode=mode)
    assert_follows_algorithm_1(y, dx, x, dy, seed=6, **options)


def test_active_units_are_counted_over_all_of_the_input(vjp):
    # q⁺ = 1/4 over all, but 1/8 … 3/8 in parts of it
    x = -np.ones((4, 8, 1000), "float32")
    x[:, ::2, :500] = 1
    x[0] *= -1
    q = np.mean(x > 0)
    y, _ = vjp(Jumpout(rate=0.1, rescale="mean", seed=1), x)
    kept = np.abs(y[y != 0])
    np.testing.assert_allclose(kept, 1 / (1 - 0.1 / q), rtol=2 * GRID)


def test_rate_and_active_fraction_of_each_sample_are_its_own(vjp):
    x = -np.ones((5, 1000), "float32")
    for i, active in enumerate([1000, 500, 250, 100, 0]):
        x[i, :active] = 1
    layer = Jumpout(rate=0.1, per_sample=True, rescale="mean", seed=1)
    y, _ = vjp(layer, x)
    scales = np.abs(y).max(axis=1)
    expected = 1 / (1 - np.array([0.1, 0.2, 0.4, 0.6, 0]))
    np.testing.assert_allclose(scales, expected, rtol=3 * GRID)
    np.testing.assert_array_equal(y[4], x[4])


def test_drawn_rates_have_the_law_of_the_half_normal(vjp, assert_share):
    n, sigma = 100_000, 0.2
    layer = Jumpout(
        sigma=sigma, adaptive=False, per_sample=True, rescale="mean", seed=2
    )
    y, _ = vjp(layer, np.ones((n, 64), "float32"))
    rates = 1 - 1 / y.max(axis=1).astype("float64")
    atom = rates > 0.6 - GRID
    assert_share(atom.sum(), n, math.erfc(0.59 / sigma / 2**0.5))
    assert rates.max() < 0.6 + GRID and rates.min() > 0.01 - GRID
    below = np.sort(rates[~atom])
    law = [math.erf(max(p - 0.01, 0) / sigma / 2**0.5) for p in below]
    distance = np.abs(np.array(law) - np.arange(below.size) / n)
    assert distance.max() < 1.95 / math.sqrt(n)


def test_one_rate_is_shared_by_the_batch_and_changes_by_the_step(vjp):
    # At σ = 0.1 no rate is the highest one, which several could have.
    layer = Jumpout(sigma=0.1, adaptive=False, seed=1)
    x = np.ones((10, 50), "float32")
    scales = [np.unique(y[y != 0]) for y in (vjp(layer, x)[0] for _ in "12345")]
    assert all(len(scale) == 1 for scale in scales)
    assert len(np.unique(scales)) == 5


def test_rate_and_mask_are_independent(vjp):
    layer = Jumpout(sigma=0.2, adaptive=False, per_sample=True, seed=6)
    y, _ = vjp(layer, np.ones((20_000, 100), "float32"))
    rates = 1 - y.max(axis=1).astype("float64") ** (-4 / 3)
    dropped = np.count_nonzero(y == 0, axis=1)
    excess = (dropped - 100 * rates) / np.sqrt(100 * rates * (1 - rates))
    limit = 4 / np.sqrt(len(rates))
    assert abs(excess.mean()) < limit
    assert abs(np.corrcoef(rates, excess)[0, 1]) < limit


def test_the_rate_shares_no_words_with_the_mask(vjp):
    # One column: the i-th rate and the i-th element of the mask.
    layer = Jumpout(
        sigma=0.3,
        adaptive=False,
        per_sample=True,
        noise_shape=(None, 1),
        backward_rate=0.5,
        rescale=0.0,
        seed=6,
    )
    n = 200_000
    y, dx = vjp(layer, np.ones((n, 2), "float32"))
    dropped = y[:, 0] == 0
    u = uniform_of_rate(6, (n, 1))[:, 0]
    p = np.minimum(0.01 + 0.3 * half_normal(u), 0.6)
    excess = (dropped - p) / np.sqrt(p * (1 - p))
    assert abs(excess.mean()) < 4 / np.sqrt(n)
    assert abs(np.corrcoef(u, excess)[0, 1]) < 4 / np.sqrt(n)
    kept = dx[~dropped, 0] != 0
    assert abs(np.corrcoef(u[~dropped], kept)[0, 1]) < 4 / np.sqrt(len(kept))


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("kind", [{"sigma": 0.2}, {"rate": 0.3}])
@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (1,), (2, 3, 4, 5)])
def test_without_active_units_it_is_the_identity(per_sample, kind, shape, vjp):
    x = -np.abs(inputs(shape))
    x.flat[0] = 0
    dy = inputs(shape)
    y, dx = vjp(Jumpout(**kind, per_sample=per_sample), x, dy)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(dx, dy)


@pytest.mark.parametrize("max_rate", [0.6, 0.999999, float(np.nextafter(1, 0))])
@pytest.mark.parametrize("min_rate", [0.0, 0.01])
@pytest.mark.parametrize("backward_rate", [0.0, 1e-4, 0.5, 0.9999])
def test_few_active_units_leave_everything_finite(
    max_rate, min_rate, backward_rate, vjp
):
    x = -np.ones((10, 100), "float32")
    x[0, 0] = 1
    layer = Jumpout(
        sigma=0.3,
        min_rate=min_rate,
        max_rate=max_rate,
        backward_rate=backward_rate,
        seed=1,
    )
    y, dx = vjp(layer, x)
    assert np.all(np.isfinite(y)) and np.all(np.isfinite(dx))
    assert abs(np.mean(y == 0) - max_rate) <= 4 * np.sqrt(0.24 / x.size)
    assert not np.any((dx != 0) & (y == 0))


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0])
def test_one_element_is_finite(value, mode, vjp):
    x = np.full((1, 1), value, "float32")
    y, dx = vjp(Jumpout(sigma=0.2, seed=1), x, mode=mode)
    assert np.isfinite(y).all() and np.isfinite(dx).all()


def test_no_gradient_flows_through_the_active_fraction(vjp):
    x, dy = inputs((50, 20), shift=0.2), np.ones((50, 20), "float32")
    y, dx = vjp(Jumpout(rate=0.2, seed=1), x, dy)
    np.testing.assert_allclose(dx, np.where(y != 0, y / x, 0), rtol=3e-7)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_counts_as_float32_does(policy, vjp):
    # 1 in 300 active: a count in bfloat16 stalls at 256
    x = -np.ones((300, 1001), "float32")
    x[::3] = 1
    kwargs = {"rate": 0.11, "rescale": 0.0, "seed": 4}
    y, dx = vjp(Jumpout(dtype=policy, **kwargs), x)
    expected, gradient = vjp(Jumpout(**kwargs), x)
    np.testing.assert_array_equal(y.astype("float32"), expected)
    np.testing.assert_array_equal(dx.astype("float32"), gradient)


@pytest.mark.parametrize("rate", [1e-4, 1e-3, 0.1, 0.3])
@pytest.mark.parametrize("adaptive", [False, True])
def test_it_drops_the_units_that_dropout_of_its_seed_drops(rate, adaptive, vjp):
    x = np.ones((100, 101), "float32")
    y, _ = vjp(Jumpout(rate=rate, adaptive=adaptive, seed=3), x)
    expected, _ = vjp(AugmentedDropout(rate, seed=3), x)
    np.testing.assert_array_equal(y == 0, expected == 0)


@pytest.mark.few(6)
@pytest.mark.parametrize("backward_rate", [1e-4, 0.01, 0.5])
@pytest.mark.parametrize(
    "kind", [{"sigma": 0.1}, {"rate": 0.2}, {"rate": 1e-3}]
)
@pytest.mark.parametrize("adaptive", [False, True])
def test_backward_rate_is_the_ratio_among_the_kept(
    backward_rate, kind, adaptive, vjp, assert_share
):
    x = np.ones(1_000_000, "float32")
    x[::2] = -1
    kwargs = {**kind, "adaptive": adaptive, "seed": 8}
    y, dx = vjp(Jumpout(backward_rate=backward_rate, **kwargs), x)
    expected, plain = vjp(Jumpout(**kwargs), x)
    np.testing.assert_array_equal(y, expected)
    assert not np.any((dx != 0) & (y == 0))
    kept = np.count_nonzero(y)
    assert_share(kept - np.count_nonzero(dx), kept, backward_rate)
    assert dx.max() == pytest.approx(
        plain.max() / (1 - backward_rate), rel=1e-3 * backward_rate + 1e-6
    )


@pytest.mark.parametrize("q", [0.5, 0.05])
def test_small_adaptive_rates_are_resolved(q, vjp, assert_share):
    x = np.where(np.arange(1_000_000) < 1_000_000 * q, 1, -1)
    y, _ = vjp(Jumpout(rate=1e-4, seed=8), x.astype("float32"))
    assert_share(np.count_nonzero(y == 0), x.size, 1e-4 / q)
