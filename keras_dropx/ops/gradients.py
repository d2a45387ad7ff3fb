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
            return value

        @staticmethod
        def backward(ctx, gradient):
            sent = None
            if ctx.needs_input_grad[1]:
                sent = ctx.slope(gradient, *ctx.saved_tensors)
            return gradient, sent, None, *(None for _ in ctx.saved_tensors)


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


def _itself(tensor):
    return tensor
