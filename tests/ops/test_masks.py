import math
import statistics

import keras
import numpy as np
import pytest

from keras_dropx import random
from keras_dropx.ops import masks

RATES = [1e-5, 1e-4, 2e-4, 1e-3, 0.01, 0.1, 0.25, 0.3, 0.5, 0.9, 0.99]
RATIOS = [1e-5, 1e-4, 2e-4, 1e-3, 0.005, 0.01, 0.25, 0.5, 0.9]
JUST_BELOW_1 = [0.999999, float(np.nextafter(1, 0))]
WORDS = np.arange(65536)


def as_words(high, low):
    # A row of its own for each word.
    dtype = random.words(keras.random.SeedGenerator(0).next(), ()).high.dtype
    return random.Words(
        *(
            keras.ops.cast(part[..., np.newaxis].astype("int32"), dtype)
            for part in np.broadcast_arrays(high, low)
        )
    )


def kept(high, low, threshold):
    mask = masks.keep_mask(as_words(high, low), threshold)
    if mask is None:
        return np.ones(np.broadcast(high, low).shape, bool)
    return keras.ops.convert_to_numpy(mask)[..., 0]


def keep_probability(threshold):
    """Counts the kept ones of all 2^32 words, without drawing them all."""
    always = kept(WORDS, 0, threshold)
    sometimes = kept(WORDS, 65535, threshold) & ~always
    (edges,) = np.nonzero(sometimes)
    assert len(edges) <= 1
    part = sum(kept(edge, WORDS, threshold).mean() for edge in edges)
    return (always.sum() + part) / 65536


@pytest.mark.parametrize("rate", RATES)
def test_threshold_gives_the_rate_to_a_thousandth(rate):
    dropped = 1 - keep_probability(masks.threshold(rate))
    assert dropped == pytest.approx(rate, rel=1e-3)


@pytest.mark.parametrize("rate", RATES)
def test_represented_rate_is_the_share_of_words_dropped(rate):
    threshold = masks.threshold(rate)
    dropped = 1 - keep_probability(threshold)
    assert masks.represented_rate(threshold) == pytest.approx(
        dropped, rel=1e-9, abs=1e-15
    )


@pytest.mark.parametrize("rate", JUST_BELOW_1)
@pytest.mark.parametrize("extended", [None, False, True])
def test_a_rate_just_below_1_keeps_some_words(rate, extended):
    assert 0 < keep_probability(masks.threshold(rate, extended)) < 1e-4


@pytest.mark.parametrize("rate", JUST_BELOW_1)
@pytest.mark.parametrize("extended", [False, True])
def test_a_tensor_just_below_1_keeps_some_words(rate, extended):
    rate = keras.ops.convert_to_tensor(rate, "float32")
    threshold = masks.threshold(rate, extended)
    assert 0 < keep_probability(threshold) < 1e-4
    assert float(masks.represented_rate(threshold)) < 1


@pytest.mark.parametrize("rate", [0.0, *RATES])
@pytest.mark.parametrize("extended", [False, True])
def test_a_tensor_gets_the_threshold_of_the_same_number(rate, extended):
    rate = float(np.float32(rate))
    expected = masks.threshold(rate, extended)
    threshold = masks.threshold(
        keras.ops.convert_to_tensor(rate, "float32"), extended
    )
    assert float(threshold.high) == expected.high
    if extended:
        assert float(threshold.low) == expected.low


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("rate", [0.0, *RATES])
def test_nested_threshold_gives_the_ratio_among_the_kept(rate, ratio):
    forward = masks.threshold(rate)
    backward = masks.nested_threshold(forward, ratio)
    among = 1 - keep_probability(backward) / keep_probability(forward)
    assert among == pytest.approx(ratio, rel=1e-3)
    assert masks.represented_ratio(forward, backward) == pytest.approx(
        among, rel=1e-6
    )


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("rate", [0.0, 1e-3, 0.1, 0.6])
def test_nested_threshold_of_a_tensor_gives_the_ratio(rate, ratio):
    rate = keras.ops.convert_to_tensor(rate, "float32")
    forward = masks.threshold(rate, extended=True)
    backward = masks.nested_threshold(forward, ratio, extended=True)
    among = 1 - keep_probability(backward) / keep_probability(forward)
    assert among == pytest.approx(ratio, rel=1e-3)
    assert float(masks.represented_ratio(forward, backward)) == pytest.approx(
        among, rel=1e-4
    )


@pytest.mark.parametrize("rate", [0.5, 0.99, 0.9999, *JUST_BELOW_1])
@pytest.mark.parametrize("ratio", [0.9999, *JUST_BELOW_1])
def test_a_ratio_just_below_1_drops_nearly_all_the_kept(rate, ratio):
    forward = masks.threshold(rate)
    backward = masks.nested_threshold(forward, ratio)
    among = keep_probability(backward) / keep_probability(forward)
    assert 0 < among < 1 - ratio + 1e-3


