import time

import keras
import numpy as np

from keras_dropx.experiments import probes
from keras_dropx.experiments.measures import Measures
from keras_dropx.experiments.streaming import training_stream
from keras_dropx.experiments.training import is_stream

CONVERGED_LOSS = 0.02
# How often a run looks inside of its network, and at the test images.
PROBES = 10
CURVE = 20
# A checkpoint takes some milliseconds: every epoch of a small network would
# be slower by a third.
CHECKPOINT_SECONDS = 5


class Watch(keras.callbacks.Callback):
    """Takes the measurements that need training, and keeps checkpoints."""

    def __init__(self, runner, data, on_epoch, checkpoint):
        super().__init__()
        self.runner = runner
        self.names = runner.panel.measures
        self.data = data
        self.on_epoch = on_epoch
        self.checkpoint = checkpoint
        self.saved = time.monotonic()
        self.probed = spread(PROBES, runner.epochs)
        self.curved = spread(CURVE, runner.epochs)
        self.state = {
            "epoch": 0,
            "seconds": [],
            "train_loss": [],
            "epochs_to_loss": None,
            "gradients": [],
            "rates": [],
            "fractions": [],
            "curve": [],
            "measured": [],
        }

    def resume(self):
        """Takes up a checkpoint; returns the epochs it has done."""
        loaded = self.checkpoint and self.checkpoint.load()
        if loaded:
            arrays, self.state = loaded
            for variable, array in zip(
                self.runner.variables(), arrays, strict=True
            ):
                variable.assign(array)
        return self.state["epoch"]

    def on_train_begin(self, logs=None):
        train = self.data.train
        if is_stream(train):
            size = self.runner.panel.batch_size
            train = next(iter(training_stream(train, size, 0)))
        self.x, self.y = train
        self.measures = Measures(
            self.names, self.runner.network, self.x, self.y, self.data.test
        )

    def on_train_end(self, logs=None):
        self.measures.stop()

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.start
        _ = self.model  # On JAX this brings its variables up to date.
        state = self.state
        state["epoch"] = epoch + 1
        state["seconds"].append(seconds)
        # The loss itself may hold weight decay.
        state["train_loss"].append(logs[self.runner.loss_name])
        last = epoch + 1 == self.runner.epochs
        if "convergence" in self.names and state["epochs_to_loss"] is None:
            now = self.runner.evaluate("train", (self.x, self.y))
            if now["train_loss"] <= CONVERGED_LOSS:
                state["epochs_to_loss"] = epoch + 1
        if "curve" in self.names and epoch in self.curved:
            test = self.runner.evaluate("test", self.data.test)
            state["curve"].append({"epoch": epoch + 1, **test})
        if epoch in self.probed:
            if self.runner.gradient_probe is not None:
                sizes, output = self.runner.gradient_probe(
                    self.x[: probes.BATCH], self.y[: probes.BATCH]
                )
                sizes = {name: float(size) for name, size in sizes.items()}
                state["gradients"].append([sizes, float(output)])
            if self.runner.rate_probe is not None:
                rates, fractions = self.runner.rate_probe(
                    self.x[: probes.BATCH]
                )
                state["rates"].append(rates)
                state["fractions"].append(fractions)
            taken = self.measures.take(last)
            if taken:
                state["measured"].append({"epoch": epoch + 1, **taken})
        self.save(last)
        self.on_epoch(1)

    def save(self, last):
        """Saves a checkpoint, if the last one is some seconds old."""
        if self.checkpoint is None or last:
            return
        if time.monotonic() - self.saved >= CHECKPOINT_SECONDS:
            arrays = [
                keras.ops.convert_to_numpy(variable)
                for variable in self.runner.variables()
            ]
            self.checkpoint.save(arrays, self.state)
            self.saved = time.monotonic()

    def results(self):
        """Returns what goes into the record."""
        state = self.state
        # The first epoch compiles.
        seconds = np.median(state["seconds"][1:] or state["seconds"])
        results = {
            "step_ms": 1e3 * float(seconds) / self.runner.steps,
            "train_loss": state["train_loss"],
        }
        if "convergence" in self.names:
            results["epochs_to_loss"] = state["epochs_to_loss"]
        gradients = state["gradients"]
        if gradients:
            layers = gradients[0][0]
            results["gradient"] = {
                name: float(np.mean([sizes[name] for sizes, _ in gradients]))
                for name in layers
            }
            results["gradient_normalized"] = {
                name: float(
                    np.mean([sizes[name] / out for sizes, out in gradients])
                )
                for name in layers
            }
        if state["rates"]:
            for key in ("rates", "fractions"):
                mean = np.mean(state[key], axis=0).tolist()
                results[f"mean_{key}"] = mean
        for key in ("curve", "measured"):
            if state[key]:
                results[key] = state[key]
        return results


def spread(count, epochs):
    """Returns about `count` epochs, evenly spread, the last among them."""
    return {round((k + 1) * epochs / count) - 1 for k in range(count)}
