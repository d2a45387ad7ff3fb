"""What every masking layer does with its noise."""

import functools

import numpy as np
from keras import backend, ops

from keras_dropx.ops.gradients import masked, value_of, with_slope

__all__ = ["split", "value_of"]

LARGEST_HALF = float(np.finfo(np.float16).max)


def split(inputs, noise):
    """Applies one noise forward and another one backward.

    ```
    y  = x ⊙ ε_f
    dx = dy ⊙ ε_b
    ```

    Args:
        inputs: Float tensor x.
        noise: `ops.masks.Noise`.

    Returns:
        Tensor of the shape and dtype of `inputs`. Kept values are exactly
        x·s, s being the scale rounded to that dtype (and, in float16, capped
        at its largest number).

    Raises:
        ValueError: If `inputs` are not of a float dtype.
    """
    dtype = backend.standardize_dtype(inputs.dtype)
    if not backend.is_float_dtype(dtype):
        raise ValueError(
            "Expected inputs of a float dtype in training. "
            f"Received: inputs of dtype {dtype}"
        )
    forward_scale = _scale(noise.forward_scale, dtype)
    backward_scale = _scale(noise.backward_scale, dtype)
    same_scale = noise.backward_scale is noise.forward_scale or (
        backward_scale is None and forward_scale is None
    )
    one_noise = noise.backward_mask is noise.forward_mask and same_scale
    if one_noise and noise.forward_mask is None and forward_scale is None:
        return inputs
    if backend.backend() == "torch":
        forward_mask, backward_mask = (
            mask if mask is None else ops.convert_to_tensor(mask, "bool")
            for mask in (noise.forward_mask, noise.backward_mask)
        )
        outputs = masked(
            inputs, forward_mask, backward_mask, forward_scale, backward_scale
        )
        if outputs is not None:
            return outputs
    if one_noise:
        # Standard dropout needs no custom gradient, each trace of which
        # TensorFlow keeps for ever.
        return _mask(inputs, noise.forward_mask, forward_scale)
    value = _mask(ops.stop_gradient(inputs), noise.forward_mask, forward_scale)
    tensors = {"mask": noise.backward_mask, "scale": backward_scale}
    numbers = {
        name: tensors.pop(name)
        for name, tensor in (*tensors.items(),)
        if tensor is None or isinstance(tensor, float)
    }

    tensors = {
        name: ops.convert_to_tensor(tensor) for name, tensor in tensors.items()
    }

    def slope(values, *parts):
        parts = dict(zip(tensors, parts, strict=True))
        return _mask(values, **numbers, **parts)

    return with_slope(value, inputs, slope, *tensors.values())


def _scale(scale, dtype):
    if isinstance(scale, float):
        return None if scale == 1.0 else _rounded(scale, dtype)
    if dtype == "float16":
        scale = ops.minimum(scale, LARGEST_HALF)
    return ops.stop_gradient(ops.cast(scale, dtype))


@functools.lru_cache
def _rounded(scale, dtype):
    if dtype == "float16":
        scale = min(scale, LARGEST_HALF)
    return float(np.dtype(dtype).type(scale))


def _mask(values, mask=None, scale=None):
    if scale is not None:
        values = values * scale
    if mask is not None:
        values = ops.where(mask, values, 0)
    return values
