import contextlib

import jax
import keras
from keras import ops


def compiled(function, model):
    return function if model.run_eagerly else jax.jit(function)


def gradients(function, variables):
    shapes = []

    def note(z):
        shapes.append((z.shape, z.dtype))
        return z

    def only_shapes():
        mapping = [(v, v.value) for v in variables]
        with keras.StatelessScope(mapping, collect_losses=True):
            return function(note)

    jax.eval_shape(only_shapes)

    def perturbed(perturbations):
        remaining = iter(perturbations)
        return function(lambda z: z + next(remaining))

    zeros = [jax.numpy.zeros(*shape) for shape in shapes]
    (value, others), found = jax.value_and_grad(perturbed, has_aux=True)(zeros)
    return value, others, found


def gradients_of(function, tensors):
    return jax.grad(function)(tensors)


map_samples = ops.vectorized_map


def dense(gradient):
    return gradient


def sum_over_replicas(tensors):
    return tensors


def strategy_scope(model):
    return contextlib.nullcontext()


outside_graphs = contextlib.nullcontext


def forked_generator(draw):
    return contextlib.nullcontext()
