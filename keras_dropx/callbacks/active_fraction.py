import contextlib

import numpy as np
from keras import layers as keras_layers
from keras import ops

from keras_dropx.callbacks import figures, probe, sites, taps
from keras_dropx.callbacks.measurement import ProbeMeasurement
from keras_dropx.callbacks.net_variance import check_samples
from keras_dropx.layers import BackwardDropout, Jumpout, MaskedInput
from keras_dropx.layers.split_mask_dropout import SplitMaskDropout

FRACTION = "active_fraction"
CHANGED = "changed_fraction"
RATE = "active_drop_rate"
CLIPPED = "clipped_fraction"


class ActiveFraction(ProbeMeasurement):
    """Logs how many units are active and what dropout does to them.

    With q⁺ = mean(x > 0) of the inputs of a masking layer and p′ its drop
    rate (of `Jumpout` drawn and divided by q⁺),

    ```
    active_fraction  = q⁺
    active_drop_rate = p′          share of the active units that are dropped
    changed_fraction = p′ · q⁺     share of all units that are changed
    clipped_fraction               share of draws with p′ at `max_rate`
    ```

    as means over some calls in training mode, for each layer that masks in
    the forward pass. Modification II of Jumpout is to hold
    changed_fraction constant across layers. For layers with an activation and
    stand-alone activation layers `active_fraction` is of their outputs.

    Args:
        x: Inputs as `predict` takes them, or a dataset of (x, y), all of it
            the probe batch. It goes through the model's own preprocessing, as
            in `fit`.
        samples: Integer of at least 2, how many calls. Defaults to 20.
        layers: List of layer names, or None for all.
        frequency: "epoch", or an integer N: every N training steps.
        log_dir: Folder for TensorBoard, or None.

    Logs:
        The four keys above, each `…/<layer>`, shares in 0..1.

    Raises:
        ValueError: When training begins, if `x` does not fit the model or a
            name is no such layer.

    Reference:
        Wang, Zhou, Bilmes, 2019: Jumpout, ICML, section 3.2 and Figure 1.
    """

    def __init__(
        self, x, samples=20, layers=None, frequency="epoch", log_dir=None
    ):
        super().__init__(x, layers, frequency, log_dir)
        self.samples = check_samples(samples)

    def prepare(self, model):
        active = {id(site.layer) for site in sites.activation_sites(model)}
        pairs = [
            (key, layer)
            for key, layer, visible in sites.leaves(model)
            if visible and (id(layer) in active or masks_forward(layer))
        ]
        pairs = sites.chosen(pairs, self.layers, "layers with an activation")
        self._probe = probe.kept_probe(
            model,
            (FRACTION, sites.identity(pairs)),
            lambda: self._shares(model, pairs),
        )

    @staticmethod
    def _shares(model, pairs):
        def run(x):
            found = {}

            def add(name, key, value):
                found.setdefault(f"{name}/{key}", []).append(
                    ops.cast(ops.mean(value), "float32")
                )

            with contextlib.ExitStack() as stack:
                for key, layer in pairs:
                    stack.enter_context(
                        _noting(key, layer, add)
                        if masks_forward(layer)
                        else taps.noted_inputs_and_outputs(
                            layer,
                            lambda _, y, key=key: add(FRACTION, key, _on(y)),
                        )
                    )
                model(x, training=True)
            return {
                key: ops.mean(ops.stack(parts)) for key, parts in found.items()
            }

        return run

    def measure(self):
        runs = [
            self._probe(self._batch, draw=draw) for draw in range(self.samples)
        ]
        means = {
            key: float(np.mean([run[key] for run in runs])) for key in runs[0]
        }
        return means, {}, {}

    def plot(self, path):
        """Draws the shares of each layer over the training.

        Args:
            path: Path of the picture; its ending says the format.
        """
        labels = {
            FRACTION: "active units, q⁺ (share)",
            CHANGED: "units changed, p′q⁺ (share)",
            RATE: "active units dropped, p′ (share)",
        }
        drawn = {
            name: label
            for name, label in labels.items()
            if figures.layers_of(self.results, name)
        }
        figures.lines(
            self.results,
            f"Active units, means over {self.samples} passes",
            drawn or labels,
            limits=(0, 1),
        ).savefig(path, dpi=150)


@contextlib.contextmanager
def _noting(key, layer, add):
    """Adds the four shares of each call of a masking layer."""
    mask = sites.mask_of(layer)
    jumpout = isinstance(mask, Jumpout)
    rates = []
    fixed = None if jumpout else sites.fixed_rate(mask)

    def note(x, _):
        rate = ops.cast(rates.pop() if jumpout else fixed, "float32")
        active = _on(x)
        if jumpout and mask.per_sample:
            axes = list(range(1, len(active.shape)))
            active = ops.mean(active, axes, keepdims=True)
        else:
            active = ops.mean(active)
        clipped = 0.0
        if jumpout and mask.adaptive:
            clipped = ops.cast(rate >= np.float32(mask.max_rate), "float32")
        add(FRACTION, key, active)
        add(CHANGED, key, rate * active)
        add(RATE, key, rate)
        add(CLIPPED, key, clipped)

    with contextlib.ExitStack() as stack:
        if jumpout:
            stack.enter_context(taps.noted_rates(mask, rates.append))
        stack.enter_context(taps.noted_inputs_and_outputs(layer, note))
        yield


def masks_forward(layer):
    """Whether a layer drops units in the forward pass."""
    mask = sites.mask_of(layer)
    if isinstance(layer, MaskedInput) or isinstance(mask, SplitMaskDropout):
        return not isinstance(mask, BackwardDropout)
    return isinstance(mask, (keras_layers.Dropout, keras_layers.AlphaDropout))


def _on(x):
    return ops.cast(x > 0, "float32")
