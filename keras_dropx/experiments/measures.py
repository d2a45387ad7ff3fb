"""What a run measures while it trains, beside accuracy and loss."""

import numpy as np

from keras_dropx import callbacks

BATCH = 128


def gradient_information(x, y, test):
    return callbacks.GradientInformation(data=(x[:BATCH], y[:BATCH]))


def net_variance(x, y, test):
    return callbacks.NetVariance(x[:BATCH])


def net_distribution(x, y, test):
    return callbacks.NetDistribution(test[0])


def moment_drift(x, y, test):
    return callbacks.MomentDrift(x[:BATCH])


def active_fraction(x, y, test):
    return callbacks.ActiveFraction(x[:BATCH])


# Functions of the training images, their labels and the test data.
CALLBACKS = {
    measure.__name__: measure
    for measure in (
        gradient_information,
        net_variance,
        net_distribution,
        moment_drift,
        active_fraction,
    )
}


class Measures:
    """The callbacks of one run, asked at some epochs.

    Args:
        names: Names of measures; those that are no callback are left out.
        model: Model that is trained.
        x: Array of training images.
        y: Array of labels.
        test: The test data.
    """

    def __init__(self, names, model, x, y, test):
        self.callbacks = {
            name: CALLBACKS[name](x, y, test)
            for name in CALLBACKS
            if name in names
        }
        for callback in self.callbacks.values():
            callback.set_model(model)
            callback.start()

    def take(self, last):
        """Measures once.

        Args:
            last: Whether the training is over: histograms only then.

        Returns:
            Dict by measure of dicts from key to float or list.
        """
        taken = {}
        for name, callback in self.callbacks.items():
            if name == net_distribution.__name__ and not last:
                continue
            scalars, arrays, _ = callback.measure()
            taken[name] = {
                **scalars,
                **{key: np.asarray(a).tolist() for key, a in arrays.items()},
            }
        return taken

    def stop(self):
        """Undoes what the callbacks did to the model."""
        for callback in self.callbacks.values():
            callback.stop()
