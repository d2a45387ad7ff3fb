"""Times the forward and backward pass of single layers, compiled as one."""

import math

import keras

from benchmarks import device, kept, timing
from benchmarks.layers import Copy, dropout_layers
from keras_dropx.layers import GAAF, AugmentedDropout, MaskedInput

CHANNELS = 256


def subjects():
    """Returns a dict of names and functions that make a layer."""
    return {
        "identity": keras.layers.Identity,
        "copy": Copy,
        **dropout_layers(device.BACKEND),
        "tanh": lambda: keras.layers.Activation("tanh"),
        "gaaf": lambda: GAAF("tanh"),
        "augmented_dense": lambda: keras.Sequential(
            [AugmentedDropout(0.25, 0.25), keras.layers.Dense(CHANNELS)]
        ),
        "masked_input": lambda: MaskedInput(
            keras.layers.Dense(CHANNELS), AugmentedDropout(0.25, 0.25)
        ),
    }


def references(subject):
    """Returns the names of what a subject is compared with."""
    if subject == "copy":
        return ()
    if subject == "gaaf":
        return ("copy", "tanh")
    if subject == "masked_input":
        return ("copy", "augmented_dense")
    if subject in dropout_layers(device.BACKEND):
        keras_layers = ("copy", "keras", "keras_philox")
        return tuple(
            name
            for name in keras_layers
            if name != subject and name in subjects()
        )
    return ("copy",)


def shape_of(elements):
    """Returns the shape in which a number of elements is measured."""
    return (max(1, elements // CHANNELS), CHANNELS)


def memory(shape, dtype):
    """Returns about how many bytes the greediest subject needs.

    They are x, dy, y, dx, the results of the call before, and a draw of 8
    bytes an element.
    """
    size = 2 if dtype == "mixed_bfloat16" else 4
    return (6 * size + 8) * math.prod(shape)


def measure(names, shape, mode, dtype, rounds):
    """Times layers on one shape.

    Args:
        names: Names of the subjects.
        shape: Tuple of integers.
        mode: "graph", "xla" or "eager".
        dtype: Name of the dtype policy; x and dy have its compute dtype.
        rounds: Integer, how often each is timed.

    Returns:
        Dict of names and tuples (`timing.Timings`, bytes kept for backward).
    """
    policy = keras.DTypePolicy(dtype)
    x = keras.random.normal(shape, dtype=policy.compute_dtype, seed=1)
    dy = keras.random.normal(shape, dtype=policy.compute_dtype, seed=2)
    make = subjects()
    steps, sizes = {}, {}
    with device.dtype_policy(dtype):
        for name in names:
            # Also calls layers that do not know the argument `training`.
            layer = keras.Sequential([make[name]()])
            layer(x[:1])  # Builds it.
            steps[name] = compiled(layer, x, dy, mode)
            sizes[name] = kept_bytes(layer, x, dy, mode)
    timings = timing.interleave(steps, device.synchronize, rounds)
    return {name: (timings[name], sizes[name]) for name in names}


def compiled(layer, x, dy, mode):
    """Compiles both passes of a layer in training.

    The gradients are those of x and of the trainable weights; the state of
    the layer, its seed, goes on from call to call.

    Returns:
        Function without arguments.
    """
    if device.BACKEND == "tensorflow":
        step = _tensorflow_step(layer, mode)
        return lambda: step(dy, x)
    if device.BACKEND == "torch":
        return lambda: _torch_step(layer, dy, x)
    import jax

    step = jax.jit(_jax_step(layer))
    weights, state = _values(layer)

    def call():
        nonlocal state
        state, *results = step(dy, x, weights, state)
        return results

    return call


def kept_bytes(layer, x, dy, mode):
    """Returns the bytes kept for backward, as `kept` counts them."""
    if device.BACKEND == "torch":
        return kept.saved_bytes(
            lambda: _torch_step(layer, dy, x),
            [x, *(variable.value for variable in layer.variables)],
        )
    if device.BACKEND == "jax":
        import jax

        step = jax.jit(_jax_step(layer, barrier=True))
        text = step.lower(dy, x, *_values(layer)).compile().as_text()
    elif mode == "graph":
        step = _tensorflow_step(layer, mode)
        graph = step.get_concrete_function(dy, x).graph
        return kept.crossing_bytes(
            kept.graph_nodes(graph), graph.inputs[0].name
        )
    else:
        step = _tensorflow_step(layer, mode, barrier=True)
        text = step.experimental_get_compiler_ir(dy, x)(stage="optimized_hlo")
    return kept.crossing_bytes(
        kept.hlo_nodes(text), kept.hlo_parameter(text, 0)
    )


def _tensorflow_step(layer, mode, barrier=False):
    import tensorflow as tf

    @tf.function(jit_compile=mode == "xla")
    def step(dy, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        if barrier:
            dy += _number_of(y)
        return y, tape.gradient(y, [x, *layer.trainable_variables], dy)

    return step


def _torch_step(layer, dy, x):
    import torch

    x = x.detach().requires_grad_()
    y = layer(x, training=True)
    weights = [variable.value for variable in layer.trainable_variables]
    return y, torch.autograd.grad(y, [x, *weights], dy)


def _jax_step(layer, barrier=False):
    import jax

    def step(dy, x, weights, state):
        def forward(weights, x):
            return layer.stateless_call(weights, state, x, training=True)

        y, backward, state = jax.vjp(forward, weights, x, has_aux=True)
        if barrier:
            dy += _number_of(y)
        return state, y, backward(dy)

    return step


def _number_of(y):
    """Returns a scalar that depends on all of y and fuses with nothing.

    The loop is never run: the program is only compiled.
    """
    ops = keras.ops
    return ops.fori_loop(0, 99, lambda _, value: ops.sin(value), ops.sum(y))


def _values(layer):
    return (
        [variable.value for variable in layer.trainable_variables],
        [variable.value for variable in layer.non_trainable_variables],
    )
