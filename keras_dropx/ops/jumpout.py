"""Jumpout's modification II: the rate follows the share of active units."""

from keras import ops


def active_fraction(inputs, per_sample=False):
    """q⁺ = mean(x > 0), counted in float32.

    Args:
        inputs: Tensor x of any rank, the batch first.
        per_sample: Whether to count for each sample instead of over all.

    Returns:
        float32 tensor, of shape `()`, or `(batch, 1, …)` per sample.
    """
    axes = tuple(range(1, len(inputs.shape))) if per_sample else None
    # Not `inputs > 0`: compilers vectorize no comparison that is summed up.
    inputs = ops.cast(ops.stop_gradient(inputs), "float32")
    active = ops.relu(ops.sign(inputs))
    return ops.mean(active, axis=axes, keepdims=per_sample)


def normalized_rate(rate, fraction, max_rate):
    """p′ = clip(p / q⁺, 0, p_max), and 0 where no unit is active.

    Args:
        rate: p, float or float32 tensor.
        fraction: q⁺, likewise.
        max_rate: p_max.

    Returns:
        float32 tensor, or a float of floats.
    """
    if isinstance(rate, float) and isinstance(fraction, float):
        return min(rate / fraction, max_rate) if fraction > 0 else 0.0
    return ops.minimum(ops.divide_no_nan(rate, fraction), max_rate)
