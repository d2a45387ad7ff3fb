import contextlib
import weakref

import keras
import numpy as np
from keras import ops

from keras_dropx import errors
from keras_dropx.callbacks import figures, probe
from keras_dropx.callbacks.measurement import Measurement
from keras_dropx.layers.masked_input import LINEAR_LAYERS
from keras_dropx.layers.shadowing import wrapped

NAME = "gradient_information"
NORMALIZED = "gradient_information_normalized"
# The hooks on models that train.
_ACTIVE = weakref.WeakKeyDictionary()


class GradientInformation(Measurement):
    """Logs how large the gradients of the kernels are, layer by layer.

    In two forms, which are different numbers. *Batch form*, without `data`:

    ```
    G_k = mean_ij |∂E/∂W_k|
    ```

    of the mean loss E of each training batch, averaged over the training
    steps. It is taken from the gradients of the training step itself, before
    clipping, for every layer with a trainable kernel (recurrent kernels, biases
    and embeddings have none of it). With gradient accumulation it is of
    each micro-batch; under `MirroredStrategy` of the sum over the replicas;
    with loss scaling unscaled, and steps that the optimizer skips because of
    it are left out and counted as `gradient_information/skipped_steps`.

    *Per-sample form* (GAAF, Eq. 5), with `data`: one pass over a batch in
    training mode, with T_n what sample n adds to ∂(Σ E)/∂W_k,

    ```
    G_k = mean_n mean_ij |T_n|,   Σ_n T_n = ∂(Σ E)/∂W_k
    ```

    for the layers that `MaskedInput` takes, of loss terms only, under the
    masks that the next training step would draw.

    Both are given as `gradient_information/<layer>`, and divided by the
    error at the output, mean|∂E/∂z_out|, as
    `gradient_information_normalized/<layer>`. Dropout raises the training loss
    and with it the gradients of all layers, the output layer's too, so only
    the second speaks for gradients that reach further down.

    The model trains as without the callback. While it trains, for the batch
    form, the optimizer's `apply` and the `call` of its output layer are
    replaced on the instances, to be put back at the end (after an error
    within `fit` when the next training with such a callback begins). The keys
    of the two forms are the same: use one of them in a training.

    Args:
        data: Tuple (x, y) of arrays for the per-sample form, or None. On JAX
            there is no batch form, because a compiled step writes to no
            variable that the model does not have.
        layers: List of layer names, or None for all.
        frequency: "epoch", or an integer N: every N training steps. The batch
            form averages over the steps since the measurement before.
        log_dir: Folder for TensorBoard (`log_dir/train`, where Keras' own
            callback writes), or None. The step is the epoch, or the number of
            training steps with a number as `frequency`.

    Logs:
        The keys above, unit: loss per unit of weight; the normalised ones:
        unit of the layer's input. List callbacks that read them after this
        one.

    Raises:
        ValueError: When training begins, if the probe batch does not fit the
            model, a name is no layer with a kernel, or the backend or the
            model cannot do the batch form.

    Example:

    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x, y = np.random.rand(64, 3), np.random.rand(64, 1)
    >>> callback = keras_dropx.callbacks.GradientInformation()
    >>> history = model.fit(x, y, verbose=0, callbacks=[callback])
    >>> callback.results.to_csv("gradients.csv")

    Reference:
        Hahn, Choi, 2018: Gradient Acceleration in Activation Functions,
        Eq. 5 and Table 1.
    """

    def __init__(self, data=None, layers=None, frequency="epoch", log_dir=None):
        super().__init__(layers, frequency, log_dir)
        if data is not None and not (
            isinstance(data, (tuple, list)) and len(data) == 2
        ):
            raise errors.invalid("data", "a tuple (x, y)", type(data))
        self.data = data
        self._form = None

    def start(self):
        self.stop()  # of a training that ended in an error
        model = self.model
        probe.check_model(model, "GradientInformation")
        form = _BatchForm if self.data is None else _SampleForm
        self._form = form(model, self.layers, self.data)

    def measure(self):
        sizes, error, others = self._form.read()
        scalars = {f"{NAME}/{key}": size for key, size in sizes.items()}
        with np.errstate(divide="ignore", invalid="ignore"):
            scalars |= {
                f"{NORMALIZED}/{key}": float(np.float64(size) / error)
                for key, size in sizes.items()
            }
        return {**scalars, **others}, {}, {}

    def stop(self):
        if self._form is not None:
            self._form.close()
        self._form = None

    def plot(self, path):
        """Draws both values of each layer over the training.

        Args:
            path: Path of the picture; its ending says the format.
        """
        form = "batch" if self.data is None else "per-sample"
        label = f"gradient information, {form} form"
        figures.lines(
            self.results,
            {
                NAME: f"{label}\nmean |∂E/∂W| (loss per weight)",
                NORMALIZED: f"{label}\nover the output error mean |∂E/∂z|",
            },
            logarithmic=True,
        ).savefig(path, dpi=150)


