import keras
import numpy as np
import pytest

from keras_dropx import random
from keras_dropx.layers import AugmentedDropout

RATES = [0.0, 0.1, 0.25, 0.5]
BACKWARD_RATES = [0.0, 1e-4, 2e-4, 0.01, 0.5]
COUPLINGS = ["nested", "independent"]


def rounded(rate):
    """The rate on the grid of 16-bit words."""
    return round(rate * 65536) / 65536


def constant(values):
    """The one value that all of the array's nonzero elements have."""
    nonzero = values[values != 0]
    assert np.all(nonzero == nonzero[0])
    return nonzero[0]


@pytest.mark.parametrize("name", ["rate", "backward_rate"])
@pytest.mark.parametrize("value", [-0.1, 1, 1.5, float("nan"), True, "a", None])
def test_a_rate_outside_0_to_1_is_refused(name, value):
    with pytest.raises(ValueError) as error:
        AugmentedDropout(**{"rate": 0.5, name: value})
    assert str(error.value) == (
        f"Invalid value received for argument `{name}`. Expected a float value "
        f"between 0 and 1 (1 excluded). Received: {name}={value!r}"
    )


def test_the_message_about_rate_opens_as_that_of_keras():
    with pytest.raises(ValueError) as ours:
        AugmentedDropout(1.5)
    with pytest.raises(ValueError) as keras_own:
        keras.layers.Dropout(1.5)
    opening = str(keras_own.value).split(". Received")[0]
    assert str(ours.value).startswith(opening)


@pytest.mark.parametrize("coupling", ["both", "Nested", None, 1])
def test_an_unknown_coupling_is_refused(coupling):
    with pytest.raises(ValueError) as error:
        AugmentedDropout(0.5, coupling=coupling)
    assert str(error.value) == (
        "Invalid value received for argument `coupling`. Expected one of "
        f"'nested', 'independent'. Received: coupling={coupling!r}"
    )


@pytest.mark.parametrize("noise_shape", [(None, 1, None), [1, 2]])
def test_noise_shape_as_second_argument_is_told_to_be_named(noise_shape):
    with pytest.raises(ValueError, match="pass it by name") as error:
        AugmentedDropout(0.5, noise_shape)
    assert "`noise_shape`" in str(error.value)
    assert repr(noise_shape) in str(error.value)


def test_rate_0_is_the_identity(vjp):
    x = np.array([[1.0, -2.0, 0.0, np.inf]], "float32")
    y, dx = vjp(AugmentedDropout(0.0), x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(dx, np.ones_like(x))


@pytest.mark.parametrize(
    "rescale, exponent",
    [
        ("mean", 1),
        ("variance", 0.5),
        ("batchnorm", 0.75),
        (0, 0),
        (0.3, 0.3),
        (1, 1),
    ],
)
@pytest.mark.parametrize("coupling", COUPLINGS)
def test_kept_values_are_exactly_x_times_the_scales(
    rescale, exponent, coupling, vjp
):
    layer = AugmentedDropout(
        0.1, 0.25, coupling=coupling, rescale=rescale, seed=1
    )
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(2, 100, 31)).astype("float32")
    y, dx = vjp(layer, x, dy)
    scale = np.float32((1 - rounded(0.1)) ** -exponent)
    assert np.all((y == 0) | (y == x * scale))

    if coupling == "nested":
        kept = 65536 - 6554
        among = 1 - np.round(kept * 0.25) / kept
        back = np.float32((1 - rounded(0.1)) ** -exponent / among)
    else:
        back = np.float32(4 / 3)
    np.testing.assert_allclose(dx[dx != 0], (dy * back)[dx != 0], rtol=2e-7)
    assert 0.6 < np.mean(dx != 0) < 0.8


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 1e-3])
def test_without_backward_rate_the_gradient_is_that_of_dropout(rate, vjp):
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(2, 200, 33)).astype("float32")
    y, dx = vjp(AugmentedDropout(rate, seed=1), x, dy)
    noise, _ = vjp(AugmentedDropout(rate, seed=1), np.ones_like(x))
    mask, scale = noise != 0, constant(noise)
    expected, gradient = vjp(
        lambda x: keras.ops.where(mask, x * scale, 0.0), x, dy
    )
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(dx, gradient)


@pytest.mark.few(6)
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("backward_rate", BACKWARD_RATES)
def test_law_of_the_nested_masks(
    rate, backward_rate, normal, vjp, assert_share
):
    layer = AugmentedDropout(rate, backward_rate, seed=7)
    y, dx = vjp(layer, normal)
    ahead, back = y != 0, dx != 0
    kept = np.count_nonzero(ahead)
    assert_share(normal.size - kept, normal.size, rate)
    assert not np.any(back & ~ahead)
    assert_share(kept - np.count_nonzero(back), kept, backward_rate)

    scale = np.float32(1 / (1 - rounded(rate)))
    assert np.array_equal(y, np.where(ahead, normal * scale, 0))
    # dx is ε_b here, whose mean is 1.
    ideal = 1 / (1 - rounded(rate)) / (1 - backward_rate)
    tolerance = 1e-3 * backward_rate / (1 - backward_rate) + 2e-7
    assert constant(dx) == pytest.approx(ideal, rel=tolerance)


