import contextlib
import math

import keras
import numpy as np
from keras import ops

from keras_dropx.callbacks import figures, kernels, probe, sites, taps
from keras_dropx.callbacks.active_fraction import masks_forward
from keras_dropx.callbacks.measurement import ProbeMeasurement
from keras_dropx.callbacks.net_variance import check_samples, nets
from keras_dropx.layers import Jumpout
from keras_dropx.layers.masked_input import LINEAR_LAYERS

MEAN = "mean_drift"
VARIANCE = "variance_drift"
R = "variance_ratio_r"
EXPONENT = "variance_keeping_exponent"


class MomentDrift(ProbeMeasurement):
    """Logs how a mask shifts the net values of the layer behind it.

    For each layer that masks forward (dropout inside of recurrent or attention
    layers is none of them), on its own, and the first layer with a kernel
    that it reaches, over units j of the net value z without the bias,

    ```
    mean_drift       = Σ_j |mean z_j in training| / Σ_j |mean z_j in inference|
    variance_drift   = Σ_j Var z_j in training    / Σ_j Var z_j in inference
    variance_ratio_r = R = Σ_j Σ_i w_ij² E[x_i²]  / Σ_j Var z_j in inference
    ```

    means and variances over the batch, the positions of convolutions and the
    masks. Masks further below are off and batch normalisation is in
    inference mode. For independent masks of a fixed rate p, scaled by
    (1 - p)^(-a), with nothing but linear maps between mask and layer,

    ```
    mean_drift     = (1 - p)^(1 - a)
    variance_drift = (1 - p)^(2 - 2a) · (1 + p/(1 - p) · R)
    ```

    so for one network R is the information. The exponent that would keep the
    variance,

    ```
    variance_keeping_exponent = a* = 1 + ln(1 + p·R/(1 - p)) / (2 ln(1 - p))
    ```

    Args:
        x: Inputs as `predict` takes them, or a dataset of (x, y), all of it
            the probe batch. It goes through the model's own preprocessing, as
            in `fit`.
        samples: Integer of at least 2, how many masks. Defaults to 20.
        layers: List of names of layers behind a mask, or None for all.
        frequency: "epoch", or an integer N: every N training steps.
        log_dir: Folder for TensorBoard, or None.

    Logs:
        The four keys above, each `…/<layer>` with the name of the layer behind
        the mask (`<mask>/<layer>` where several masks reach it first);
        ratios and an exponent, without a unit.

    Raises:
        ValueError: When training begins, if `x` does not fit the model, or no
            mask reaches a layer of that name.

    Reference:
        Wang, Zhou, Bilmes, 2019: Jumpout, ICML, section 3.3 and Figure 3.
    """

    def __init__(
        self, x, samples=20, layers=None, frequency="epoch", log_dir=None
    ):
        super().__init__(x, layers, frequency, log_dir)
        self.samples = check_samples(samples)

    def prepare(self, model):
        linear = [
            site
            for site in sites.linear_sites(model)
            if isinstance(site.linear, LINEAR_LAYERS)
        ]
        masks = [
            leaf
            for leaf in sites.leaves(model)
            if leaf.visible and masks_forward(leaf.layer)
        ]
        known = probe.kept(model)
        key = (MEAN, sites.identity(masks), sites.identity(linear))
        if key not in known:
            known[key] = self._reached(model, masks, linear)
        reached = known[key]
        keys = [site.key for _, site in reached]
        pairs = [
            (
                site.key
                if keys.count(site.key) == 1
                else f"{mask.key}/{site.key}",
                (mask, site),
            )
            for mask, site in reached
        ]
        pairs = sites.chosen(pairs, self.layers, "layers behind a mask")
        self._pairs = dict(pairs)
        behind = [site for _, (_, site) in pairs]
        self._quiet = probe.kept_probe(
            model,
            (R, sites.identity(behind)),
            lambda: _with_squares(model, behind),
        )
        self._noisy = {
            key: probe.kept_probe(
                model,
                (VARIANCE, sites.identity(pair)),
                lambda pair=pair: _with_rate(model, pair[0].layer, pair[1]),
            )
            for key, pair in pairs
        }

    def _reached(self, model, masks, linear):
        """Lists each mask with the first of the layers that it reaches."""
        quiet = self._once(model, nets(model, linear, []))
        reached = []
        for mask in masks:
            # Whatever its rate is now, another output shows where it goes.
            order = []
            run = nets(model, linear, [], order)
            with taps.rerouted(mask.layer, "call", _shifted):
                other = self._once(model, run)
            keys = [site.key for site in linear if site.layer is mask.layer]
            for key in keys or order:
                if keys or not np.array_equal(other[key], quiet[key]):
                    site = next(site for site in linear if site.key == key)
                    reached.append((mask, site))
                    break
        return reached

    def _once(self, model, run):
        return probe.Probe(model, run, compiled=False)(self._batch)

    def measure(self):
        scalars = {}
        quiet = self._quiet(self._batch)
        for key, (_, site) in self._pairs.items():
            z, squares = quiet[site.key]
            mean, variance = _moments([_units(site, z)])
            noisy = self._noisy[key]
            rates, drawn = [], []
            for draw in range(self.samples):
                rate, noise = noisy(self._batch, draw=draw)
                rates.append(rate)
                drawn.append(_units(site, noise))
            noisy_mean, noisy_variance = _moments(drawn)
            # Equal samples have no variance: infinite ratios, or NaN.
            with np.errstate(divide="ignore", invalid="ignore"):
                r = np.sum(squares) / np.sum(variance)
                drifts = (
                    np.abs(noisy_mean).sum() / np.abs(mean).sum(),
                    noisy_variance.sum() / variance.sum(),
                )
            scalars |= {
                f"{MEAN}/{key}": float(drifts[0]),
                f"{VARIANCE}/{key}": float(drifts[1]),
                f"{R}/{key}": float(r),
                f"{EXPONENT}/{key}": _exponent(float(np.mean(rates)), float(r)),
            }
        return scalars, {}, {}

    def plot(self, path):
        """Draws the drifts and R of each layer over the training.

        Args:
            path: Path of the picture; its ending says the format.
        """
        figures.lines(
            self.results,
            "Net values after a mask: training over inference "
            f"({self.samples} masks)",
            {MEAN: "mean, ratio", VARIANCE: "variance, ratio", R: "R, ratio"},
            levels=(MEAN, VARIANCE),
        ).savefig(path, dpi=150)


