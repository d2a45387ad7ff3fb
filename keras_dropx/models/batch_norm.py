import contextlib
import functools
import inspect
import threading

import keras
import numpy as np
from keras import ops

from keras_dropx import errors
from keras_dropx.layers.interception import intercepted, reachable
from keras_dropx.models.arguments import (
    check_inputs,
    check_integer,
    check_model,
    unwrapped,
)
from keras_dropx.models.copying import compile_like, copy_model
from keras_dropx.models.view import (
    BACKEND,
    INFERENCE,
    View,
    by_context,
    predict,
    runs_keras_predict,
    view_of,
)
from keras_dropx.ops.gradients import without_gradient


def reestimate_batch_norm(model, x, batch_size=32, in_place=False):
    """Recomputes the moving statistics of batch normalisation without noise.

    Dropout shifts the statistics that batch normalisation collects in
    training away from those of inference. This function passes once over `x`
    with every layer in inference mode but the batch normalisations, at any
    depth, which normalise by the batch, and averages their batch statistics,
    each sample weighing the same. Everything else stays as it is, frozen
    batch normalisations too, and those that the model's own code calls with
    `training=False`. What then remains of a method's gain is better weights,
    not a repaired mismatch.

    The pass goes through the model's own `predict` (its `predict_step`, its
    preprocessor). It writes nothing, and other threads may use the model.

    Args:
        model: Built `keras.Model`.
        x: Training inputs, at least two samples: what `model.predict` takes,
            with an end. It is read once, and may be a generator.
        batch_size: Positive integer, in samples, for arrays. That of the
            training gives statistics of the kind that training collects.
            Defaults to 32.
        in_place: Whether to change the model itself, which works for every
            model, in place of a copy. Defaults to False.

    Returns:
        A copy of the model with new moving statistics, compiled as `model` is
        (unless its class has a `compile` of its own); the model itself with
        `in_place=True`.

    Raises:
        ValueError: If the model has no batch normalisation that training
            would move, or one with `renorm=True`; cannot be copied; is not
            built; or if an argument is out of its range or `x` has less than
            two samples or no end.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((3,)), keras.layers.BatchNormalization()]
    ... )
    >>> x = np.random.default_rng(0).normal(size=(64, 3))
    >>> copy = keras_dropx.models.reestimate_batch_norm(model, x)
    """
    errors.check_bool("in_place", in_place)
    if batch_size is not None:
        batch_size = check_integer("batch_size", batch_size)
    estimate = StatisticsEstimator(model)
    check_inputs(model, x, once=True)
    copy = model if in_place else copy_model(model, lambda layer: None)
    places = {id(v): i for i, v in enumerate(model.variables)}
    for variable, value in estimate.statistics(x, batch_size):
        copy.variables[places[id(variable)]].assign(value)
    if (
        not in_place
        and model.compiled
        and type(model).compile is keras.Model.compile
    ):
        compile_like(copy, model)
    return copy


def statistics_estimator(model):
    """Returns the function behind `reestimate_batch_norm`, to call often.

    Args:
        model: As in `reestimate_batch_norm`.

    Returns:
        Function of (x, batch_size) that returns the weights of `model` as they
        are now, the moving statistics re-estimated: a list as
        `set_weights` takes it.
    """
    estimator = StatisticsEstimator(model)

    def estimate(x, batch_size):
        found = dict(
            (id(variable), value)
            for variable, value in estimator.statistics(x, batch_size)
        )
        return [
            found.get(id(variable), value)
            for variable, value in zip(
                model.weights, model.get_weights(), strict=True
            )
        ]

    return estimate


