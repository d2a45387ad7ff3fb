"""How the arms of a panel are trained: optimizer, decay and batches."""

import keras
import tensorflow as tf

from keras_dropx.experiments.batches import training_batches
from keras_dropx.experiments.streaming import training_stream


def compile_model(
    model, panel, steps, epochs=None, factor=1.0, metrics=("accuracy",)
):
    """Compiles a model the way that every arm of a panel is.

    Args:
        model: `keras.Model` that ends in logits.
        panel: `panel.Panel`.
        steps: Integer, training steps an epoch: one execution.
        epochs: Integer, needed where the learning rate drops.
        factor: Float, times the panel's learning rate.
        metrics: List of what is measured of each batch besides the loss.
    """
    rate = factor * panel.learning_rate
    if panel.drops and epochs is not None:
        rate = keras.optimizers.schedules.PiecewiseConstantDecay(
            [round(drop * epochs * steps) for drop in panel.drops],
            [rate * panel.drop**k for k in range(len(panel.drops) + 1)],
        )
    model.compile(
        keras.optimizers.SGD(rate, panel.momentum, panel.nesterov),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=list(metrics),
        steps_per_execution=1 if keras.config.backend() == "torch" else steps,
        jit_compile=True if panel.jit else "auto",
    )


def decay(model, strength):
    """Adds λ/2 · ‖W‖² of each kernel to the loss of a model.

    The papers' weight decay: with momentum it is not that of
    `keras.optimizers`, which shrinks the weights beside the gradient.

    Args:
        model: `keras.Model`.
        strength: Float λ.
    """
    if strength:
        for variable in model.trainable_variables:
            if variable.path.endswith("kernel"):
                variable.regularizer = keras.regularizers.L2(strength / 2)


def is_stream(data):
    """Whether data is read as it is used, not an array."""
    return isinstance(data, tf.data.Dataset)


def batches(panel, train, seed, first_step):
    """Returns the endless batches of a training.

    Args:
        panel: `panel.Panel`.
        train: Pair of arrays, or a dataset for `streaming.training_stream`.
        seed: Integer.
        first_step: Integer, the batches left out at the start.
    """
    if is_stream(train):
        return training_stream(train, panel.batch_size, seed, first_step)
    return training_batches(
        *train, panel.batch_size, seed, first_step, panel.augmentation
    )
