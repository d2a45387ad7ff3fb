"""A model and data of the user's own, out of files, for the commands."""

import contextlib
import functools
import importlib.util
import inspect
import pathlib
import re
import sys
import traceback

import keras
import numpy as np

from keras_dropx.errors import UserError, shown
from keras_dropx.experiments.data import files
from keras_dropx.experiments.subject import takes_activation


class Own:
    """The model and the data that options name.

    Attributes:
        name: String, what the user calls the model.
        model: Compiled `keras.Model`, or a function that returns one and says
            where it fails.
        train: Pair of arrays.
        test: Pair of arrays.

    Raises:
        UserError: If one cannot be had, or they do not fit each other.
    """

    def __init__(self, options):
        self.name = options.model
        self.takes_files = hasattr(options, "start")  # `dropx tune` does not.
        self.data = options.data
        path, _, function = options.model.rpartition(":")
        if options.model.endswith(".keras"):
            self.model = _load(options.model)
        else:
            self.model = _function(path, function)
        with self.in_one_line():
            sample = self._sample()
        _check_compiled(sample, self.name)
        self.train, self.test = files.read(
            options.data,
            options.target,
            options.test_share,
            image_shape=getattr(sample, "input_shape", (None,))[1:],
        )
        if options.standardize:
            self._standardize()
        self._check_labels(sample)
        self._try(sample, options.batch_size)

    @contextlib.contextmanager
    def in_one_line(self):
        """Turns a refused argument into a line about the model.

        Raises:
            UserError: If the body raises a `ValueError` about an argument.
        """
        try:
            yield
        except UserError:
            raise
        except ValueError as error:
            if not str(error).startswith("Invalid value received for arg"):
                raise
            # Of a function it shows the address.
            text = re.sub(r" Received: model=<.*", "", str(error))
            raise UserError(f"{self.name}: {text}") from None

    def validation(self, share):
        """Takes a share of the training data away; returns it."""
        self.train, part = files.split(self.data, *self.train, share, 0)
        return part

    def _sample(self):
        if isinstance(self.model, keras.Model):
            return self.model
        arguments = dropout, keras.layers.Activation
        try:
            number = 1 + takes_activation(self.model)
        except ValueError:
            text = (
                f"{self.name} takes {inspect.signature(self.model)}: expected "
                "build(dropout) or build(dropout, activation), where "
                "dropout(rate) makes each dropout layer"
            )
            if self.takes_files:
                text += "; or save the compiled model, and give its .keras file"
            raise UserError(text) from None
        return self.model(*arguments[:number])

    def _standardize(self):
        x, y = self.train
        mean, deviation = x.mean(axis=0), x.std(axis=0)
        deviation[deviation == 0] = 1
        self.train = (x - mean) / deviation, y
        x, y = self.test
        self.test = (x - mean) / deviation, y

    def _check_labels(self, model):
        """Refuses labels of which a loss would silently make nonsense."""
        kind = getattr(model.loss, "name", None) or getattr(
            model.loss, "__name__", model.loss
        )
        labels = np.concatenate([self.train[1], self.test[1]])
        outputs = getattr(model, "output_shape", None)
        highest = None
        if kind == "sparse_categorical_crossentropy":
            if isinstance(outputs, tuple) and isinstance(outputs[-1], int):
                highest = outputs[-1] - 1
        elif kind == "binary_crossentropy":
            highest = 1
        if highest is None:
            return
        low, high = labels.min(), labels.max()
        if low < 0 or high > highest:
            raise UserError(
                f"'{self.data}' has labels from {low:g} to {high:g}; the loss "
                f"{kind} of {self.name} takes 0 to {highest}"
            )

    def _try(self, model, batch_size):
        for x, y in (self.train, self.test):
            try:
                model.test_on_batch(x[:batch_size], y[:batch_size])
            except Exception as error:  # Each backend has its own.
                raise UserError(
                    f"{self.name} does not take '{self.data}', with inputs of "
                    f"the shape {x.shape[1:]}: {_said(error)}"
                ) from None


def dropout(rate):
    """Returns the layer of a site; named for the errors of its callers."""
    return keras.layers.Dropout(rate)


def _load(path):
    if not pathlib.Path(path).is_file():
        raise UserError(f"no file '{path}'")
    try:
        return keras.saving.load_model(path, safe_mode=True)
    # What reads a damaged file raises almost anything.
    except Exception as error:
        raise UserError(f"'{path}' cannot be loaded: {_said(error)}") from None


def _function(path, name):
    """Returns a function of the user's; importing it runs their code."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"no file '{path}'")
    spec = importlib.util.spec_from_file_location("dropx_model", path)
    module = importlib.util.module_from_spec(spec)
    # It may import what stands beside it, as a script does.
    sys.path.insert(0, str(path.resolve().parent))
    sys.modules[spec.name] = module
    with _failures_of(path):
        spec.loader.exec_module(module)
    found = getattr(module, name, None)
    if isinstance(found, keras.Model):
        return found
    if not inspect.isroutine(found):
        there = [k for k, v in vars(module).items() if inspect.isfunction(v)]
        raise UserError(
            f"'{path}' has no function {name}; it has: "
            f"{', '.join(there) or 'none'}"
        )

    @functools.wraps(found)
    def build(*arguments, **named):
        with _failures_of(path):
            return found(*arguments, **named)

    return build


@contextlib.contextmanager
def _failures_of(path):
    """Makes one line of whatever the code of a file raises."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if pathlib.Path(frame.filename).resolve() == path.resolve()
        ]
        if isinstance(error, SyntaxError):  # It says it itself.
            lines = []
        place = f"'{path}'" + (f", line {lines[-1]}" if lines else "")
        raise UserError(
            f"{place}: {type(error).__name__}: {_said(error)}"
        ) from None


def _said(error):
    """Returns what an error says, one line without Keras' frame around it."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    text = re.sub(r"^Exception encountered when calling \S+\s+", "", text)
    return shown(text.partition("Arguments received by")[0], str)


def _check_compiled(model, name):
    if not isinstance(model, keras.Model):
        raise UserError(
            f"{name} returns {shown(model)}, expected a compiled keras.Model"
        )
    if not model.compiled or model.optimizer is None:
        raise UserError(
            f"{name} is not compiled: call its compile(…) with an optimizer, "
            "a loss and metrics"
        )


def show(result, comparison, options, folder):
    """Prints a result and writes its page.

    Args:
        result: `Comparison` or `Tuning`.
        comparison: Its `Comparison`.
        options: The options; `seeds`, `output` and `command` are used.
        folder: Path of the folder of the runs.

    Raises:
        KeyboardInterrupt: If it was interrupted, and this is what there is.
    """
    comparison.call = options.command
    print(result)
    page = pathlib.Path(options.output) / "report.html"
    result.report(page)
    runs = pathlib.Path(folder) / "runs.jsonl"
    print(f"\nPage: {page}\nEvery run: {runs}", flush=True)
    most = options.seeds
    if isinstance(most, tuple):
        most = 0 if comparison.resolved else most[1]
    if len(comparison.seeds) < most:
        raise KeyboardInterrupt
