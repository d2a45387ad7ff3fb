"""How Monte Carlo samples are drawn: one batch after the other."""

import contextlib
import inspect

import keras
import numpy as np
from keras import ops

from keras_dropx.layers.interception import intercepted
from keras_dropx.models.view import (
    BACKEND,
    INFERENCE,
    View,
    by_context,
    runs_keras_predict,
)
from keras_dropx.ops.gradients import without_gradient

# So many calls of a layer in one batch have counters of their own.
_CALLS = 4096


class Sampler(View):
    """Draws each sample of a batch before it takes the next batch.

    No variable is written: a seed is a function of the user's seed and of the
    numbers of the sample, the layer and the batch.
    """

    switched = False  # whether dropout was called, as was compiled

    def run(self, function, *args):
        batch, self.batch = self.batch, self.batch + 1
        parts = []
        if BACKEND == "jax":
            state, iterator = args
            data = next(iterator)
            variables = self.non_trainable_variables
            places = {id(v): i for i, v in enumerate(variables)}
        for number in self.numbers:
            seeds = self.seeds(number, batch)
            with _seeded_generator((self.drawn_seed, number, batch)):
                if BACKEND == "jax":
                    others = list(state[1])
                    for generator, value in zip(
                        self.generators, seeds, strict=True
                    ):
                        others[places[id(generator.state)]] = value
                    state = (state[0], others)
                    outputs, state = function(state, iter([data]))
                else:
                    outputs = function([(args[0][0], seeds)])
            if not self.switched:
                raise ValueError(
                    "Expected a model that calls its dropout in training "
                    "mode when it trains. All of it is called with "
                    f"`training=False`. Received: model {self.name!r}"
                )
            parts.append(outputs)
            self.bar.advance()
        if len(self.numbers) > 1 or runs_keras_predict(self):
            outputs = keras.tree.map_structure(
                lambda *tensors: ops.stack(tensors, axis=1), *parts
            )
        return (outputs, state) if BACKEND == "jax" else outputs

    def seeds(self, number, batch):
        """The states of all generators for one sample of one batch."""
        seeds = []
        for index, generator in enumerate(self.generators):
            state = generator.state
            step = self.held.get(id(state))
            entropy = (self.drawn_seed, number, index)
            if step is None:
                step = batch * _CALLS % 2**31
            else:  # What counts is the word.
                entropy = (*entropy, batch)
            value = np.array([_word(entropy), step], state.dtype)
            seeds.append(ops.convert_to_tensor(value, state.dtype))
        return seeds

    def wrap_step(self, step, *args):
        scope = contextlib.nullcontext()
        if BACKEND != "jax":  # where they are part of the state
            ((data, seeds),) = args
            args = (data,)
            states = [generator.state for generator in self.generators]
            scope = keras.StatelessScope(list(zip(states, seeds, strict=True)))
        hooks = {id(layer): self.hook(layer) for layer in self.dropping}
        with scope, intercepted(hooks), without_gradient():
            return step(*args)

    def hook(self, layer):
        signature = inspect.signature(layer.call)

        def drop(call, *args, **kwargs):
            bound = signature.bind(*args, **kwargs)
            if by_context(bound.arguments.get("training", INFERENCE)):
                bound.arguments["training"] = True
                self.switched = True
            return call(*bound.args, **bound.kwargs)

        return drop


class Bar(keras.callbacks.Callback):
    """One progress bar of the batches of all samples."""

    def __init__(self, samples, verbose):
        super().__init__()
        self.samples = samples
        self.verbose = verbose
        if verbose == "auto":
            interactive = keras.config.is_interactive_logging_enabled()
            self.verbose = 1 if interactive else 2
        self.done = 0
        self.bar = None

    def on_predict_begin(self, logs=None):
        if self.bar is None:
            steps = self.params.get("steps")
            target = None if steps is None else steps * self.samples
            self.bar = keras.utils.Progbar(target, verbose=self.verbose)

    def advance(self):
        self.done += 1
        if self.bar is not None:
            self.bar.update(self.done, finalize=False)

    def close(self):
        if self.bar is not None:
            self.bar.update(self.done, finalize=True)


@contextlib.contextmanager
def _seeded_generator(entropy):
    """Seeds torch's own generator, from which Keras' Dropout draws."""
    if BACKEND != "torch":
        yield
        return
    import torch

    with torch.random.fork_rng():  # `predict` of views holds a lock
        torch.manual_seed(_word(entropy))
        yield


def _word(entropy):
    """31 bits, which is what torch takes."""
    return int(np.random.SeedSequence(entropy).generate_state(1)[0]) // 2
