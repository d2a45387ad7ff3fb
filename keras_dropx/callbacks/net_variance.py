import contextlib

import numpy as np

from keras_dropx.callbacks import figures, kernels, probe, sites, taps
from keras_dropx.callbacks.measurement import ProbeMeasurement, check_count
from keras_dropx.layers.dropout_family import drops
from keras_dropx.layers.graph import everything

NAME = "net_variance"


class NetVariance(ProbeMeasurement):
    """Logs how much the masks make the net values of each layer vary.

    ```
    mean over nodes and samples of Var_masks(z)      (ddof 0)
    ```

    z being what the layer's activation takes (kernel · input + bias), for
    each layer with a kernel and each stand-alone activation layer. Dropout of
    every kind is on, everything else, batch normalisation too, in inference
    mode. The value is exactly 0 where nothing below drops. The state of the
    model does not move; the masks are those of its own streams.

    Args:
        x: Inputs as `predict` takes them, or a dataset of (x, y), all of it
            the probe batch. It goes through the model's own preprocessing, as
            in `fit`.
        samples: Integer of at least 2, how many masks. Defaults to 20.
        layers: List of layer names, or None for all.
        frequency: "epoch", or an integer N: every N training steps.
        log_dir: Folder for TensorBoard, or None.

    Logs:
        `net_variance/<layer>`, unit: that of the net value, squared.

    Raises:
        ValueError: When training begins, if `x` does not fit the model or a
            name is no such layer.

    Reference:
        Hahn, Choi, 2018: Gradient Acceleration in Activation Functions,
        Eq. 6 and Table 2.
    """

    def __init__(
        self, x, samples=20, layers=None, frequency="epoch", log_dir=None
    ):
        super().__init__(x, layers, frequency, log_dir)
        self.samples = check_samples(samples)

    def prepare(self, model):
        pairs = [(site.key, site) for site in sites.net_sites(model)]
        pairs = sites.chosen(pairs, self.layers, "layers with net values")
        found = [site for _, site in pairs]
        self._probe = probe.kept_probe(
            model,
            (NAME, sites.identity(found)),
            lambda: nets(model, found, _dropout(model)),
        )

    def measure(self):
        first = self._probe(self._batch)
        sums = {key: np.zeros((2, *z.shape)) for key, z in first.items()}
        for draw in range(1, self.samples):
            for key, z in self._probe(self._batch, draw=draw).items():
                # Off the first one, so that no variance is exactly none.
                off = z.astype("float64") - first[key]
                sums[key] += off, off**2
        scalars = {}
        for key, parts in sums.items():
            mean, square = parts / self.samples
            scalars[f"{NAME}/{key}"] = float(np.mean(square - mean**2))
        return scalars, {}, {}

    def plot(self, path):
        """Draws the variance of each layer over the training.

        Args:
            path: Path of the picture; its ending says the format.
        """
        figures.lines(
            self.results,
            f"What the masks do to net values ({self.samples} masks)",
            {NAME: "variance over masks, net value squared"},
        ).savefig(path, dpi=150)


def check_samples(samples):
    """Returns how often to draw masks, or raises."""
    return check_count("samples", samples, 2, "an integer of at least 2")


def nets(model, sites, stochastic, order=None):
    """Returns a function of a batch that gives the net values of sites.

    Args:
        model: Model, run in inference mode.
        sites: List of `sites.Site`.
        stochastic: Layers that take the call for one in training.
        order: List that gets the keys of the sites in the order of the calls.
    """
    order = [] if order is None else order

    def run(x):
        found = {}
        with contextlib.ExitStack() as stack:
            for layer in stochastic:
                stack.enter_context(taps.in_training(layer))
            for site in sites:

                def tap(h, z, key=site.key):
                    found.setdefault(key, []).append(z)
                    order.append(key)
                    return z

                stack.enter_context(taps.tapped(site.layer, tap))
            model(x, training=False)
        return {key: kernels.joined(parts) for key, parts in found.items()}

    return run


def _dropout(model):
    return [layer for layer in everything(model) if drops(layer)]