@pytest.mark.parametrize("ratio", [0.0, *RATIOS, *JUST_BELOW_1])
@pytest.mark.parametrize("rate", [0.0, *RATES, *JUST_BELOW_1])
def test_the_backward_mask_drops_what_the_forward_mask_drops(rate, ratio):
    forward = masks.threshold(rate)
    backward = masks.nested_threshold(forward, ratio)
    for low in (0, 1, 32768, 65535):
        ahead = kept(WORDS, low, forward)
        assert not np.any(kept(WORDS, low, backward) & ~ahead)


def test_a_ratio_of_0_is_the_forward_threshold_itself():
    forward = masks.threshold(0.3)
    assert masks.nested_threshold(forward, 0.0) is forward


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("ratio", [0.0, 1e-4, 0.5])
def test_noise_has_mean_1_over_all_words(rate, ratio):
    forward = masks.threshold(rate)
    backward = masks.nested_threshold(forward, ratio)
    noise = masks.nested_noise(as_words(WORDS, 0), forward, backward, 1.0)
    ahead, back = keep_probability(forward), keep_probability(backward)
    assert ahead * noise.forward_scale == pytest.approx(1, rel=1e-9)
    assert back * noise.backward_scale == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize(
    "rescale, exponent",
    [("mean", 1), ("variance", 0.5), ("batchnorm", 0.75), (0.0, 0), (0.3, 0.3)],
)
def test_rescale_is_the_exponent_of_the_scale(rescale, exponent):
    forward = masks.threshold(0.25)
    noise = masks.forward_noise(
        as_words(WORDS, 0), forward, masks.rescale_exponent(rescale)
    )
    assert noise.forward_scale == pytest.approx(0.75**-exponent, rel=1e-12)
    assert noise.backward_mask is None and noise.backward_scale == 1.0


def test_independent_noise_scales_the_gradient_by_the_whole_backward_rate():
    words = as_words(WORDS, 0)
    noise = masks.independent_noise(
        words, words, masks.threshold(0.5), masks.threshold(0.25), 0.5
    )
    assert noise.forward_scale == pytest.approx(2**0.5)
    assert noise.backward_scale == pytest.approx(4 / 3)


def test_rate_0_keeps_all():
    assert masks.keep_mask(as_words(WORDS, 0), masks.threshold(0.0)) is None


def draw_rates(sigma, min_rate, max_rate, size=200_000):
    seed = keras.random.SeedGenerator(5).next()
    words = random.words(seed, (size, 2), random.RATE)
    return keras.ops.convert_to_numpy(
        masks.half_normal_rate(words, sigma, min_rate, max_rate)
    )


@pytest.mark.parametrize(
    "sigma, min_rate, max_rate",
    [(0.05, 0.01, 0.6), (0.2, 0.01, 0.6), (0.4, 0.0, 0.3), (2.0, 0.1, 0.9)],
)
def test_half_normal_rate_has_its_law(sigma, min_rate, max_rate, assert_share):
    rates = draw_rates(sigma, min_rate, max_rate)
    tail = math.erfc((max_rate - min_rate) / sigma / 2**0.5)
    top = np.float32(max_rate)
    assert rates.min() >= np.float32(min_rate) and rates.max() <= top
    assert_share(np.sum(rates == top), rates.size, tail)

    below = np.sort(rates[rates < top].astype("float64"))
    law = [math.erf((p - min_rate) / sigma / 2**0.5) for p in below]
    empirical = np.arange(below.size) / rates.size
    distance = np.max(np.abs(np.array(law) - empirical))
    assert distance < 1.95 / math.sqrt(rates.size)


def test_half_normal_rate_is_exact_at_the_extreme_words():
    words = random.Words(np.array([[0, 0], [65535, 65535]], "uint16"))
    low, high = keras.ops.convert_to_numpy(
        masks.half_normal_rate(words, 0.1, 0.0, 0.9)
    )
    assert 0 <= low < 1e-6
    # |N| of the last 2^-21 to 2^-25 of its law
    tail = [statistics.NormalDist().inv_cdf(1 - 2.0**-k) for k in (22, 26)]
    assert 0.1 * tail[0] < high < 0.1 * tail[1]


def test_a_list_of_two_words_gives_the_rate_of_a_tensor():
    for pair in ([0, 0], [300, 40_000], [47_000, 1], [65_535, 65_535]):
        words = random.Words(np.array(pair, "uint16"))
        expected = masks.half_normal_rate(words, 0.1, 0.01, 0.9)
        rate = masks.half_normal_rate(random.Words(pair), 0.1, 0.01, 0.9)
        assert isinstance(rate, float)
        # erfinv of float32 loses digits near 1.
        assert rate == pytest.approx(float(expected), rel=1e-4)


def test_sigma_0_gives_the_lowest_rate_whatever_the_word():
    words = random.Words(np.array([[0, 0], [9, 9], [65535, 65535]], "uint16"))
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(
            masks.half_normal_rate(words, 0.0, 0.25, 0.6)
        ),
        np.full(3, 0.25, "float32"),
    )