def _shifted(call):
    def shifted(*args, **kwargs):
        return call(*args, **kwargs) + 1

    return shifted


def _with_squares(model, behind):
    """Net values, and for each unit Σ_i w_ij² x_i² averaged over the batch."""

    def run(x):
        found = {}
        with contextlib.ExitStack() as stack:
            for site in behind:

                def tap(h, z, site=site):
                    found.setdefault(site.key, []).append((h, z))
                    return z

                stack.enter_context(taps.tapped(site.layer, tap))
            model(x, training=False)
        squares = {}
        for site in behind:
            h, z = (
                kernels.joined(list(parts))
                for parts in zip(*found[site.key], strict=True)
            )
            parts = kernels.squared_product(site.linear, h)
            axis = sites.unit_axis(site.linear) % len(parts.shape)
            others = [i for i in range(len(parts.shape)) if i != axis]
            squares[site.key] = (z, ops.mean(parts, others))
        return squares

    return run


def _with_rate(model, mask, site):
    """The rate of one mask and the net values that only it has touched."""
    run = nets(model, [site], [mask])
    drawing = sites.mask_of(mask)

    def with_rate(x):
        rates = []
        if isinstance(drawing, Jumpout):
            with taps.noted_rates(drawing, rates.append):
                z = run(x)
        else:
            rates.append(sites.fixed_rate(drawing))
            z = run(x)
        return ops.mean(ops.cast(rates[0], "float32")), z[site.key]

    return with_rate


def _units(site, z):
    """Net values without bias as float64, units × the rest."""
    axis = sites.unit_axis(site.linear)
    units = np.moveaxis(z.astype("float64"), axis, 0)
    bias = getattr(site.linear, "bias", None)
    if isinstance(bias, keras.Variable):
        bias = probe.to_numpy(bias.value).astype("float64")
        if bias.ndim > 1:  # EinsumDense
            return np.moveaxis(z - bias, axis, 0).reshape(z.shape[axis], -1)
        units = units - bias.reshape(-1, *[1] * (z.ndim - 1))
    return units.reshape(len(units), -1)


def _moments(draws):
    means = [units.mean(1) for units in draws]
    squares = [(units**2).mean(1) for units in draws]
    mean = np.mean(means, 0)
    return mean, np.mean(squares, 0) - mean**2


def _exponent(p, r):
    if not 0 < p < 1 or not math.isfinite(r):
        return float("nan")
    return 1 + math.log1p(p * r / (1 - p)) / (2 * math.log1p(-p))
