"""The custom gradient that every masking layer shares."""

import numpy as np
from keras import backend, ops


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
    parts = {
        "forward_mask": noise.forward_mask,
        "backward_mask": noise.backward_mask,
        "forward_scale": _scale(noise.forward_scale, dtype),
        "backward_scale": _scale(noise.backward_scale, dtype),
    }
    parts = {
        name: ops.convert_to_tensor(part)
        for name, part in parts.items()
        if part is not None
    }
    if not parts:
        return inputs

    # Tensors go in by position: JAX needs to see each of them.
    @ops.custom_gradient
    def masked(inputs, *tensors):
        tensors = dict(zip(parts, tensors, strict=True))

        def grad(*args, upstream=None):
            gradient = args[0] if upstream is None else upstream
            gradient = _mask(
                gradient,
                tensors.get("backward_mask"),
                tensors.get("backward_scale"),
            )
            return gradient, *[None] * len(tensors)

        outputs = _mask(
            inputs, tensors.get("forward_mask"), tensors.get("forward_scale")
        )
        return outputs, grad

    return masked(inputs, *parts.values())


def value_of(value, gradient_to):
    """Returns one tensor and sends the gradient to another.

    ```
    y = value
    d gradient_to = dy,   d value = 0
    ```

    What computes `gradient_to` is not read in a forward pass: compilers
    prune it.

    Args:
        value: Float tensor.
        gradient_to: Tensor of the same shape and dtype.

    Returns:
        A tensor equal to `value`.
    """

    @ops.custom_gradient
    def first(value, gradient_to):
        def grad(*args, upstream=None):
            return None, args[0] if upstream is None else upstream

        return value, grad

    return first(value, gradient_to)


def _scale(scale, dtype):
    if isinstance(scale, float) and scale == 1.0:
        return None
    if dtype == "float16":
        largest = float(np.finfo(np.float16).max)
        if isinstance(scale, float):
            scale = min(scale, largest)
        else:
            scale = ops.minimum(scale, largest)
    return ops.cast(scale, dtype)


def _mask(values, mask, scale):
    if scale is not None:
        values = values * scale
    if mask is not None:
        values = ops.where(mask, values, ops.zeros((), values.dtype))
    return values
