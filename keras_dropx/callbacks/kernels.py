"""What a layer multiplies its input with, and the products of Eq. 5."""

import contextlib

import keras
from keras import ops

from keras_dropx.callbacks import frameworks, taps
from keras_dropx.layers.graph import sublayers

_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")
# What is trained in the place of a frozen kernel, once LoRA is on.
_LORA = ("lora_kernel_a", "lora_kernel_b")


def has_kernel(layer):
    """Whether a layer multiplies its input with a kernel of its own.

    With LoRA `layer.kernel` is a sum, a tensor; a wrapper's kernel may be that
    of the layer it wraps, whose it then is.
    """
    kernel = getattr(layer, "kernel", None)
    if not (isinstance(kernel, keras.Variable) or ops.is_tensor(kernel)):
        return bool(_variables(layer, _KERNELS[1:]))
    return not any(
        kernel is variable
        for _, part in sublayers(layer)
        for variable in part.variables
    )


def trained_kernels(layer):
    """Lists the variables that a layer trains as its kernel."""
    if not has_kernel(layer):
        return []
    return [v for v in _variables(layer, _KERNELS + _LORA) if v.trainable]


def _variables(layer, names):
    found = [getattr(layer, name, None) for name in names]
    return [value for value in found if isinstance(value, keras.Variable)]


def differentiable_kernels(layer):
    """Lists what a layer trains, or its kernel where that is frozen."""
    found = trained_kernels(layer) or _variables(layer, _KERNELS[:1])
    return [v for v in found if keras.backend.is_float_dtype(v.dtype)]


def kernel_gradient_sizes(linear, calls):
    """mean_ij |T_n| for each sample n, T_n its part of a kernel's gradient.

    Args:
        linear: Layer whose output before the activation is linear in h.
        calls: List of (h, δ), the input and the error of each use of it.

    Returns:
        float32 tensor (n,).
    """
    variables = differentiable_kernels(linear)
    kernels = [ops.cast(variable, "float32") for variable in variables]

    def total(kernels, sample):
        # By way of the layer itself, which knows strides and groups.
        mapping = list(zip(variables, kernels, strict=True))
        with keras.StatelessScope(mapping), taps.without_activation(linear):
            return sum(
                ops.sum(ops.cast(linear(h), "float32") * delta)
                for h, delta in sample
            )

    def size(sample):
        found = frameworks.gradients_of(
            lambda kernels: total(kernels, sample), kernels
        )
        count = sum(ops.size(gradient) for gradient in found)
        sums = sum(ops.sum(ops.abs(gradient)) for gradient in found)
        return sums / ops.cast(count, "float32")

    samples = [(h[:, None], delta[:, None]) for h, delta in calls]
    return frameworks.map_samples(size, samples)


def squared_product(linear, h):
    """Σ_i w_ij² x_i², with the product of the layer, without bias.

    NaN of a quantized layer, whose product is no plain one.
    """
    kernel = linear.kernel
    mapping = []
    if not isinstance(kernel, keras.Variable):  # with LoRA
        a, b = _variables(linear, _LORA)
        mapping.append((a, ops.zeros_like(a.value)))
        frozen = next(
            v
            for v in linear.variables
            if v is not a and v is not b and tuple(v.shape) == kernel.shape
        )
        mapping.append((frozen, ops.cast(ops.square(kernel), frozen.dtype)))
    else:
        mapping.append((kernel, ops.square(kernel.value)))
    bias = getattr(linear, "bias", None)
    if isinstance(bias, keras.Variable):
        mapping.append((bias, ops.zeros_like(bias.value)))
    scope = keras.StatelessScope(mapping)
    if getattr(linear, "quantization_mode", None) is not None:
        scope = contextlib.nullcontext()
    with scope, taps.without_activation(linear):
        product = linear(ops.square(h))
    if isinstance(scope, contextlib.nullcontext):
        return product * float("nan")
    return product


def joined(tensors):
    """One tensor of those of several uses of a layer.

    Along the batch, or where the uses differ in shape along all units.
    """
    if len(tensors) == 1:
        return tensors[0]
    if len({tuple(tensor.shape[1:]) for tensor in tensors}) == 1:
        return ops.concatenate(tensors, 0)
    flat = [
        ops.reshape(tensor, (ops.shape(tensor)[0], -1)) for tensor in tensors
    ]
    return ops.concatenate(flat, 1)
