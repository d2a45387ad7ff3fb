"""From random words and rates to the noise of one call.

A rate p becomes an integer threshold on 16-bit words, `keep = word >= p·2^16`.
Where 16 bits miss p by more than 0.1 %, a second word of 16 bits, shared by
the elements of a row, extends the first below its last bit. All scales come
from the rate that the threshold really represents, so that E[y] = x holds to
rounding.

Rates are Python floats (everything is then computed once, in float64) or
float32 tensors (computed in the compiled step).
"""

import functools
import math
import statistics
from typing import Any, NamedTuple

import numpy as np
from keras import backend, ops

LEVELS = 2**16
RESOLUTION = 1e-3


class Noise(NamedTuple):
    """The two noises of one call, kept as masks and scales.

    ε_f = forward_mask · forward_scale and ε_b = backward_mask ·
    backward_scale, elementwise.

    Attributes:
        forward_mask: Boolean tensor that broadcasts to the input (True:
            keep), or None for "all kept".
        backward_mask: Likewise, for the gradient.
        forward_scale: Float, or float tensor that broadcasts to the input.
        backward_scale: Likewise, for the gradient.
    """

    forward_mask: Any = None
    backward_mask: Any = None
    forward_scale: Any = 1.0
    backward_scale: Any = 1.0


class Threshold(NamedTuple):
    """A rate on the grid of words: 2^16 · rate = high + low / 2^16.

    Attributes:
        high: Whole number in 0..65535 (float, or float32 tensor).
        low: Whole number in 0..65535, or None where `high` is enough.
    """

    high: Any
    low: Any = None

    @property
    def extended(self):
        return self.low is not None


def threshold(rate, extended=None):
    """Puts a rate on the grid; just below 1 it is capped at its last point.

    Args:
        rate: Float in [0, 1) or float32 tensor of such.
        extended: Whether to use the second word. None: for a float where 16
            bits miss it by more than 0.1 %, for a tensor always.

    Returns:
        `Threshold`.
    """
    make = _threshold if _static(rate) else _threshold.__wrapped__
    return make(rate, extended)


@functools.lru_cache
def _threshold(rate, extended):
    xp = _namespace(rate)
    position = rate * LEVELS
    if extended is None:
        extended = xp is ops or _misses(position, position)
    if not extended:
        return Threshold(xp.minimum(xp.round(position), LEVELS - 1))
    high = xp.floor(position)
    return _capped(high, xp.floor((position - high) * LEVELS), xp)


def nested_threshold(forward, ratio, extended=None):
    """The threshold of p_f + (1 - p_f)·p above that of p_f.

    Never below `forward`, so the backward mask drops what the forward mask
    drops, whatever the rounding.

    Args:
        forward: `Threshold` of p_f.
        ratio: p in [0, 1), float or float32 tensor: share of the kept
            elements that the backward mask drops as well.
        extended: Whether to use the second word. None: for floats where 16
            bits miss the ratio by more than 0.1 %, for tensors always.

    Returns:
        `Threshold`; `forward` itself for the float 0.
    """
    if isinstance(ratio, float) and ratio == 0.0:
        return forward
    static = _static(forward.high, ratio)
    make = _nested_threshold if static else _nested_threshold.__wrapped__
    return make(forward, ratio, extended)


@functools.lru_cache
def _nested_threshold(forward, ratio, extended):
    xp = _namespace(forward.high, ratio)
    forward_low = forward.low if forward.extended else 0.0
    step = (LEVELS - forward.high - forward_low / LEVELS) * ratio
    position = forward.high + forward_low / LEVELS + step
    if extended is None:
        extended = xp is ops or _misses(position, step)
    if not extended:
        return Threshold(xp.minimum(xp.round(position), LEVELS - 1))
    # Added part by part: in float32 the sum would lose the low bits.
    low = forward_low + xp.floor((step - xp.floor(step)) * LEVELS)
    carry = xp.floor(low / LEVELS)
    high = forward.high + xp.floor(step) + carry
    return _capped(high, low - carry * LEVELS, xp)


def may_miss(lowest):
    """Whether 16 bits can miss some rate of at least `lowest` by over 0.1 %."""
    return 0.5 > RESOLUTION * lowest * LEVELS


def _misses(position, step):
    nearest = min(np.round(position), LEVELS - 1)
    return abs(nearest - position) > RESOLUTION * step


def _capped(high, low, xp):
    """The threshold, or the last one whose rate the numbers tell from 1."""
    last = LEVELS - 1.0 if xp is np else LEVELS - 256.0  # float32: 1 - 2^-24
    low = xp.where(high < LEVELS, low, last)
    low = xp.where(high < LEVELS - 1, low, xp.minimum(low, last))
    high = xp.minimum(high, LEVELS - 1.0)
    return Threshold(*((float(high), float(low)) if xp is np else (high, low)))


def represented_rate(threshold):
    """The drop probability that a threshold really gives."""
    position = threshold.high
    if threshold.extended:
        position = position + threshold.low / LEVELS
    return position / LEVELS


def represented_ratio(forward, backward):
    """p of p_b = p_f + (1 - p_f)·p that two nested thresholds really give."""
    steps = backward.high - forward.high
    if backward.extended:
        steps = steps + backward.low / LEVELS
    if forward.extended:
        steps = steps - forward.low / LEVELS
    return steps / (LEVELS * (1.0 - represented_rate(forward)))


