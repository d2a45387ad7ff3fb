"""A tensor with the gradient of another: the one custom gradient there is."""

import contextlib
import threading

from keras import backend, ops

_LOCAL = threading.local()

if backend.backend() == "jax":
    # Keras' `custom_gradient` has reverse mode only.
    import jax

    @jax.custom_jvp
    def _value_of(value, gradient_to):
        return value

    @_value_of.defjvp
    def _(primals, tangents):
        return primals[0], tangents[1]

    @jax.custom_jvp
    @jax.jit  # Traced once a shape in eager mode.
    def _again(tensor):
        return jax.lax.platform_dependent(
            tensor,
            cpu=lambda tensor: tensor,
            default=jax.lax.optimization_barrier,
        )

    @_again.defjvp
    def _(primals, tangents):
        return _again(primals[0]), tangents[0]

elif backend.backend() == "tensorflow":
    import tensorflow as tf

    from keras_dropx.random import tensorflow as random

    @tf.custom_gradient
    def _again(tensor):
        return random.again(tensor), _itself

elif backend.backend() == "torch":
    import torch

    class _WithSlope(torch.autograd.Function):
        # Keras' `custom_gradient` keeps all arguments for the backward pass.
        @staticmethod
        def forward(ctx, value, inputs, slope, *tensors):
            ctx.slope = slope
            ctx.save_for_backward(*tensors)
            return value.clone()  # PyTorch lets nobody write into an argument.

        @staticmethod
        def backward(ctx, gradient):
            sent = None
            if ctx.needs_input_grad[1]:
                sent = ctx.slope(gradient, *ctx.saved_tensors)
            return gradient, sent, None, *(None for _ in ctx.saved_tensors)

    # Integers of the size of a float, whose bits times 0 or 1 drop or keep it.
    _BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

    class _Masked(torch.autograd.Function):
        @staticmethod
        def forward(ctx, values, mask, back_mask, scale, back_scale):
            ctx.scale = back_scale
            saved = [back_mask]
            if isinstance(back_scale, torch.Tensor):
                ctx.scale, saved = None, [back_mask, back_scale]
            ctx.save_for_backward(*saved)
            ctx.save_for_forward(*saved)
            if mask is None:
                return values.clone() if scale is None else values * scale
            kept = _keep(values, mask)
            return kept if scale is None else kept.mul_(scale)

        @staticmethod
        def backward(ctx, gradient):
            return _Masked.jvp(ctx, gradient), None, None, None, None

        @staticmethod
        def jvp(ctx, tangent, *_):
            mask, *scales = ctx.saved_tensors
            (scale,) = scales or [ctx.scale]
            return _Masked.apply(tangent, mask, mask, scale, scale)

    def _keep(values, mask):
        # Bits times 0 or 1. `where` branches at each element on a CPU, and as
        # floats infinity and NaN times 0 are not 0.
        kept = torch.empty_like(values)
        bits = _BITS[values.itemsize]
        try:
            torch.mul(values.view(bits), mask, out=kept.view(bits))
        except RuntimeError:  # negated lazily, or a batch of gradients
            return values.where(mask, 0.0)
        return kept


@contextlib.contextmanager
def without_gradient():
    """Leaves custom gradients out, in this thread and for a while.

    TensorFlow keeps each one that it traces for ever, with its graph. What is
    computed here has no gradient that is worth anything.
    """
    before = getattr(_LOCAL, "without_gradient", False)
    _LOCAL.without_gradient = True
    try:
        yield
    finally:
        _LOCAL.without_gradient = before


def gradient_wanted():
    """Whether this thread computes outside of `without_gradient`."""
    return not getattr(_LOCAL, "without_gradient", False)


def again(tensor):
    """Returns a tensor of which a GPU computes once more.

    What is computed of the result for the backward pass is not kept from the
    forward pass, in XLA's programs for a GPU. Elsewhere that does not pay, and
    this is `tensor`.
    """
    if backend.backend() == "jax":
        return _again(tensor)
    if backend.backend() == "tensorflow":
        if random.may_redraw() and gradient_wanted():
            return _again(tensor)
    return tensor


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
    return with_slope(ops.stop_gradient(value), gradient_to, _itself)


def with_slope(value, inputs, slope, *tensors):
    """Returns a tensor with a gradient besides its own.

    ```
    y = value
    d value = dy,   d inputs = slope(dy, …)
    ```

    Args:
        value: Float tensor.
        inputs: Tensor of the same shape and dtype.
        slope: Function (tensor, *tensors) that multiplies the first by
            numbers which the others determine, element by element.
        *tensors: Tensors that no gradient is sent to.

    Returns:
        A tensor equal to `value`.
    """
    if not gradient_wanted():
        return value
    if backend.backend() == "jax":
        # Element by element, the map of a tangent is that of a gradient.
        tensors = map(ops.stop_gradient, tensors)
        return _value_of(value, value + slope(inputs, *tensors))
    if backend.backend() == "torch":
        return _WithSlope.apply(value, inputs, slope, *tensors)

    # Tensors go in by position, and each has its gradient.
    @ops.custom_gradient
    def with_gradient(value, inputs, *tensors):
        def grad(*args, upstream=None):
            gradient = args[0] if upstream is None else upstream
            none = [None] * len(tensors)
            return gradient, slope(gradient, *tensors), *none

        return value, grad

    return with_gradient(value, inputs, *tensors)


def masked(values, mask, back_mask, scale, back_scale):
    """Multiplies by one noise, and the gradient by another, on PyTorch.

    Args:
        values: Float tensor.
        mask: Boolean tensor that broadcasts to `values`, or None.
        scale: Float, or tensor that broadcasts to `values`, or None.
        back_mask: Likewise, for the gradient.
        back_scale: Likewise, for the gradient.

    Returns:
        A new tensor, or None where a function of its own cannot be: in the
        transforms of `torch.func` and in the graph of `torch.compile`.
    """
    if torch.compiler.is_compiling():
        return None
    try:
        return _Masked.apply(values, mask, back_mask, scale, back_scale)
    except RuntimeError:
        return None


def _itself(tensor):
    return tensor
