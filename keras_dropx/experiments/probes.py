"""What looks into a model while it trains, and when.

The package's own callbacks where there is one; two probes where there is
none: the gradient of one batch's mean loss on every backend, and Jumpout's
mean rates. Saturation is counted at the kernels, since `NetDistribution` does
not know the matched control of GAAF, which is in the same tables.
"""

import keras
import numpy as np
from keras import ops
from scipy import stats

from keras_dropx.callbacks import probe
from keras_dropx.experiments.measures import CALLBACKS
from keras_dropx.layers import Jumpout

CONVERGED_LOSS = 0.02
# |φ′(z)| < 0.1 · max|φ′| for tanh: 1 - tanh²(z) < 0.1.
TANH_SATURATION = np.arctanh(np.sqrt(0.9))
# How often a run looks inside of its network, and at the test images.
PROBES = 10
CURVE = 20
# Samples of the probes here, and of the callbacks.
BATCH, CALLBACK_BATCH = 500, 128


class Measures:
    """What is measured of a model's trainings, one after another.

    Args:
        names: Collection of keys of `NAMES`; "rates" besides: Jumpout's mean
            p′ and q⁺, site by site.
        model: Built `keras.Model` that returns logits.
        loss: Function of (labels, logits), mean over the batch.
        evaluate: Function of a pair of arrays, or of what the test data are,
            that returns a dict with "loss" and others.
        epochs: Integer, of a training.
    """

    def __init__(self, names, model, loss, evaluate, epochs):
        self.names = frozenset(names)
        self.model = model
        self.evaluate = evaluate
        self.epochs = epochs
        self.probed = spread(PROBES, epochs)
        self.curved = spread(CURVE, epochs)
        self.gradients = None
        if "gradient" in self.names:
            self.gradients = gradient_probe(model, loss)
        self.rates = None
        if "rates" in self.names:
            self.rates = jumpout_rate_probe(model)
        self.callbacks = {}
        self.reset()

    def reset(self):
        """Forgets what was found, for a new training."""
        # JSON-able, so that a checkpoint can hold it.
        self.found = {
            "epochs_to_loss": None,
            "gradient": [],
            "mean_rates": [],
            "mean_fractions": [],
            "curve": [],
            "measured": [],
        }

    def start(self, train, test):
        """Begins to watch a training; some images of the data will do."""
        self.train, self.test = train, test
        self.callbacks = {
            name: make(*(part[:CALLBACK_BATCH] for part in train), test[0])
            for name, make in CALLBACKS.items()
            if name in self.names
        }
        for callback in self.callbacks.values():
            callback.set_model(self.model)
            callback.start()

    def take(self, epoch):
        """Measures after an epoch, counted from 0."""
        found = self.found
        if "convergence" in self.names and found["epochs_to_loss"] is None:
            if self.evaluate(self.train)["loss"] <= CONVERGED_LOSS:
                found["epochs_to_loss"] = epoch + 1
        if "curve" in self.names and epoch in self.curved:
            now = prefixed("test", self.evaluate(self.test))
            found["curve"].append({"epoch": epoch + 1, **now})
        if epoch not in self.probed:
            return
        if self.gradients is not None:
            sizes = self.gradients(*(part[:BATCH] for part in self.train))
            found["gradient"].append({k: float(v) for k, v in sizes.items()})
        if self.rates is not None:
            rates, fractions = self.rates(self.train[0][:BATCH])
            found["mean_rates"].append(rates)
            found["mean_fractions"].append(fractions)
        taken = {}
        for name, callback in self.callbacks.items():
            # Histograms only where the training ends.
            if name == "net_distribution" and epoch + 1 < self.epochs:
                continue
            scalars, arrays, _ = callback.measure()
            arrays = {key: np.asarray(a).tolist() for key, a in arrays.items()}
            taken[name] = {**scalars, **arrays}
        if taken:
            found["measured"].append({"epoch": epoch + 1, **taken})

    def stop(self):
        """Undoes what the callbacks did to the model."""
        for callback in self.callbacks.values():
            callback.stop()

    def results(self, train, test):
        """Returns what goes into the record of a training that has ended."""
        found = self.found
        results = {}
        if "convergence" in self.names:
            results["epochs_to_loss"] = found["epochs_to_loss"]
        if found["gradient"]:
            results["gradient"] = {
                name: float(np.mean([at[name] for at in found["gradient"]]))
                for name in found["gradient"][0]
            }
        for key in ("mean_rates", "mean_fractions"):
            if found[key]:
                results[key] = np.mean(found[key], axis=0).tolist()
        for key in ("curve", "measured"):
            if found[key]:
                results[key] = found[key]
        if "train" in self.names:
            results["train_accuracy"] = self.evaluate(train)["accuracy"]
        if "saturation" in self.names:
            results["saturation"] = saturated_fraction(self.model, test[0])
        return results