def keep_mask(words, threshold):
    """[word >= threshold], elementwise.

    Args:
        words: `Words`, extended where `threshold` is.
        threshold: `Threshold` with numbers, or tensors that broadcast.

    Returns:
        Boolean tensor, or None for the constant threshold 0: all kept.
    """
    if isinstance(threshold.high, float) and represented_rate(threshold) == 0:
        return None
    dtype = backend.standardize_dtype(words.high.dtype)
    if threshold.low is None:
        return words.high >= _level(threshold.high, dtype)
    above = words.low < _level(threshold.low, dtype)
    if isinstance(threshold.high, float):
        # One pass over the elements: word >= high + [low word < low].
        if threshold.high == 0:
            return words.high >= ops.cast(above, dtype)
        # Less 1 on both sides, for 65,536 is no 16-bit number.
        return words.high > ops.cast(above, dtype) + int(threshold.high - 1)
    high = _level(threshold.high, dtype)
    return ops.logical_or(
        words.high > high,
        ops.logical_and(ops.equal(words.high, high), ops.logical_not(above)),
    )


def rescale_exponent(rescale):
    """The exponent a of the scale (1 - p)^(-a).

    Args:
        rescale: "mean" (1, keeps E[y]), "variance" (0.5, keeps E[y²] of a
            unit), "batchnorm" (0.75, Jumpout's trade-off) or the exponent
            itself.
    """
    names = {"mean": 1.0, "variance": 0.5, "batchnorm": 0.75}
    return names.get(rescale, rescale)


def forward_noise(words, forward, exponent):
    """m_f·s forward, nothing backward (Gao et al. 2019, Definition 1)."""
    scale = (1.0 - represented_rate(forward)) ** -exponent
    return Noise(keep_mask(words, forward), None, scale, 1.0)


def backward_noise(words, backward):
    """m_b/(1 - p_b) backward only (Gao et al. 2019, Definition 2)."""
    scale = 1.0 / (1.0 - represented_rate(backward))
    return Noise(None, keep_mask(words, backward), 1.0, scale)


def independent_noise(
    forward_words, backward_words, forward, backward, exponent
):
    """m_f·s forward, m_b/(1 - p_b) backward (Gao et al. 2019, Eq. 7-10)."""
    ahead = forward_noise(forward_words, forward, exponent)
    back = backward_noise(backward_words, backward)
    return ahead._replace(
        backward_mask=back.backward_mask, backward_scale=back.backward_scale
    )


def nested_noise(words, forward, backward, exponent, redrawn=None):
    """m_f·s forward, ε_f ⊙ m/(1 - p) backward, from one word per element.

    `m_f = [U >= p_f]` and `m_f·m = [U >= p_f + (1 - p_f)·p]` have the joint
    law of ε_backward = ε_forward ⊙ ε (Gao et al. 2019, section 5).

    Args:
        words: `Words`, extended where a threshold is.
        forward: `Threshold` of p_f.
        backward: `nested_threshold` above it, or `forward` itself for
            standard dropout.
        exponent: a of s = (1 - p_f)^(-a).
        redrawn: The same words for the backward mask, see
            `random.redrawn`; None: `words` itself.

    Returns:
        `Noise`.
    """
    noise = forward_noise(words, forward, exponent)
    mask, scale = noise.forward_mask, noise.forward_scale
    redrawn = words if redrawn is None else redrawn
    if backward is not forward or redrawn is not words:
        mask = keep_mask(redrawn, backward)
    if backward is not forward:
        scale = scale / (1.0 - represented_ratio(forward, backward))
    return noise._replace(backward_mask=mask, backward_scale=scale)


def half_normal_rate(words, sigma, min_rate, max_rate):
    """min(p_min + |N(0, σ)|, p_max), Jumpout's modification I.

    Args:
        words: `Words` with 2 for a last axis besides; one rate is made of
            each pair. Or of a list of two.
        sigma: σ, the standard deviation of the normal distribution.
        min_rate: p_min, added to every rate.
        max_rate: p_max, where the rest of the law is an atom.

    Returns:
        float32 tensor of the shape of the words without the last axis, or
        a float of a list.
    """
    if isinstance(words.high, list):
        first, second = words.high
        uniform = (first * 2**6 + second // 2**10 + 0.5) / 2**22
        normal = statistics.NormalDist().inv_cdf((1.0 + uniform) / 2.0)
        return min(min_rate + float(sigma) * normal, max_rate)
    # 22 bits and a half step: u and (1 + u)/2, which TensorFlow's erfinv
    # takes, are exact in float32 and never 0 or 1.
    pairs = ops.cast(words.high, "float32")
    parts = ops.convert_to_tensor([1.0, 2.0**-10], "float32")
    steps = ops.convert_to_tensor([2.0**-16, 2.0**-22], "float32")
    bits = ops.floor(pairs * parts)
    uniform = ops.sum(bits * steps, axis=-1) + 2.0**-23
    spread = math.sqrt(2.0) * sigma
    half_normal = spread * ops.erfinv(uniform)
    return ops.minimum(min_rate + half_normal, max_rate)


def _level(number, dtype):
    """A whole number to compare words with, as they are."""
    return int(number) if _static(number) else ops.cast(number, dtype)


def _static(*values):
    return all(isinstance(value, (int, float)) for value in values)


def _namespace(*values):
    return np if _static(*values) else ops
