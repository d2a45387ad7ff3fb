"""What `dropx compare` measures inside a network."""

import keras
import numpy as np
import tensorflow as tf
from scipy import stats

from keras_dropx.layers import Jumpout

# |φ′(z)| < 0.1 · max|φ′| for tanh: 1 - tanh²(z) < 0.1.
TANH_SATURATION = np.arctanh(np.sqrt(0.9))


def gradient_probe(model, loss):
    """Returns a compiled function of (x, y) that measures gradients.

    It gives mean|∂E/∂W| for the kernel of each layer that has one, E being
    the mean loss of the batch in training mode, and mean|∂E/∂z| for the
    logits. The state of the model stays as it is.

    Args:
        model: Built `keras.Model` that returns logits.
        loss: Function of (labels, logits), mean over the batch.
    """
    kernels = {
        layer.name: next(
            index
            for index, variable in enumerate(model.trainable_variables)
            if variable is layer.kernel
        )
        for layer in (getattr(x, "layer", x) for x in model.layers)
        if hasattr(layer, "kernel")
    }

    @tf.function
    def probe(x, y):
        values = [variable.value for variable in model.trainable_variables]
        state = [variable.value for variable in model.non_trainable_variables]
        with tf.GradientTape() as tape:
            tape.watch(values)
            logits, _ = model.stateless_call(values, state, x, training=True)
            error = loss(y, logits)
        watched = [values[index] for index in kernels.values()]
        *gradients, output = tape.gradient(error, [*watched, logits])
        sizes = {
            name: tf.reduce_mean(tf.abs(gradient))
            for name, gradient in zip(kernels, gradients, strict=True)
        }
        return sizes, tf.reduce_mean(tf.abs(output))

    return probe


def saturated_fraction(model, x):
    """Returns the share of net values of tanh layers that are saturated.

    Saturated means |φ′(z)| < 0.1 · max|φ′|, for tanh |z| > 1.8184.

    Args:
        model: `keras.Model` with layers `hidden_…`, each before its tanh.
        x: Array of inputs.

    Returns:
        Dict from layer name to a fraction.
    """
    layers = [
        layer for layer in model.layers if layer.name.startswith("hidden_")
    ]
    nets = keras.Model(model.input, [layer.output for layer in layers])
    return {
        layer.name: float(np.mean(np.abs(net) > TANH_SATURATION))
        for layer, net in zip(layers, nets(x, training=False), strict=True)
    }


def jumpout_rate_probe(model):
    """Returns a compiled function of x that gives E[p′] of each Jumpout site.

    q⁺ is counted in training mode, on `x` as one batch; the mean over the law
    of p is taken by quadrature. The state of the model stays as it is.

    Args:
        model: Built `keras.Model` with `Jumpout` layers that draw p.

    Returns:
        Function from an array to a list of floats, or None without a site.
    """
    sites = [layer for layer in model.layers if isinstance(layer, Jumpout)]
    if not sites:
        return None
    inputs = keras.Model(model.input, [layer.input for layer in sites])
    quantiles = (np.arange(1000) + 0.5) / 1000

    @tf.function
    def fractions(x):
        values = [variable.value for variable in inputs.trainable_variables]
        state = [variable.value for variable in inputs.non_trainable_variables]
        outputs, _ = inputs.stateless_call(values, state, x, training=True)
        return [
            tf.reduce_mean(tf.cast(output > 0, "float32"))
            for output in tf.nest.flatten(outputs)
        ]

    def probe(x):
        rates = []
        for site, fraction in zip(sites, fractions(x), strict=True):
            p = stats.halfnorm.ppf(quantiles, site.min_rate, site.sigma)
            p = np.minimum(p, site.max_rate) / float(fraction)
            rates.append(float(np.minimum(p, site.max_rate).mean()))
        return rates

    return probe
