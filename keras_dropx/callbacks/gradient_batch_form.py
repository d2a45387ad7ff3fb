import contextlib
import weakref

import keras
import numpy as np
from keras import ops

from keras_dropx.callbacks import probe, sites, taps
from keras_dropx.layers.shadowing import wrapped

# The hooks on models that train.
_ACTIVE = weakref.WeakKeyDictionary()


class BatchForm:
    """Sums mean|∂E/∂W| up inside the training step."""

    def __init__(self, model, names, _):
        if probe.BACKEND == "jax":
            raise ValueError(
                "On JAX a compiled training step keeps no sums beside the "
                "model's own variables. Pass `data=(x, y)` for the per-sample "
                "form on a probe batch."
            )
        self.model = model
        trainable = {id(v) for v in model.trainable_variables}
        pairs = []
        for key, layer in sites.leaves(model):
            parts = [
                part
                for part in layer._flatten_layers()
                if id(getattr(part, "kernel", None)) in trainable
            ]
            single = len(parts) == 1
            for part in parts:
                # Of two cells of one name the path tells which is which.
                inside = part.path.partition(f"{layer.name}/")[2]
                name = key if single else f"{key}/{inside}"
                pairs.append((name, part.kernel))
        pairs = sites.chosen(pairs, names, "layers with a trainable kernel")
        self.keys = [key for key, _ in pairs]
        self.position = {id(kernel): i for i, (_, kernel) in enumerate(pairs)}
        # One at a time: what an interrupted training has left goes.
        if model in _ACTIVE:
            _ACTIVE[model].close()
        _ACTIVE[model] = self
        self.sums = _variable(np.zeros((2, len(pairs) + 1)), model)
        self.attempts = _variable(np.zeros(()), model)
        # Σ|δ| and the count of what the backward pass has seen, and the mean.
        self.errors = _variable(np.zeros(2), model)
        self.error = _variable(np.zeros(()), model)
        self.scaled = False
        self.stack = contextlib.ExitStack()
        for optimizer in _optimizers(model):
            self._hook(optimizer)
        for layer in sites.output_layers(model):
            self.stack.enter_context(taps.tapped(layer, self._tap))
        # The step has been made already, and perhaps traced before.
        model.make_train_function(force=True)

    def read(self):
        """Returns the means since the last call, and forgets them."""
        if _ACTIVE.get(self.model) is not self:
            raise ValueError(
                "Two GradientInformation without `data` in one training. Use "
                "one, with the layers of both."
            )
        sums, counts = probe.to_numpy(self.sums.value)
        attempts = float(probe.to_numpy(self.attempts.value))
        for variable in (self.sums, self.attempts):
            variable.assign(ops.zeros_like(variable))
        with np.errstate(invalid="ignore"):
            *means, error = (sums / counts).tolist()
        others = {}
        if self.scaled:
            others["skipped_steps"] = attempts - counts[-1]
        return dict(zip(self.keys, means, strict=True)), error, others

    def close(self):
        if _ACTIVE.get(self.model) is self:
            del _ACTIVE[self.model]
            self.stack.close()
            self.model.train_function = None  # the next one makes its own

    def _hook(self, optimizer):
        inner = getattr(optimizer, "inner_optimizer", None)
        if inner is not None:
            self.scaled = True
            self._replace_apply(optimizer, self._begin_step)
            optimizer, outer = inner, optimizer
        else:
            outer = None

        def note(gradients, variables):
            self._note(optimizer, outer, gradients, variables)

        self._replace_apply(optimizer, note)

    def _replace_apply(self, optimizer, note):
        def wrap(apply):
            def noted(grads, trainable_variables=None):
                # Both are perhaps iterators.
                grads = list(grads)
                if trainable_variables is None:
                    variables = optimizer._trainable_variables
                else:
                    variables = trainable_variables = list(trainable_variables)
                note(grads, variables)
                return apply(grads, trainable_variables)

            return noted

        self.stack.enter_context(wrapped(optimizer, "apply", wrap))

    def _begin_step(self, gradients, variables):
        """Takes the error of the backward pass, also of a step skipped."""
        self.attempts.assign_add(ops.ones_like(self.attempts))
        self._take_error()

    def _take_error(self):
        total, count = ops.unstack(
            probe.sum_over_replicas([self.errors.value])[0], 2
        )
        # None with a second optimizer in one step.
        mean = ops.where(
            count > 0, ops.divide_no_nan(total, count), self.error.value
        )
        self.error.assign(mean)
        self.errors.assign(ops.zeros_like(self.errors))

    def _note(self, optimizer, outer, gradients, variables):
        scale = getattr(optimizer, "loss_scale_factor", None) or 1.0
        if outer is not None:
            # Of the gradients that came here it has been taken off.
            error_scale = ops.cast(outer.dynamic_scale, "float64")
        else:
            error_scale = scale
            self._take_error()
        sizes = [0.0] * len(self.position)
        counts = [0.0] * len(self.position)
        kernels, found = [], []
        for gradient, variable in zip(gradients, variables, strict=True):
            index = self.position.get(id(variable))
            if index is None:
                continue
            counts[index] = 1.0
            if gradient is not None:
                kernels.append(index)
                found.append(probe.dense(gradient))
        for index, gradient in zip(
            kernels, probe.sum_over_replicas(found), strict=True
        ):
            sizes[index] = ops.mean(ops.abs(ops.cast(gradient, "float32")))
        # In few operations: their fixed cost is what a small step pays.
        sizes = _over(ops.cast(ops.stack(sizes), "float64"), scale)
        error = _over(self.error.value, error_scale)
        row = ops.concatenate([sizes, ops.expand_dims(error, 0)])
        self.sums.assign_add(ops.stack([row, np.array([*counts, 1.0])]))

    def _tap(self, h, z):
        @ops.custom_gradient
        def noting(z):
            def grad(*args, upstream=None):
                gradient = args[0] if upstream is None else upstream
                total = ops.sum(ops.abs(ops.cast(gradient, "float32")))
                parts = [total, ops.size(gradient)]
                self.errors.assign_add(
                    ops.stack([ops.cast(part, "float64") for part in parts])
                )
                return gradient

            return z, grad

        return noting(z)


def _over(value, scale):
    return value if isinstance(scale, float) and scale == 1 else value / scale


def _optimizers(model):
    """Lists the optimizers of a model, those of its own train step too."""
    found = [
        part
        for part in (model.optimizer, *vars(model).values())
        if isinstance(part, keras.optimizers.Optimizer)
    ]
    return list({id(part): part for part in found}.values())


def _variable(start, model):
    with probe.strategy_scope(model):
        return keras.Variable(
            start,
            dtype="float64",
            trainable=False,
            autocast=False,
            synchronization="on_read",
            aggregation="only_first_replica",
        )
