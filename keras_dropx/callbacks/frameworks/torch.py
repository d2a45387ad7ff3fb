import contextlib

import keras
import torch
from keras import ops


def compiled(function, model):
    return function


def gradients(function, variables):
    tensors = []

    def tap(z):
        z = z if z.requires_grad else z.detach().requires_grad_()
        tensors.append(z)
        return z

    with torch.enable_grad():
        value, others = function(tap)
        found = torch.autograd.grad(
            value, tensors, allow_unused=True, materialize_grads=True
        )
    return value, others, found


def gradients_of(function, tensors):
    return torch.func.grad(function)(tensors)


def map_samples(function, samples):
    # Its vmap takes no channels-last convolution.
    count = len(keras.tree.flatten(samples)[0])
    return ops.stack(
        [
            function(keras.tree.map_structure(lambda part: part[n], samples))  # noqa: B023
            for n in range(count)
        ]
    )


def dense(gradient):
    return gradient


def sum_over_replicas(tensors):
    return tensors


def strategy_scope(model):
    return contextlib.nullcontext()


outside_graphs = contextlib.nullcontext


@contextlib.contextmanager
def forked_generator(draw):
    # Keras' own Dropout draws from it.
    with torch.random.fork_rng():
        if draw:
            torch.manual_seed(torch.initial_seed() + draw)
        yield
