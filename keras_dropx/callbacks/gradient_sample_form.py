import contextlib

import keras
import numpy as np
from keras import ops

from keras_dropx.callbacks import batch, kernels, probe, sites, taps
from keras_dropx.layers.graph import everything, is_graph
from keras_dropx.layers.masked_input import LINEAR_LAYERS


class SampleForm:
    """Eq. 5 from the inputs h_n and the errors δ_n of one batch."""

    def __init__(self, model, names, data):
        if is_graph(model):
            sites.check_built(model, "GradientInformation")
        x, y, weights = batch.data_of_fit(model, data)
        sites.check_inputs(model, x)
        size = batch.check_lengths(x, y)
        losses = keras.tree.flatten(model.loss)
        sums = {getattr(loss, "reduction", None) == "sum" for loss in losses}
        if len(sums) > 1:
            raise ValueError(
                "The per-sample form undoes the mean over the batch: expected "
                "losses that all are means, or all are sums (`reduction`)."
            )
        self.batch = [
            keras.tree.map_structure(ops.convert_to_tensor, part)
            for part in (x, y, weights)
            if part is not None or part is y
        ]
        if not all(part.built for part in everything(model)):
            model(self.batch[0], training=False)
        pairs = [
            (site.key, site)
            for site in sites.linear_sites(model)
            if isinstance(site.linear, LINEAR_LAYERS)
            and kernels.differentiable_kernels(site.linear)
        ]
        pairs = sites.chosen(pairs, names, "linear layers")
        chosen = [site for _, site in pairs]
        factor = 1.0 if True in sums else float(size)
        trained = tuple(
            id(kernel)
            for site in chosen
            for kernel in kernels.differentiable_kernels(site.linear)
        )
        self.probe = probe.kept_probe(
            model,
            ("sample form", sites.identity(chosen), trained, factor),
            lambda: _sizes(model, chosen, factor),
        )

    def read(self):
        sizes, error = self.probe(*self.batch)
        if error is not None:
            error = float(error)
        return {k: float(v) for k, v in sizes.items()}, error, {}

    def close(self):
        pass


def _sizes(model, chosen, factor):
    """Returns the function of a batch that gives all sizes and the error."""
    outputs = sites.output_layers(model) if is_graph(model) else []
    layers = [site.layer for site in chosen]
    layers += [layer for layer in outputs if layer not in layers]

    def sizes_of(x, y, weights=None):
        order = []

        def loss(tap):
            order.clear()

            def noting(layer):
                def note(h, z):
                    order.append((layer, h))
                    return tap(z)

                return note

            with contextlib.ExitStack() as stack:
                for layer in layers:
                    stack.enter_context(taps.tapped(layer, noting(layer)))
                y_pred = model(x, training=True)
                value = model.compute_loss(
                    x=x, y=y, y_pred=y_pred, sample_weight=weights
                )
            return value * factor, [h for _, h in order]

        _, inputs, found = probe.gradients(loss, model.variables)
        calls = {}
        for (layer, _), h, delta in zip(order, inputs, found, strict=True):
            calls.setdefault(id(layer), []).append((h, delta))
        sizes = {
            site.key: sample_size(site.linear, calls[id(site.layer)])
            for site in chosen
            if id(site.layer) in calls
        }
        parts = [
            delta for layer in outputs for _, delta in calls.get(id(layer), [])
        ]
        if not parts:
            return sizes, None
        total = sum(
            ops.sum(ops.abs(ops.cast(part, "float32"))) for part in parts
        )
        return sizes, total / float(sum(np.prod(part.shape) for part in parts))

    return sizes_of


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
    plain = isinstance(linear.kernel, keras.Variable)  # without LoRA
    if isinstance(linear, keras.layers.Dense) and plain and len(calls) == 1:
        h, delta = calls[0]
        if len(h.shape) == 2:  # |h δᵀ| = |h| |δ|ᵀ
            return ops.mean(
                ops.mean(ops.abs(h), 1) * ops.mean(ops.abs(delta), 1)
            )
    return ops.mean(kernels.kernel_gradient_sizes(linear, calls))
