from typing import Any, NamedTuple

import keras
import numpy as np

from keras_dropx import errors
from keras_dropx.models.arguments import (
    check_inputs,
    check_integer,
    check_model,
    check_seed,
)


class Sharpness(NamedTuple):
    """The loss along random directions from the weights of a model.

    Attributes:
        steps: Array (k,), how far along each direction; 1 is a step as long
            as the weights themselves. The middle one is 0.
        losses: Array (directions, k), E at each step.
        curvature: Array (directions,), d²E/dt² at 0 by central differences of
            the steps next to 0, in units of the loss.
    """

    steps: Any
    losses: Any
    curvature: Any


def sharpness(
    model, x, y, directions=10, radius=0.5, steps=11, batch_size=32, seed=None
):
    """Measures how sharply the loss rises around the weights of a model.

    ```
    E(t) = E(w + t·d),   ‖d_j‖ = ‖w_j‖ for the weights w_j of each unit j
    ```

    with d normal and so normalised that networks whose weights differ in
    scale compare (a ReLU network with weights ten times as large in one
    layer and a tenth in the next is the same function). Biases and the
    parameters of normalisation layers stay. E is the compiled loss on all of
    the data, in inference mode and without weight regularization.

    The weights are afterwards what they were.

    Args:
        model: Compiled `keras.Model`.
        x: Array of inputs, or structure of arrays.
        y: Array of targets.
        directions: Positive integer, how many directions. Defaults to 10.
        radius: Positive float, the largest |t|. Defaults to 0.5.
        steps: Odd integer of at least 3, the points on each direction.
            Defaults to 11.
        batch_size: Positive integer. Defaults to 32.
        seed: Integer, or None to follow `keras.utils.set_random_seed`.

    Returns:
        `Sharpness`.

    Raises:
        ValueError: If the model is not compiled with a loss, or a number is
            out of its range.

    Reference:
        Li, Xu, Taylor, Studer, Goldstein, 2018: Visualizing the Loss
        Landscape of Neural Nets, NeurIPS, section 4 (filter normalisation).
    """
    check_model(model)
    if not model.compiled or model.loss is None:
        raise ValueError(
            "Expected a model that is compiled with a loss. "
            f"Received: model {model.name!r}"
        )
    directions = check_integer("directions", directions)
    odd = "an odd integer of at least 3"
    steps = check_integer("steps", steps, odd, 3)
    if steps % 2 == 0:
        raise errors.invalid("steps", odd, steps)
    batch_size = check_integer("batch_size", batch_size)
    radius = errors.check_positive("radius", radius)
    check_inputs(model, x)
    _check_targets(x, y)
    seed = check_seed(seed)
    generator = np.random.default_rng(seed)
    points = np.linspace(-radius, radius, steps)
    weights = [v for v in model.trainable_variables if len(v.shape) > 1]
    before = [keras.ops.copy(weight) for weight in weights]
    values = [keras.ops.convert_to_numpy(weight) for weight in before]
    # A transposed convolution has its output units last but one.
    transposed = {
        id(layer.kernel)
        for layer in model._flatten_layers()
        if isinstance(layer, _TRANSPOSED)
    }
    axes = [-2 if id(weight) in transposed else -1 for weight in weights]

    def loss():
        logs = model.evaluate(
            x, y, batch_size=batch_size, verbose=0, return_dict=True
        )
        penalties = [
            float(keras.ops.convert_to_numpy(v.regularizer(v)))
            for v in model.trainable_variables
            if v.regularizer is not None
        ]
        return logs["loss"] - sum(penalties)

    losses = np.empty((directions, steps))
    try:
        losses[:, steps // 2] = loss()
        for row in losses:
            direction = [
                _direction(generator, value, axis)
                for value, axis in zip(values, axes, strict=True)
            ]
            for index, t in enumerate(points):
                if index == steps // 2:
                    continue
                for weight, value, part in zip(
                    weights, values, direction, strict=True
                ):
                    weight.assign(value + t * part)
                row[index] = loss()
            for weight, value in zip(weights, before, strict=True):
                weight.assign(value)
    finally:
        for weight, value in zip(weights, before, strict=True):
            weight.assign(value)
    middle = losses[:, steps // 2 - 1 : steps // 2 + 2]
    curvature = middle @ [1, -2, 1] / (points[1] - points[0]) ** 2
    return Sharpness(points, losses, curvature)


_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)


def _check_targets(x, y):
    """Raises if arrays of inputs have no targets, or not as many."""
    inputs = keras.tree.flatten(x)
    if not all(hasattr(array, "shape") for array in inputs):
        return  # data that gives batches, targets too
    expected = "arrays of targets, as many as inputs"
    targets = keras.tree.flatten(y)
    if not targets:
        raise errors.invalid("y", expected, y)
    for array in targets:
        shape = getattr(array, "shape", ())
        if len(shape) == 0 or shape[0] != inputs[0].shape[0]:
            raise errors.invalid("y", expected, shape or array)


def _direction(generator, value, axis):
    """A normal direction with the norm of the weights of each unit."""
    direction = generator.normal(size=value.shape)
    others = tuple(i for i in range(value.ndim) if i != axis % value.ndim)
    norms = [
        np.sqrt(np.sum(np.square(x, dtype="float64"), others, keepdims=True))
        for x in (value, direction)
    ]
    return direction * (norms[0] / norms[1])