def prefixed(name, numbers):
    """Returns a dict with `name_` before each key."""
    return {f"{name}_{key}": value for key, value in numbers.items()}


def spread(count, epochs):
    """Returns about `count` epochs, evenly spread, the last among them."""
    return {round((k + 1) * epochs / count) - 1 for k in range(count)}


def gradient_probe(model, loss):
    """Returns a compiled function of (x, y) that measures gradients.

    It gives mean|∂E/∂W| for the kernel of each layer that has one, E being
    the mean loss of the batch in training mode. The state of the model stays
    as it is.
    """
    layers = [getattr(layer, "layer", layer) for layer in model.layers]
    kernels = {
        layer.name: layer.kernel for layer in layers if hasattr(layer, "kernel")
    }

    def sizes(x, y):
        def error(tap):
            mapping = [(v, v.value) for v in model.variables]
            # The last one counts.
            mapping += [(v, tap(v.value)) for v in kernels.values()]
            with keras.StatelessScope(mapping):
                return loss(y, model(x, training=True)), ()

        _, _, found = probe.gradients(error, model.variables)
        found = (ops.mean(ops.abs(gradient)) for gradient in found)
        return dict(zip(kernels, found, strict=True))

    return probe.Probe(model, sizes)


def saturated_fraction(model, x):
    """Returns the share of net values of tanh layers with |z| > 1.8184.

    There |φ′(z)| < 0.1 · max|φ′|. The dense layers are those that are called
    `hidden_…`, each before its tanh or with it; the shares are by their names.
    """
    layers = [
        layer for layer in model.layers if layer.name.startswith("hidden_")
    ]
    inputs = keras.Model(model.input, [layer.input for layer in layers])
    shares = {}
    before = keras.tree.flatten(inputs(x, training=False))
    for layer, h in zip(layers, before, strict=True):
        # Its own activation may be in the layer: from the kernel, then.
        net = probe.to_numpy(ops.matmul(h, layer.kernel) + layer.bias)
        shares[layer.name] = float(np.mean(np.abs(net) > TANH_SATURATION))
    return shares


def jumpout_rate_probe(model):
    """Returns a compiled function of x that looks at each Jumpout site.

    q⁺ is counted in training mode, on `x` as one batch; the mean over the law
    of p is taken by quadrature. The state of the model stays as it is.

    Returns:
        Function from an array to two lists of floats, E[p′] and q⁺ site by
        site, or None without a site that draws p.
    """
    sites = [
        layer
        for layer in model.layers
        if isinstance(layer, Jumpout) and layer.sigma is not None
    ]
    if not sites:
        return None
    inputs = keras.Model(model.input, [layer.input for layer in sites])
    quantiles = (np.arange(1000) + 0.5) / 1000
    fractions = probe.Probe(
        inputs,
        lambda x: [
            ops.mean(ops.cast(output > 0, "float32"))
            for output in keras.tree.flatten(inputs(x, training=True))
        ],
    )

    def rates(x):
        found, counted = [], [float(share) for share in fractions(x)]
        for site, fraction in zip(sites, counted, strict=True):
            p = stats.halfnorm.ppf(quantiles, site.min_rate, site.sigma)
            p = np.minimum(p, site.max_rate)
            if site.adaptive:
                # Without an active unit the layer is the identity.
                p = np.minimum(p / fraction, site.max_rate) if fraction else 0
            found.append(float(np.mean(p)))
        return found, counted

    return rates
