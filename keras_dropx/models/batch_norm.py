import keras

from keras_dropx.models.copying import compile_like, copy_model


class _BatchStatistics(keras.layers.BatchNormalization):
    """Normalises by the batch even in inference mode, and keeps no memory."""

    def call(self, inputs, training=None, mask=None):
        self.momentum = 0.0
        return super().call(inputs, training=True, mask=mask)


def reestimate_batch_norm(model, x, batch_size=32):
    """Recomputes the moving statistics of batch normalisation without noise.

    Dropout shifts the statistics that batch normalisation collects in
    training away from those of inference. This function passes once over `x`
    with every layer in inference mode but the batch normalisations, which
    normalise by the batch, and averages their batch statistics, each sample
    weighing the same. Everything else stays as it is, frozen batch
    normalisations too. What then remains of a method's gain is better
    weights, not a repaired mismatch.

    Args:
        model: Built Sequential or Functional `keras.Model`; it is not changed.
        x: Array of training inputs, the samples along the first axis. At
            least two.
        batch_size: Positive integer, in samples. That of the training gives
            statistics of the kind that training collects. Defaults to 32.

    Returns:
        A copy of the model with new moving statistics, compiled as `model` is
        (unless its class has a `compile` of its own).

    Raises:
        ValueError: If the model has no batch normalisation, or one with
            `renorm=True` or inside of another layer, or is subclassed.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((3,)), keras.layers.BatchNormalization()]
    ... )
    >>> x = np.random.default_rng(0).normal(size=(64, 3))
    >>> copy = keras_dropx.models.reestimate_batch_norm(model, x)
    """
    estimate = statistics_estimator(model)
    copy = copy_model(model, lambda layer: None)
    copy.set_weights(estimate(x, batch_size))
    if model.compiled and type(model).compile is keras.Model.compile:
        compile_like(copy, model)
    return copy


def statistics_estimator(model):
    """Returns the function behind `reestimate_batch_norm`, to call often.

    Args:
        model: As in `reestimate_batch_norm`.

    Returns:
        Function of (x, batch_size) that returns the weights of `model` as they
        are now, the moving statistics re-estimated: a list as
        `set_weights` takes it.
    """
    found = []

    def by_the_batch(layer):
        if not isinstance(layer, keras.layers.BatchNormalization):
            if any(
                isinstance(part, keras.layers.BatchNormalization)
                for part in layer._flatten_layers()
            ):
                raise ValueError(
                    "Cannot reach the batch normalisation inside of another "
                    f"layer. Received: layer {layer.name!r}"
                )
            return None
        if getattr(layer, "renorm", False):  # Keras 3.15 has it
            raise ValueError(
                "Cannot re-estimate a batch normalisation with `renorm=True`. "
                f"Received: layer {layer.name!r}"
            )
        found.append(layer)
        return _BatchStatistics.from_config(layer.get_config())

    working = copy_model(model, by_the_batch)
    if not found:
        raise ValueError(
            "Expected a model with a `BatchNormalization` layer. "
            f"Received: model {model.name!r}"
        )

    def estimate(x, batch_size):
        samples = len(keras.tree.flatten(x)[0])
        means = model.get_weights()
        working.set_weights(means)
        for start in range(0, samples, batch_size):
            batch = keras.tree.map_structure(
                lambda array, start=start: array[start : start + batch_size], x
            )
            working(batch, training=False)
            # A running mean leaves what did not change as it is, to the bit.
            seen = min(start + batch_size, samples)
            means = [
                mean + (weight - mean) * ((seen - start) / seen)
                for mean, weight in zip(
                    means, working.get_weights(), strict=True
                )
            ]
        return means

    return estimate