class StatisticsEstimator:
    """Computes clean statistics of a model, often.

    Args:
        model: As in `reestimate_batch_norm`.
    """

    def __init__(self, model):
        check_model(model)
        self.norms = [
            layer
            for layer in model._flatten_layers()
            if isinstance(layer, keras.layers.BatchNormalization)
        ]
        for layer in self.norms:
            if getattr(layer, "renorm", False):  # Keras 3.15 has it
                raise ValueError(
                    "Cannot re-estimate a batch normalisation with "
                    f"`renorm=True`. Received: layer {layer.name!r}"
                )
        if not self.norms:
            raise _none(model)
        self.model = model

    def statistics(self, x, batch_size=32):
        """Passes once over `x`, and writes nothing.

        Returns:
            List of pairs of a variable of the model and its new value.
        """
        batches = []
        arguments = {"batch_size": batch_size, "verbose": 0}
        if batch_size is None:
            del arguments["batch_size"]
        if runs_keras_predict(self.model):
            x = unwrapped(x)
        with (
            view_of(
                self.model, _Collector, norms=self.norms, found=batches
            ) as view,
            reachable(self.norms),
        ):
            predict(view, x, **arguments)
        if not batches:
            raise ValueError(
                f"`predict` of {type(self.model).__name__} does not go through "
                "`keras.Model.predict`, so its batch normalisation cannot be "
                f"reached. Received: model {self.model.name!r}"
            )
        sizes = np.concatenate([batch["size"] for batch in batches])
        if sizes.sum() < 2:
            raise ValueError(
                "Invalid value received for argument `x`. Expected at least "
                "two samples: one has no variance. "
                f"Received: {sizes.sum():.0f} sample"
            )
        if not batches[0]["moments"]:
            raise _none(self.model)
        pairs = []
        for index, moments in batches[0]["moments"].items():
            layer = self.norms[int(index)]
            variables = layer.moving_mean, layer.moving_variance
            for part in range(len(moments)):
                values = np.concatenate(
                    [batch["moments"][index][part] for batch in batches]
                )
                mean = sizes @ values / sizes.sum()
                pairs.append((variables[part], mean.astype("float32")))
        return pairs


def _none(model):
    return ValueError(
        "Expected a model with a `BatchNormalization` layer that training "
        "moves: neither frozen nor called with `training=False`. "
        f"Received: model {model.name!r}"
    )


_MOMENTS = threading.local()


class _Collector(View):
    """Normalises by the batch, and returns the statistics of each batch."""

    def run(self, function, *args):
        if BACKEND == "jax":
            (outputs, found), state = function(*args)
        else:
            outputs, found = function(*args)
        if runs_keras_predict(self):
            outputs = found["size"]  # What nobody looks at need not be kept.
        self.found.append(
            keras.tree.map_structure(
                lambda tensor: ops.convert_to_numpy(tensor).astype("float64"),
                found,
            )
        )
        return (outputs, state) if BACKEND == "jax" else outputs

    def wrap_step(self, step, *args):
        inputs, _, _ = keras.utils.unpack_x_y_sample_weight(args[-1])
        size = ops.shape(keras.tree.flatten(inputs)[0])[0]
        _MOMENTS.found = {}
        hooks = {
            id(layer): functools.partial(_by_the_batch, str(index), layer)
            for index, layer in enumerate(self.norms)
        }
        scope = contextlib.nullcontext()
        if BACKEND != "jax":  # where the step itself is stateless
            scope = keras.StatelessScope()
        with scope, intercepted(hooks), without_gradient():
            outputs = step(*args)
        # With an axis along which batches and replicas are joined.
        found = {
            "size": ops.cast(ops.reshape(size, (1,)), "float32"),
            "moments": {
                name: [
                    ops.mean(ops.stack(parts), axis=0, keepdims=True)
                    for parts in zip(*calls, strict=True)
                ]
                for name, calls in _MOMENTS.found.items()
            },
        }
        if BACKEND == "jax":
            outputs, state = outputs
            return (outputs, found), state
        return outputs, found


def _by_the_batch(name, layer, call, *args, **kwargs):
    bound = inspect.signature(call).bind(*args, **kwargs)
    if not layer.trainable or not by_context(
        bound.arguments.get("training", INFERENCE)
    ):
        return call(*args, **kwargs)
    # The statistics of this call alone: a twin without a memory, that has the
    # variables of the layer.
    twin = object.__new__(type(layer))
    vars(twin).update(vars(layer))
    vars(twin).pop("call", None)
    vars(twin)["momentum"] = 0.0
    bound.arguments["training"] = True
    outputs = twin.call(*bound.args, **bound.kwargs)
    moments = [
        ops.cast(variable.value, "float32")
        for variable in (layer.moving_mean, layer.moving_variance)
    ]
    _MOMENTS.found.setdefault(name, []).append(moments)
    return outputs
