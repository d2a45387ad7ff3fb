"""A second object for a model, whose `predict` does something else.

It has the class and the layers of the model, so that all that belongs to its
own `predict` (a `predict_step`, a preprocessor, Keras' data adapters, the
strategy, XLA) is gone through. The functions that it compiles are its own:
the model, which other threads may use, is not touched.
"""

import contextlib
import functools
import inspect
import threading

import keras
from keras import ops

from keras_dropx.models.arguments import unreadable

BACKEND = keras.config.backend()

_LOCAL = threading.local()
_KEPT = "keras_dropx_"
# What running a model leaves with it.
_RUN = {
    "_called",
    "_eval_epoch_iterator",
    "_jax_state",
    "_jax_state_synced",
    "history",
    "predict_function",
    "stop_evaluating",
    "stop_predicting",
    "stop_training",
    "test_function",
    "train_function",
}


class _Inference:
    """What `training` is in a view: false, and told from a literal False."""

    def __bool__(self):
        return False


INFERENCE = _Inference()


@contextlib.contextmanager
def view_of(model, kind, **attributes):
    """Lends a view of a model.

    What it has compiled is kept for the next call, with the function that
    Keras compiles for `predict`, and made anew when the model has changed:
    another trace takes time, and allocators keep some of its memory.

    Args:
        model: Built `keras.Model`.
        kind: Subclass of `View`.
        **attributes: What the methods of `kind` need, for this time.
    """
    if model.predict_function is None:
        model.make_predict_function()
    kept = getattr(model.predict_function, "__dict__", {})
    state = _state(model)
    # Who takes it out has it alone.
    before, view = kept.pop(_KEPT + kind.__name__, (None, None))
    if view is None or not _equal(before, state):
        view = _new_view(model, kind)
    vars(view).update(attributes)
    yield view
    vars(view).update(dict.fromkeys(attributes))
    kept[_KEPT + kind.__name__] = state, view


def _new_view(model, kind):
    own = type(model)
    view = object.__new__(type(own.__name__, (kind, own), {}))
    # Past `__setattr__`: there Keras and its frameworks track what they find,
    # in lists that the view shares with the model.
    vars(view).update({k: v for k, v in vars(model).items() if k not in _RUN})
    vars(view).update(predict_function=None, steps_per_execution=1)
    vars(view)["call"] = _entering(view, view.call)
    return view


def _state(model):
    """Returns what the layers of a model hold, but the values of variables."""
    return [
        (layer, {k: _frozen(v) for k, v in _held(layer) if k not in _RUN})
        for layer in model._flatten_layers()
    ]


def _held(layer):
    """Lists the attributes of a layer, without what listens to its calls."""
    for name, value in vars(layer).items():
        ways = getattr(value, "ways", None) if callable(value) else None
        if ways is None:
            yield name, value
        else:  # `callbacks.taps`
            yield from ways.before.items()


def _frozen(value, depth=0):
    """A value as it is now, though its lists may change."""
    if depth < 4 and isinstance(value, dict):
        return {k: _frozen(entry, depth + 1) for k, entry in value.items()}
    if depth < 4 and isinstance(value, (list, tuple)):
        return [_frozen(entry, depth + 1) for entry in value]
    return value


def _equal(one, other):
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            _equal(value, other[key]) for key, value in one.items()
        )
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    return isinstance(one, (bool, int, float, complex, str)) and one == other


def by_context(training):
    """Whether a layer of a view was called as training goes, not by a literal.

    A layer that the model's code calls with `training=False` in training too
    gets that False; one that is called as the model itself is gets INFERENCE.
    Where a `predict_step` goes past the model's own `call`, all count.
    """
    return training or training is INFERENCE or not _LOCAL.entered


class View:
    """Base of the classes of views: where a subclass may step in.

    Attributes:
        reading: Whether Keras has yet to read a batch.
    """

    def wrap_step(self, step, *args):
        """Runs `predict_step`, in the thread that traces it."""
        return step(*args)

    def run(self, function, *args):
        """Runs the function that Keras has compiled for one batch."""
        return function(*args)

    def __setattr__(self, name, value):
        object.__setattr__(self, name, value)

    def __call__(self, *args, **kwargs):
        _LOCAL.scoped = True
        try:
            return super().__call__(*args, **kwargs)
        finally:
            _LOCAL.scoped = False

    def predict_step(self, *args):
        _LOCAL.entered = _LOCAL.scoped = False
        return self.wrap_step(super().predict_step, *args)

    def make_predict_function(self, force=False):
        if self.predict_function is None:
            super().make_predict_function(force=True)
            function = self.predict_function

            def run(*args):
                reading, self.reading = self.reading, False
                try:
                    return self.run(function, *args)
                except StopIteration:  # On JAX data without a batch.
                    self.reading = reading
                    raise

            self.predict_function = run

    # On JAX Keras takes the values out of the model's variables while it
    # predicts, and gives their memory away. A view keeps a state of its own.
    # There is no public way.
    def _get_jax_state(self, purge_model_variables=False, **kinds):
        return keras.tree.map_structure(
            ops.copy, super()._get_jax_state(**kinds)
        )

    def jax_state_sync(self):
        pass


class _Entry(keras.layers.Layer):
    """Opens a call in which `training` is INFERENCE for all layers."""

    def __init__(self, function, **kwargs):
        super().__init__(name="view", **kwargs)
        self.function = function
        self.supports_masking = True
        self.built = True

    def call(self, inputs, training=None):
        return self.function()


def _entering(view, call):
    signature = inspect.signature(call)

    @functools.wraps(call)
    def entering(*args, **kwargs):
        if "training" in signature.parameters:
            bound = signature.bind(*args, **kwargs)
            if not bound.arguments.get("training"):
                bound.arguments["training"] = INFERENCE
            args, kwargs = bound.args, bound.kwargs
        # On JAX Keras goes past `__call__`, and so past its casts.
        scope = {"dtype": "float32", "autocast": False}
        if _LOCAL.scoped:
            scope = {"dtype": view.dtype_policy, "autocast": view.autocast}
        _LOCAL.entered = True
        entry = _Entry(lambda: call(*args, **kwargs), **scope)
        return entry(ops.zeros(()), training=INFERENCE)

    return entering


def runs_keras_predict(model):
    """Whether the class of a model leaves `predict` as Keras has it."""
    return type(model).predict is keras.Model.predict


def predict(view, x, **arguments):
    """Calls the `predict` of a view with the arguments that it takes.

    Raises:
        ValueError: If Keras cannot read a batch of `x`.
    """
    taken = inspect.signature(view.predict).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        arguments = {k: v for k, v in arguments.items() if k in taken}
    view.reading = runs_keras_predict(view)
    with _generator_kept():
        try:
            return view.predict(x, **arguments)
        # IndexError: Keras 3.13, of a generator that yields nothing.
        except (ValueError, TypeError, IndexError, UnboundLocalError) as error:
            if view.reading:
                raise unreadable("x", x, error) from error
            raise


_ONE_AT_A_TIME = threading.RLock()


@contextlib.contextmanager
def _generator_kept():
    """Puts torch's own generator back, from which its data loaders draw.

    All threads share it, so views predict one at a time.
    """
    if BACKEND != "torch":
        yield
        return
    import torch

    with _ONE_AT_A_TIME, torch.random.fork_rng(devices=[]):
        yield
