"""What `dropx compare` measures of a network."""

import keras
import numpy as np
from keras import ops
from scipy import stats

from keras_dropx.callbacks import probe
from keras_dropx.layers import Jumpout

# |φ′(z)| < 0.1 · max|φ′| for tanh: 1 - tanh²(z) < 0.1.
TANH_SATURATION = np.arctanh(np.sqrt(0.9))
# Samples that are evaluated at once.
BATCH = 500


def evaluation_probe(model, loss):
    """Returns a compiled function of test data that evaluates a model.

    It gives mean loss and accuracy in inference mode. The data are a pair of
    arrays, or a `tf.data.Dataset` of batches.

    Args:
        model: Built `keras.Model` that returns logits.
        loss: Function of (labels, logits), mean over the batch.
    """

    def totals(x, y):
        logits = model(x, training=False)
        labels = ops.argmax(logits, -1)
        right = ops.equal(labels, ops.cast(y, labels.dtype))
        return [
            loss(y, logits) * ops.cast(ops.shape(x)[0], "float32"),
            ops.sum(ops.cast(right, "float32")),
        ]

    run = probe.Probe(model, totals)

    def evaluate(test):
        sums, size = np.zeros(2), 0
        for x, y in _batches(test):
            sums += run(x, y)
            size += len(y)
        return tuple(map(float, sums / size))

    return evaluate


def _batches(test):
    if hasattr(test, "as_numpy_iterator"):
        return test.as_numpy_iterator()
    x, y = test
    starts = range(0, len(x), BATCH)
    return ((x[s : s + BATCH], y[s : s + BATCH]) for s in starts)


def gradient_probe(model, loss):
    """Returns a compiled function of (x, y) that measures gradients.

    It gives mean|∂E/∂W| for the kernel of each layer that has one, E being
    the mean loss of the batch in training mode, and mean|∂E/∂z| for the
    logits. The state of the model stays as it is.

    Args:
        model: Built `keras.Model` that returns logits.
        loss: Function of (labels, logits), mean over the batch.
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
                logits = tap(model(x, training=True))
                return loss(y, logits), ()

        _, _, found = probe.gradients(error, model.variables)
        *sizes, output = (ops.mean(ops.abs(gradient)) for gradient in found)
        return dict(zip(kernels, sizes, strict=True)), output

    return probe.Probe(model, sizes)


def saturated_fraction(model, x):
    """Returns the share of net values of tanh layers that are saturated.

    Saturated means |φ′(z)| < 0.1 · max|φ′|, for tanh |z| > 1.8184.

    Args:
        model: `keras.Model` with dense layers `hidden_…`, each before its
            tanh or with it.
        x: Array of inputs.

    Returns:
        Dict from layer name to a fraction.
    """
    layers = [
        layer for layer in model.layers if layer.name.startswith("hidden_")
    ]
    inputs = keras.Model(model.input, [layer.input for layer in layers])
    shares = {}
    for layer, h in zip(layers, inputs(x, training=False), strict=True):
        # Its own activation may be in the layer: from the kernel, then.
        net = probe.to_numpy(ops.matmul(h, layer.kernel) + layer.bias)
        shares[layer.name] = float(np.mean(np.abs(net) > TANH_SATURATION))
    return shares


def jumpout_rate_probe(model):
    """Returns a compiled function of x that looks at each Jumpout site.

    q⁺ is counted in training mode, on `x` as one batch; the mean over the law
    of p is taken by quadrature. The state of the model stays as it is.

    Args:
        model: Built `keras.Model` with `Jumpout` layers that draw p.

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
