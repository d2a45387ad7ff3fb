import contextlib
import threading
import weakref

import keras
import numpy as np
from keras import ops

from keras_dropx.callbacks import frameworks, kernels, probe, sites, taps
from keras_dropx.layers.graph import everything, is_graph

# The form that listens to a model which trains.
_ACTIVE = weakref.WeakKeyDictionary()
_PLAIN = "plain training step"


class BatchForm:
    """Sums mean|∂E/∂W| up inside the training step.

    The step that does so is kept for the next training with this form; what
    it calls on the optimizer and the output layers is there while one runs.
    """

    def __init__(self, model, names, _):
        if probe.BACKEND == "jax":
            raise ValueError(
                "On JAX a compiled training step keeps no sums beside the "
                "model's own variables. Pass `data=(x, y)` for the per-sample "
                "form on a probe batch."
            )
        if is_graph(model):
            sites.check_built(model, "GradientInformation")
        # One at a time: what an interrupted training has left goes.
        if model in _ACTIVE:
            _ACTIVE[model].close()
        self.model = weakref.ref(model)
        self.names = names and tuple(names)
        shared = probe.kept(model)
        shared.setdefault(_PLAIN, model.train_function)
        key = self._key()
        if key in shared:
            self.sums, self.step = shared[key]
        else:
            self.sums, self.step = Sums(model, names), None
        self.sums.forget()
        self.stack = contextlib.ExitStack()
        _ACTIVE[model] = self
        try:
            self._listen(model)
            if self.step is None:
                # The step has been made already, and perhaps traced before.
                model.make_train_function(force=True)
                self.step = model.train_function
                probe.keep_with(self.step, shared)
                shared[key] = self.sums, self.step
            model.train_function = self.step
        except BaseException:
            self.close()
            raise

    def read(self):
        """Returns the means since the last call, and forgets them."""
        if _ACTIVE.get(self.model()) is not self:
            raise ValueError(
                "Two GradientInformation without `data` in one training. Use "
                "one, with the layers of both."
            )
        return self.sums.read()

    def close(self):
        model = self.model()
        if model is None or _ACTIVE.get(model) is not self:
            return
        del _ACTIVE[model]
        self.stack.close()
        if self.step is not None and model.train_function is self.step:
            shared = probe.kept(model)
            # The model may have been built by its first step.
            shared[self._key()] = self.sums, self.step
            model.train_function = shared[_PLAIN]

    def _key(self):
        model = self.model()
        found = tuple(
            (leaf.key, id(kernel))
            for leaf in sites.leaves(model)
            for kernel in kernels.trained_kernels(leaf.layer)
        )
        return "batch form", self.names, found

    def _listen(self, model):
        in_step = threading.local()

        def mark(train_step):
            def marked(*args, **kwargs):
                in_step.now = True
                try:
                    return train_step(*args, **kwargs)
                finally:
                    in_step.now = False

            return marked

        def enter(*args):
            self.stack.enter_context(taps.rerouted(*args))

        enter(model, "train_step", mark, lambda: True)
        for optimizer in _optimizers(model):
            inner = getattr(optimizer, "inner_optimizer", None)
            if inner is not None:
                enter(optimizer, "apply", self._noted(optimizer), lambda: True)
                optimizer, outer = inner, optimizer
            else:
                outer = None
            noted = self._noted(optimizer, outer, True)
            enter(optimizer, "apply", noted, lambda: True)
        for layer in self.sums.outputs:
            self.stack.enter_context(
                taps.tapped(
                    layer,
                    self.sums.tap,
                    lambda: getattr(in_step, "now", False),
                )
            )

    def _noted(self, optimizer, outer=None, whole=False):
        def wrap(apply):
            def noted(grads, trainable_variables=None):
                # Both are perhaps iterators.
                grads = list(grads)
                if trainable_variables is None:
                    variables = optimizer._trainable_variables
                else:
                    variables = trainable_variables = list(trainable_variables)
                if whole:
                    self.sums.note(optimizer, outer, grads, variables)
                else:
                    self.sums.begin_step()
                return apply(grads, trainable_variables)

            return noted

        return wrap


