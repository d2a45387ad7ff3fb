"""Frees what TensorFlow keeps of each model that `dropx tune` trained.

`tf.custom_gradient` registers a function at each trace and never forgets it;
the function holds its graph. Keras' own layers use it too: a search grows by
4 MB a trial without this package and by 6 MB with it.
"""

import contextlib

import keras


@contextlib.contextmanager
def forgotten_gradients():
    """Forgets the gradients that are traced inside, at its end.

    Only where no model of the inside is trained after it.
    """
    if keras.config.backend() != "tensorflow":
        yield
        return
    # There is no public way to forget one.
    from tensorflow.python.framework import ops

    registry = ops.gradient_registry._registry
    known = set(registry)
    try:
        yield
    finally:
        for name in list(registry):
            if name.startswith("CustomGradient-") and name not in known:
                del registry[name]