class _BatchForm:
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
        for key, layer in probe.leaves(model):
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
        pairs = probe.chosen(pairs, names, "layers with a trainable kernel")
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
        for layer in probe.output_layers(model):
            self.stack.enter_context(probe.tapped(layer, self._tap))
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
            others[f"{NAME}/skipped_steps"] = attempts - counts[-1]
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


class _SampleForm:
    """Eq. 5 from the inputs h_n and the errors δ_n of one batch."""

    def __init__(self, model, names, data):
        x, y = data
        probe.check_inputs(model, x)
        sizes = {len(array) for array in keras.tree.flatten((x, y))}
        if len(sizes) != 1:
            raise ValueError(
                "Expected as many labels as inputs in the probe batch. "
                f"Received: batches of {sorted(sizes)}"
            )
        losses = keras.tree.flatten(model.loss)
        sums = {getattr(loss, "reduction", None) == "sum" for loss in losses}
        if len(sums) > 1:
            raise ValueError(
                "The per-sample form undoes the mean over the batch: expected "
                "losses that all are means, or all are sums (`reduction`)."
            )
        self.factor = 1.0 if True in sums else float(sizes.pop())
        sites = [
            (site.key, site)
            for site in probe.linear_sites(model)
            if isinstance(site.linear, LINEAR_LAYERS)
        ]
        self.sites = [
            site for _, site in probe.chosen(sites, names, "linear layers")
        ]
        self.outputs = probe.output_layers(model)
        self.model = model
        self.batch = [
            keras.tree.map_structure(ops.convert_to_tensor, part)
            for part in (x, y)
        ]
        self.probe = probe.Probe(model, self._sizes)

    def read(self):
        sizes, error = self.probe(*self.batch)
        return {k: float(v) for k, v in sizes.items()}, float(error), {}

    def close(self):
        pass

    def _sizes(self, x, y):
        inputs = {}
        order = []

        def loss(tap):
            inputs.clear()
            order.clear()
            with contextlib.ExitStack() as stack:
                layers = [site.layer for site in self.sites]
                layers += [x for x in self.outputs if x not in layers]
                for layer in layers:
                    stack.enter_context(
                        probe.tapped(layer, self._noting(layer, tap, order))
                    )
                y_pred = self.model(x, training=True)
                value = self.model.compute_loss(
                    x=x, y=y, y_pred=y_pred, sample_weight=None
                )
            return value * self.factor, [h for _, h in order]

        _, inputs, errors_ = probe.gradients(loss, self.model.variables)
        calls = {}
        for (layer, _), h, delta in zip(order, inputs, errors_, strict=True):
            calls.setdefault(id(layer), []).append((h, delta))
        sizes = {
            site.key: sample_size(site.linear, calls[id(site.layer)])
            for site in self.sites
        }
        parts = [
            delta
            for layer in self.outputs
            for _, delta in calls.get(id(layer), [])
        ]
        total = sum(
            ops.sum(ops.abs(ops.cast(part, "float32"))) for part in parts
        )
        return sizes, total / float(sum(np.prod(part.shape) for part in parts))

    def _noting(self, layer, tap, order):
        def note(h, z):
            order.append((layer, h))
            return tap(z)

        return note


def sample_size(linear, calls):
    """mean_n mean_ij |T_n| of one kernel, T_n its gradient by sample n.

    Args:
        linear: Layer of a kind that `MaskedInput` takes.
        calls: List of (h, δ), the input and the error of each use of it.

    Returns:
        float32 scalar.
    """
    calls = [
        (ops.cast(h, "float32"), ops.cast(delta, "float32"))
        for h, delta in calls
    ]
    if isinstance(linear, keras.layers.Dense) and len(calls) == 1:
        h, delta = calls[0]
        if len(h.shape) == 2:  # |h δᵀ| = |h| |δ|ᵀ
            return ops.mean(
                ops.mean(ops.abs(h), 1) * ops.mean(ops.abs(delta), 1)
            )
    return ops.mean(probe.kernel_gradient_sizes(linear, calls))


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
