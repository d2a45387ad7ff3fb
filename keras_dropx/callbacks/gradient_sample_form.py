import contextlib

import keras
import numpy as np
from keras import ops

from keras_dropx.callbacks import probe, sites, taps
from keras_dropx.layers.masked_input import LINEAR_LAYERS


class SampleForm:
    """Eq. 5 from the inputs h_n and the errors δ_n of one batch."""

    def __init__(self, model, names, data):
        x, y = data
        sites.check_inputs(model, x)
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
        pairs = [
            (site.key, site)
            for site in sites.linear_sites(model)
            if isinstance(site.linear, LINEAR_LAYERS)
        ]
        self.sites = [
            site for _, site in sites.chosen(pairs, names, "linear layers")
        ]
        self.outputs = sites.output_layers(model)
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
                        taps.tapped(layer, self._noting(layer, tap, order))
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
