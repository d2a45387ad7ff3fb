import contextlib

import numpy as np

from keras_dropx.callbacks import figures, kernels, probe, sites, taps
from keras_dropx.callbacks.measurement import ProbeMeasurement

NAME = "unit_correlation"


class UnitCorrelation(ProbeMeasurement):
    """Logs how much the units of each layer do the same: their co-adaptation.

    ```
    mean over pairs i ≠ j of |corr(y_i, y_j)|
    ```

    y being the outputs of the layer on the probe batch, in inference mode, for
    layers with an activation and stand-alone activation layers. Of
    convolutions the units are the channels, and every position counts as a
    sample. Units that do not vary are left out; NaN where fewer than two
    are left.

    Args:
        x: Inputs as `predict` takes them, or a dataset of (x, y), all of it
            the probe batch. It goes through the model's own preprocessing, as
            in `fit`.
        layers: List of layer names, or None for all.
        frequency: "epoch", or an integer N: every N training steps.
        log_dir: Folder for TensorBoard, or None.

    Logs:
        `unit_correlation/<layer>`, in 0..1. Independent units give about
        √(2/(π·n)) on n samples, not 0.

    Raises:
        ValueError: When training begins, if `x` does not fit the model or a
            name is no such layer.
    """

    def prepare(self, model):
        pairs = [(site.key, site) for site in sites.activation_sites(model)]
        pairs = sites.chosen(pairs, self.layers, "layers with an activation")
        self._sites = dict(pairs)

        found = [site for _, site in pairs]
        self._probe = probe.kept_probe(
            model,
            (NAME, sites.identity(found)),
            lambda: _outputs(model, found),
        )

    def measure(self):
        scalars = {}
        for key, y in self._probe(self._batch).items():
            site = self._sites[key]
            axis = sites.unit_axis(site.linear or site.layer)
            units = np.moveaxis(y, axis, 0).reshape(y.shape[axis], -1)
            scalars[f"{NAME}/{key}"] = _mean_correlation(units)
        return scalars, {}, {}

    def plot(self, path):
        """Draws the correlation of each layer over the training.

        Args:
            path: Path of the picture; its ending says the format.
        """
        figures.lines(
            self.results,
            "How alike the units of a layer are",
            {NAME: "mean |correlation| between units, 0 to 1"},
        ).savefig(path, dpi=150)


def _outputs(model, sites):
    def outputs(x):
        found = {}
        with contextlib.ExitStack() as stack:
            for site in sites:

                def note(_, y, key=site.key):
                    found.setdefault(key, []).append(y)

                stack.enter_context(
                    taps.noted_inputs_and_outputs(site.layer, note)
                )
            model(x, training=False)
        return {key: kernels.joined(parts) for key, parts in found.items()}

    return outputs


def _mean_correlation(units):
    units = units.astype("float64")
    units = units[np.ptp(units, 1) > 0]
    if len(units) < 2:
        return float("nan")
    correlation = np.abs(np.corrcoef(units))
    pairs = len(units) * (len(units) - 1)
    return float((correlation.sum() - np.trace(correlation)) / pairs)
