import contextlib
import functools

import tensorflow as tf
from keras import ops


def compiled(function, model):
    if model.run_eagerly:
        return function
    # A partial has no code that it shares with those of other probes: for that
    # TensorFlow would warn of retracing.
    return tf.function(
        functools.partial(function),
        jit_compile=bool(model.jit_compile),
        autograph=False,
    )


def gradients(function, variables):
    tensors = []

    def tap(z):
        tape.watch(z)
        tensors.append(z)
        return z

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        value, others = function(tap)
    found = tape.gradient(
        value, tensors, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    return value, others, found


def gradients_of(function, tensors):
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = function(tensors)
    return tape.gradient(value, tensors)


map_samples = ops.vectorized_map
dense = tf.convert_to_tensor


def sum_over_replicas(tensors):
    context = tf.distribute.get_replica_context()
    if tensors and context is not None and context.num_replicas_in_sync > 1:
        return context.all_reduce("SUM", tensors)
    return tensors


def strategy_scope(model):
    return model.distribute_strategy.scope()


outside_graphs = tf.init_scope


def forked_generator(draw):
    return contextlib.nullcontext()
