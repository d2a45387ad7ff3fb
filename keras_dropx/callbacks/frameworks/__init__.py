"""Gradients and compilation, for which Keras has no public way.

With `random` the only folder below `experiments` that imports a framework on
purpose: one file for each.
"""

import importlib

import keras

_backend = importlib.import_module(f"{__name__}.{keras.config.backend()}")

# Functions, each the same in the three files:
#
# compiled(function, model): the function, compiled as the model is.
# gradients(function, variables): see `probe.gradients`.
# gradients_of(function, tensors): of its scalar value by each of them.
# map_samples(function, samples): stacked over the first axis.
# dense(gradient): with the rows of a sparse gradient added up.
# sum_over_replicas(tensors): each summed over those of a strategy.
# strategy_scope(model): the scope under which a model was made.
# outside_graphs(): where variables are made, also while a step is traced.
# forked_generator(draw): puts a generator of the framework back.
compiled = _backend.compiled
gradients = _backend.gradients
gradients_of = _backend.gradients_of
map_samples = _backend.map_samples
dense = _backend.dense
sum_over_replicas = _backend.sum_over_replicas
strategy_scope = _backend.strategy_scope
outside_graphs = _backend.outside_graphs
forked_generator = _backend.forked_generator