@pytest.mark.few(6)
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("backward_rate", BACKWARD_RATES)
def test_law_of_the_independent_masks(
    rate, backward_rate, normal, vjp, assert_share
):
    layer = AugmentedDropout(
        rate, backward_rate, coupling="independent", seed=11
    )
    y, dx = vjp(layer, normal)
    ahead, back = y != 0, dx != 0
    n, kept = normal.size, np.count_nonzero(ahead)
    assert_share(n - kept, n, rate)
    # The backward rate is the same among the kept and the dropped.
    assert_share(np.count_nonzero(ahead & ~back), kept, backward_rate)
    assert_share(np.count_nonzero(~ahead & ~back), n - kept, backward_rate)

    scale = np.float32(1 / (1 - rounded(rate)))
    assert np.array_equal(y, np.where(ahead, normal * scale, 0))
    tolerance = 1e-3 * backward_rate / (1 - backward_rate) + 2e-7
    assert constant(dx) == pytest.approx(1 / (1 - backward_rate), rel=tolerance)


@pytest.mark.parametrize("rate", [1e-4, 1e-3, 0.01])
@pytest.mark.parametrize("backward_rate", [0.01, 0.25, 0.9])
@pytest.mark.parametrize("coupling", COUPLINGS)
def test_a_tiny_forward_rate_goes_with_every_backward_rate(
    rate, backward_rate, coupling, vjp, assert_share
):
    layer = AugmentedDropout(rate, backward_rate, coupling, seed=2)
    x = np.ones(1_000_001, "float32")
    y, dx = vjp(layer, x)
    kept = np.count_nonzero(y)
    assert_share(x.size - kept, x.size, rate)
    assert_share(np.count_nonzero((y != 0) & (dx == 0)), kept, backward_rate)


def test_gradient_has_dropouts_mean_given_the_forward_mask(vjp):
    # E[ε_b | forward mask] = ε_f, over the extra mask
    x = np.ones(1_000_000, "float32")
    y, dx = vjp(AugmentedDropout(0.25, 0.5, seed=3), x)
    assert dx[y != 0].mean() == pytest.approx(4 / 3, rel=4 / np.sqrt(7.5e5))


def test_neighbouring_elements_of_both_masks_are_uncorrelated(vjp):
    x = np.ones((2500, 400), "float32")
    for coupling in COUPLINGS:
        y, dx = vjp(AugmentedDropout(0.5, 0.5, coupling, seed=5), x)
        for mask in (y != 0, dx != 0):
            flat = (mask.ravel() - mask.mean()) / mask.std()
            limit = 4 / np.sqrt(flat.size)
            for lag in [*range(1, 9), 400]:
                assert abs(np.mean(flat[lag:] * flat[:-lag])) < limit


def test_successive_calls_are_independent(vjp, assert_share):
    layer = AugmentedDropout(0.5, seed=1)
    x = np.ones(1_000_000, "float32")
    first, second = (vjp(layer, x)[0] != 0 for _ in range(2))
    assert_share(np.count_nonzero(first & second), x.size, 0.25)


@pytest.mark.parametrize("other", [1e-4, 0.01, 0.9])
@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("rate", [1e-3, 0.25])
def test_the_same_seed_and_rate_drop_the_same_units(rate, other, coupling, vjp):
    x = np.ones((100, 101), "float32")
    plain = AugmentedDropout(rate, seed=9)
    layer = AugmentedDropout(rate, other, coupling, seed=9)
    for _ in range(2):
        expected, _ = vjp(plain, x)
        np.testing.assert_array_equal(vjp(layer, x)[0], expected)


def test_backward_masks_grow_from_one_word_per_element(vjp):
    x = np.ones((100, 1001), "float32")
    dropped = np.zeros(x.shape, bool)
    for backward_rate in [0.0, 1e-4, 0.01, 0.25, 0.3, 0.5, 0.9]:
        _, dx = vjp(AugmentedDropout(0.25, backward_rate, seed=4), x)
        assert not np.any(dropped & (dx != 0))
        dropped = dx == 0


@pytest.mark.parametrize(
    "kwargs, draws",
    [
        ({}, [(random.FORWARD, False)]),
        ({"backward_rate": 0.5}, [(random.FORWARD, False)]),
        ({"backward_rate": 1e-4}, [(random.FORWARD, True)]),
        (
            {"backward_rate": 1e-4, "coupling": "independent"},
            [(random.FORWARD, False), (random.BACKWARD, True)],
        ),
    ],
)
def test_nested_masks_come_from_one_draw(kwargs, draws, monkeypatch):
    seen = []
    words = random.words

    def spy(seed, shape, stream=random.FORWARD, extended=False):
        assert tuple(shape) == (4, 5)
        seen.append((stream, extended))
        return words(seed, shape, stream, extended)

    monkeypatch.setattr(random, "words", spy)
    AugmentedDropout(0.25, **kwargs)(np.ones((4, 5), "float32"), training=True)
    assert seen == draws
