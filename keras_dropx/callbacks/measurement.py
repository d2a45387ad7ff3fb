import abc
import csv

import keras
import numpy as np

from keras_dropx import errors
from keras_dropx.callbacks import probe, sites


class Results(dict):
    """What a callback has measured: arrays by key, one entry a measurement.

    The first key, "epoch" or "step", says when: after how many epochs before
    it (Keras counts them from 0), or after how many training steps.
    """

    def to_csv(self, path):
        """Writes a row for each measurement and a column for each key.

        Args:
            path: Path of the file; arrays of more than one axis are left out.
        """
        columns = {k: v for k, v in self.items() if np.ndim(v) == 1}
        with open(path, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))


class Measurement(keras.callbacks.Callback, abc.ABC):
    """Base of the callbacks: when to measure, and where the values go.

    Args:
        layers: Names of layers, or None for all that have such a value.
        frequency: "epoch", or N for every N training steps.
        log_dir: Folder for TensorBoard, or None.
    """

    def __init__(self, layers=None, frequency="epoch", log_dir=None):
        super().__init__()
        if isinstance(layers, str):
            raise errors.invalid("layers", "a list of layer names", layers)
        self.layers = layers
        whole = isinstance(frequency, int) and not isinstance(frequency, bool)
        if frequency != "epoch" and not (whole and frequency > 0):
            raise errors.invalid(
                "frequency", "'epoch' or a positive integer", frequency
            )
        self.frequency = frequency
        self.log_dir = log_dir
        self._writer = None
        self._clear()

    @abc.abstractmethod
    def start(self):
        """Prepares the measurements of one training; may refuse."""

    @abc.abstractmethod
    def measure(self):
        """Measures once.

        Returns:
            Three dicts: scalars for the logs, arrays for the results, and
            values for TensorBoard's histograms.
        """

    def stop(self):
        """Undoes what `start` did to the model."""

    @property
    def results(self):
        """`Results` so far: arrays by key."""
        return Results({key: np.array(v) for key, v in self._results.items()})

    def on_train_begin(self, logs=None):
        self._clear()
        self.start()
        if self.log_dir is not None:
            try:
                self._writer = probe.summary_writer(self.log_dir)
            except Exception:
                self.stop()  # Keras ends no training that did not begin.
                raise

    def on_train_batch_begin(self, batch, logs=None):
        self._first = batch

    def on_train_batch_end(self, batch, logs=None):
        # Several steps may be one execution.
        self._steps += batch - self._first + 1
        if self.frequency == "epoch":
            return
        if self._steps - self._measured >= self.frequency:
            self._measured = self._steps
            self._record(self._steps)

    def on_epoch_end(self, epoch, logs=None):
        if self.frequency == "epoch":
            self._record(epoch)
        elif self._latest is None:  # so that the first epoch has all keys
            self._record(self._steps)
        if logs is not None:
            logs.update(self._latest)

    def on_train_end(self, logs=None):
        self.stop()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _clear(self):
        self._results = {}
        self._latest = None
        self._steps = self._measured = 0

    def _record(self, when):
        _ = self.model  # On JAX this brings its variables up to date.
        scalars, arrays, values = self.measure()
        name = "epoch" if self.frequency == "epoch" else "step"
        for key, value in {name: when, **scalars, **arrays}.items():
            self._results.setdefault(key, []).append(value)
        self._latest = scalars
        if self._writer is not None:
            probe.write_summary(self._writer, when, scalars, values)


class ProbeMeasurement(Measurement):
    """Base of the callbacks that measure on a batch of their own.

    Args:
        x: Array of inputs, or structure of arrays as the model takes it.
        layers: As in `Measurement`.
        frequency: As in `Measurement`.
        log_dir: As in `Measurement`.
    """

    def __init__(self, x, layers=None, frequency="epoch", log_dir=None):
        super().__init__(layers, frequency, log_dir)
        self.x = x

    def start(self):
        sites.check_model(self.model, type(self).__name__)
        sites.check_inputs(self.model, self.x)
        self._batch = keras.tree.map_structure(
            keras.ops.convert_to_tensor, self.x
        )
        self.prepare(self.model)

    def stop(self):
        # Compiled functions cannot be copied, and hold the model.
        for name in (
            "_probe",
            "_quiet",
            "_noisy",
            "_sites",
            "_pairs",
            "_batch",
        ):
            vars(self).pop(name, None)

    @abc.abstractmethod
    def prepare(self, model):
        """Chooses the layers and makes the probes for one training."""
