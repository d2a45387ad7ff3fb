import abc
import copy
import csv
import numbers
import os

import keras
import numpy as np

from keras_dropx import errors
from keras_dropx.callbacks import batch, reading, sites, tensorboard
from keras_dropx.layers.graph import everything, is_graph


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
        self.layers = _check_layers(layers)
        if not (isinstance(frequency, str) and frequency == "epoch"):
            frequency = check_count(
                "frequency", frequency, 1, "'epoch' or a positive integer"
            )
        self.frequency = frequency
        if log_dir is not None and (
            not isinstance(log_dir, (str, os.PathLike)) or not str(log_dir)
        ):
            raise errors.invalid("log_dir", "the path of a folder", log_dir)
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

    def __deepcopy__(self, memo):
        # The data is only read, and a dataset cannot always be copied.
        for name in ("x", "data"):
            value = vars(self).get(name)
            memo[id(value)] = value
        other = type(self).__new__(type(self))
        memo[id(self)] = other
        vars(other).update(copy.deepcopy(vars(self), memo))
        return other

    def on_train_begin(self, logs=None):
        self._end()  # of a training that ended in an error
        self._clear()
        try:
            self.start()
            if self.log_dir is not None:
                self._writer = tensorboard.summary_writer(self.log_dir)
        except BaseException:
            self._end()  # Keras ends no training that did not begin.
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
        self._end()

    def _end(self):
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
        scalars = {key: float(value) for key, value in scalars.items()}
        name = "epoch" if self.frequency == "epoch" else "step"
        for key, value in {name: when, **scalars, **arrays}.items():
            self._results.setdefault(key, []).append(value)
        self._latest = scalars
        if self._writer is not None:
            tensorboard.write_summary(self._writer, when, scalars, values)


class ProbeMeasurement(Measurement):
    """Base of the callbacks that measure on a batch of their own.

    Args:
        x: Inputs as `model.predict` takes them: array, structure of arrays,
            data frame, sparse matrix, dataset of inputs or of (x, y). All of
            it is one batch. It goes the way that inputs go in `fit`, through
            the model's own preprocessing.
        layers: As in `Measurement`.
        frequency: As in `Measurement`.
        log_dir: As in `Measurement`.
    """

    def __init__(self, x, layers=None, frequency="epoch", log_dir=None):
        super().__init__(layers, frequency, log_dir)
        reading.check("x", x)
        self.x = x

    def start(self):
        model = self.model
        if is_graph(model):
            sites.check_built(model, type(self).__name__)
        inputs = batch.inputs_of_fit(model, self.x)
        sites.check_inputs(model, inputs)
        self._batch = keras.tree.map_structure(
            keras.ops.convert_to_tensor, inputs
        )
        if not all(part.built for part in everything(model)):
            model(self._batch, training=False)
        self.prepare(model)

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


def check_count(name, value, lowest, expected):
    """Returns a whole number of at least `lowest` as an int, or raises."""
    if (
        not isinstance(value, numbers.Integral)
        or isinstance(value, (bool, np.bool_))
        or not lowest <= value < 2**31
    ):
        raise errors.invalid(name, expected, value)
    return int(value)


def _check_layers(layers):
    if layers is None:
        return None
    if (
        not isinstance(layers, (list, tuple, set, frozenset))
        or not layers
        or not all(isinstance(name, str) for name in layers)
    ):
        raise errors.invalid("layers", "a list of layer names", layers)
    return sorted(layers) if isinstance(layers, (set, frozenset)) else layers
