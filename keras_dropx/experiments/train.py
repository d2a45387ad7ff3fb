"""One method under one seed: reset, fit, measure, evaluate, re-estimate.

`Trainer` trains any compiled model; `build.trainer_of` makes one of a plan.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Collection, Sequence

import keras
import numpy as np
from keras import ops

from keras_dropx.experiments.probes import Measures, prefixed
from keras_dropx.models.batch_norm import statistics_estimator

# A checkpoint takes some milliseconds: every epoch of a small network would
# be slower by a third.
CHECKPOINT_SECONDS = 5


@dataclasses.dataclass(eq=False, repr=False)
class Trainer:
    """One compiled model that trains under one seed after another.

    A seed fixes the initial weights, the order of the batches and the words
    of the masks, the same for every method that is given the same functions.

    Args:
        model: Compiled and built `keras.Model`.
        initial_weights: Function of a seed that returns the arrays at which
            `network.weights` start, but for those of the masking layers.
        batches: Function of (training data, seed, first step) that returns
            what `model.fit` takes, from that step on.
        steps: Integer, training steps an epoch. None: Keras makes the batches
            and shuffles them; `batches` returns a dict of `fit`'s arguments
            for the data as a whole, and there are no checkpoints.
        epochs: Integer.
        evaluate: Function of (model, data) that returns a dict of floats by
            name, "loss" and "accuracy" for instance.
        network: The model that is measured and evaluated, if it is not
            `model`: one of the same variables.
        measures: Collection of keys of `measures.NAMES`, or "rates".
        mask_offset: Integer added to the seeds of the masks.
        loss_name: Key of the training loss in Keras' logs.
        finish: Function of (network, training data, seed) that returns a
            model to evaluate in its place, or None.
        batch_size: Integer, in samples, for re-estimated statistics.
        callbacks: Function that returns a list of `keras.callbacks.Callback`s
            for one run.
        fit: Dict, other arguments of `model.fit`.
        sites: List of the masking layers, or None: those among
            `network.layers`.
        states: List of other random states, variables of seed generators,
            which a seed fixes alike for all methods.
    """

    model: keras.Model
    initial_weights: Callable
    batches: Callable
    steps: int | None
    epochs: int
    evaluate: Callable
    _: dataclasses.KW_ONLY
    network: keras.Model | None = None
    measures: Collection = ()
    mask_offset: int = 0
    loss_name: str = "loss"
    finish: Callable | None = None
    batch_size: int = 32
    callbacks: Callable = list
    fit: dict | None = None
    sites: list | None = None
    states: Sequence = ()

    def __post_init__(self):
        model, steps, sites = self.model, self.steps, self.sites
        self.network = model if self.network is None else self.network
        self.fit = dict(self.fit or {})
        if steps is not None:
            self.fit = {"steps_per_epoch": steps, "shuffle": False, **self.fit}
        model.optimizer.build(model.trainable_variables)
        self.optimizer_start = _values(model.optimizer.variables)
        if sites is None:
            sites = [getattr(x, "dropout", x) for x in self.network.layers]
        self.sites = [x for x in sites if hasattr(x, "seed_generator")]
        # Variables that the plain network does not have: learned rates.
        own = [variable for site in self.sites for variable in site.weights]
        self.own = dict(zip(map(id, own), _values(own), strict=True))
        self.estimate = None
        if "reestimated" in self.measures and any(
            isinstance(layer, keras.layers.BatchNormalization)
            for layer in self.network._flatten_layers()
        ):
            self.estimate = statistics_estimator(self.network)
        self.measures = Measures(
            self.measures,
            self.network,
            model.loss,
            functools.partial(self.evaluate, self.network),
            self.epochs,
        )

    def reset(self, seed):
        """Puts model and optimizer where `seed` starts."""
        values = iter(self.initial_weights(seed))
        keras.utils.set_random_seed(seed)
        for variable in self.network.weights:
            own = self.own.get(id(variable))
            variable.assign(next(values) if own is None else own)
        for variable, start in zip(
            self.model.optimizer.variables, self.optimizer_start, strict=True
        ):
            variable.assign(start)
        for site, layer in enumerate(self.sites):
            entropy = np.random.SeedSequence((seed, site, self.mask_offset))
            _start(layer.seed_generator.state, entropy)
        for place, state in enumerate(self.states):
            # (seed, place) alone would be the entropy (seed, place, 0).
            _start(state, np.random.SeedSequence((seed, place, 2)))

    def variables(self):
        """Returns all that a training changes."""
        return [*self.model.variables, *self.model.optimizer.variables]

    def run(self, seed, data, on_epoch=lambda done: None, checkpoint=None):
        """Trains and measures once.

        Args:
            seed: Integer.
            data: `datasets.Subsets` of this seed.
            on_epoch: Function of a number of epochs, called after them.
            checkpoint: `Checkpoint`, from which the run goes on, or None.

        Returns:
            Dict of measurements; accuracies and fractions in 0..1, losses in
            nats, times in milliseconds.
        """
        self.reset(seed)
        watch = _Watch(self, data, on_epoch, checkpoint)
        done = watch.resume()
        if done:
            on_epoch(done)
        if done < self.epochs:
            found = self.batches(data.train, seed, done * (self.steps or 0))
            self.model.fit(
                **(found if self.steps is None else {"x": found}),
                initial_epoch=done,
                epochs=self.epochs,
                callbacks=[*self.callbacks(), watch],
                verbose=0,
                **self.fit,
            )
        result = watch.results()
        result |= self.measures.results(data.train, data.test)
        final = self.network
        if self.finish is not None:
            final = self.finish(self.network, data.train, seed)
        result |= prefixed("test", self.evaluate(final, data.test))
        if self.estimate is not None:
            inputs = data.train, None  # Batches, of a size of their own.
            if isinstance(data.train, (tuple, list)):
                inputs = data.train[0], self.batch_size
            self.network.set_weights(self.estimate(*inputs))
            again = self.evaluate(self.network, data.test)
            result |= prefixed("reestimated", again)
        return result


class _Watch(keras.callbacks.Callback):
    """Takes what needs the training of one run, and keeps checkpoints."""

    def __init__(self, trainer, data, on_epoch, checkpoint):
        super().__init__()
        self.trainer = trainer
        self.measures = trainer.measures
        self.measures.reset()
        self.data = data
        self.on_epoch = on_epoch
        self.checkpoint = checkpoint
        self.saved = time.monotonic()
        self.state = {"epoch": 0, "seconds": [], "train_loss": []}

    def resume(self):
        """Takes up a checkpoint; returns the epochs it has done."""
        loaded = self.checkpoint and self.checkpoint.load()
        if loaded:
            arrays, self.state = loaded
            self.measures.found = self.state.pop("found")
            for variable, array in zip(
                self.trainer.variables(), arrays, strict=True
            ):
                variable.assign(array)
        return self.state["epoch"]

    def on_train_begin(self, logs=None):
        train = self.data.train
        # Nothing that is measured of a run without steps needs a batch.
        watched = self.trainer.steps is not None and self.measures.names
        if watched and not isinstance(train, (tuple, list)):
            # Read as it is used: one batch stands for it.
            train = next(iter(self.trainer.batches(train, 0, 0)))
        self.measures.start(train, self.data.test)

    def on_train_end(self, logs=None):
        self.measures.stop()

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.start
        _ = self.model  # On JAX this brings its variables up to date.
        self.state["epoch"] = epoch + 1
        self.state["seconds"].append(seconds)
        # The loss itself may hold weight decay.
        self.state["train_loss"].append(logs[self.trainer.loss_name])
        if "val_loss" in logs:
            self.state.setdefault("val_loss", []).append(logs["val_loss"])
        self.measures.take(epoch)
        old = time.monotonic() - self.saved >= CHECKPOINT_SECONDS
        if self.checkpoint and old and epoch + 1 < self.trainer.epochs:
            self.checkpoint.save(
                _values(self.trainer.variables()),
                {**self.state, "found": self.measures.found},
            )
            self.saved = time.monotonic()
        self.on_epoch(1)

    def results(self):
        """Returns what goes into the record of its own."""
        # The first epoch compiles.
        seconds = self.state["seconds"]
        steps = self.trainer.steps
        if steps is None:
            done = int(self.trainer.model.optimizer.iterations)
            steps = max(done / max(len(seconds), 1), 1)
        seconds = np.median(seconds[1:] or seconds or [0.0])
        return {
            "step_ms": 1e3 * float(seconds) / steps,
            **{k: v for k, v in self.state.items() if k.endswith("loss")},
        }


def _start(state, entropy):
    """Puts a seed generator where a `SeedSequence` says."""
    word = entropy.generate_state(1)[0]
    # For torch the bits of a word are an int32.
    state.assign(np.array([word, 0]).astype(state.dtype))


def _values(variables):
    return [ops.convert_to_numpy(variable) for variable in variables]