class Sums:
    """What is summed up over the steps, in variables beside the model's."""

    def __init__(self, model, names):
        self.model = weakref.ref(model)
        self.names = names
        self.outputs = sites.output_layers(model) if is_graph(model) else []
        self.scaled = False
        self.sums = None
        if all(part.built for part in everything(model)):
            self._prepare()

    def _prepare(self):
        """Makes the variables, where a model is built by its first step too."""
        model = self.model()
        pairs = []
        for leaf in sites.leaves(model):
            trained = kernels.trained_kernels(leaf.layer)
            if trained:
                pairs.append((leaf.key, trained))
        pairs = sites.chosen(
            pairs, self.names, "layers with a trainable kernel"
        )
        self.keys = [key for key, _ in pairs]
        # Of several kernels each counts by its share of the elements.
        self.position = {}
        for index, (_, trained) in enumerate(pairs):
            sizes = [int(np.prod(kernel.shape)) for kernel in trained]
            for kernel, size in zip(trained, sizes, strict=True):
                self.position[id(kernel)] = index, size / sum(sizes)
        with frameworks.outside_graphs():
            self.sums = _variable(np.zeros((2, len(pairs) + 1)), model)
            self.attempts = _variable(np.zeros(()), model)
            # Σ|δ| and the count of what the backward pass has seen; the mean.
            self.errors = _variable(np.zeros(2), model)
            self.error = _variable(np.zeros(()), model)

    def forget(self):
        if self.sums is not None:
            for variable in (self.sums, self.attempts, self.errors, self.error):
                variable.assign(ops.zeros_like(variable))

    def read(self):
        if self.sums is None:
            return {}, None, {}
        sums, counts = probe.to_numpy(self.sums.value)
        attempts = float(probe.to_numpy(self.attempts.value))
        for variable in (self.sums, self.attempts):
            variable.assign(ops.zeros_like(variable))
        with np.errstate(invalid="ignore"):
            *means, error = (sums / counts).tolist()
        others = {}
        if self.scaled:
            others["skipped_steps"] = attempts - float(counts[-1])
        means = dict(zip(self.keys, means, strict=True))
        return means, error if self.outputs else None, others

    def begin_step(self):
        """Takes the error of the backward pass, also of a step skipped."""
        if self.sums is None:
            self._prepare()
        self.scaled = True
        self.attempts.assign_add(ops.ones_like(self.attempts))
        self._take_error()

    def _take_error(self):
        total, count = ops.unstack(
            frameworks.sum_over_replicas([self.errors.value])[0], 2
        )
        # None with a second optimizer in one step.
        mean = ops.where(
            count > 0, ops.divide_no_nan(total, count), self.error.value
        )
        self.error.assign(mean)
        self.errors.assign(ops.zeros_like(self.errors))

    def note(self, optimizer, outer, gradients, variables):
        """Adds the gradients of one `apply`."""
        if self.sums is None:
            self._prepare()
        scale = getattr(optimizer, "loss_scale_factor", None) or 1.0
        if outer is not None:
            # Of the gradients that came here it has been taken off.
            error_scale = ops.cast(outer.dynamic_scale, "float64")
        else:
            error_scale = scale
            if self.outputs:
                self._take_error()
        sizes = [0.0] * len(self.keys)
        counts = [0.0] * len(self.keys)
        places, found = [], []
        for gradient, variable in zip(gradients, variables, strict=True):
            if id(variable) not in self.position:
                continue
            index, share = self.position[id(variable)]
            counts[index] += share
            if gradient is not None:
                places.append((index, share))
                found.append(frameworks.dense(gradient))
        for (index, share), gradient in zip(
            places, frameworks.sum_over_replicas(found), strict=True
        ):
            size = ops.mean(ops.abs(ops.cast(gradient, "float32")))
            if share != 1:
                size = sizes[index] + share * size
            sizes[index] = size
        # In few operations: their fixed cost is what a small step pays.
        sizes = _over(ops.cast(ops.stack(sizes), "float64"), scale)
        error = _over(self.error.value, error_scale)
        row = ops.concatenate([sizes, ops.expand_dims(error, 0)])
        self.sums.assign_add(ops.stack([row, np.array([*counts, 1.0])]))

    def tap(self, h, z):
        errors = self.errors  # TensorFlow never forgets what is used below

        @ops.custom_gradient
        def noting(z):
            def grad(*args, upstream=None):
                gradient = args[0] if upstream is None else upstream
                total = ops.sum(ops.abs(ops.cast(gradient, "float32")))
                parts = [total, ops.size(gradient)]
                errors.assign_add(
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
    with frameworks.strategy_scope(model):
        return keras.Variable(
            start,
            dtype="float64",
            trainable=False,
            autocast=False,
            synchronization="on_read",
            aggregation="only_first_replica",
        )
