"""Times the steps that `model.fit` runs, one batch after the other.

On TensorFlow it is the loop of `fit` itself: callbacks, and the function that
`make_train_function` compiles, on an endless dataset of one batch. On JAX it
is `model.train_step` compiled with its state donated, as `fit` compiles it,
on a batch that lies on the device. On PyTorch it is the function that
`make_train_function` makes, likewise. Left out is what `fit` does once an
epoch and, but for TensorFlow, its own loop in Python, which would hide the
step on a GPU.
"""

import keras
import numpy as np

from benchmarks import device, networks, timing
from benchmarks.layers import dropout_layers
from keras_dropx.layers import GAAF, MaskedInput

BATCHES = {"mlp": 128, "convnet": 64, "resnet20": 128, "wrn16_8": 128}


def subjects():
    """Returns the names of the subjects and what each is compared with."""
    dropouts = dropout_layers(device.BACKEND)
    references = {"none": ()}
    for name in dropouts:
        others = ("none", "keras", "keras_philox")
        references[name] = tuple(
            other
            for other in others
            if other != name and other in ("none", *dropouts)
        )
    references |= {
        "tanh": (),
        "gaaf": ("tanh",),
        "augmented_in_front": (),
        "masked_input": ("augmented_in_front",),
    }
    if device.BACKEND == "tensorflow":
        references["gradient_information"] = ("none",)
    return references


def model_of(network, subject):
    """Builds a network with one thing changed.

    Args:
        network: Name of a function of `networks`.
        subject: Name of a subject.

    Returns:
        `keras.Model`.
    """
    dropouts = dropout_layers(device.BACKEND)
    site = dropouts.get(subject, keras.layers.Identity)

    def activation():
        if subject == "gaaf":
            return GAAF("tanh")
        return keras.layers.Activation("tanh" if subject == "tanh" else "relu")

    def linear(layer):
        dropout = dropouts["augmented"]
        if subject == "masked_input":
            return MaskedInput(layer, dropout())
        if subject == "augmented_in_front":
            return keras.Sequential([dropout(), layer])
        return layer

    return getattr(networks, network)(site, activation, linear)


def measure(names, network, batch, mode, dtype, rounds):
    """Times training steps.

    Args:
        names: Names of the subjects.
        network: Name of a function of `networks`.
        batch: Integer.
        mode: "graph", "xla" or "eager".
        dtype: Name of the dtype policy.
        rounds: Integer, how often each is timed.

    Returns:
        Dict of names and `timing.Timings`.
    """
    steps, trainings = {}, []
    with device.dtype_policy(dtype):
        for name in names:
            model = model_of(network, name)
            model.compile(
                keras.optimizers.SGD(0.01, momentum=0.9),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                jit_compile=mode == "xla",
            )
            callbacks = []
            if name == "gradient_information":
                from keras_dropx.callbacks import GradientInformation

                callbacks.append(GradientInformation())
            trainings.append(
                keras.callbacks.CallbackList(callbacks, model=model)
            )
            trainings[-1].on_train_begin()
            trainings[-1].on_epoch_begin(0)
            steps[name] = compiled(model, trainings[-1], batch)
    timings = timing.interleave(steps, device.synchronize, rounds, 20e-3)
    for training in trainings:
        training.on_train_end()
    return timings


def compiled(model, callbacks, batch):
    """Compiles the training step of a model on one batch.

    Args:
        model: Compiled `keras.Model`.
        callbacks: `keras.callbacks.CallbackList` (TensorFlow only).
        batch: Integer.

    Returns:
        Function without arguments.
    """
    random = np.random.default_rng(0)
    data = (
        random.normal(size=(batch, *model.input_shape[1:])).astype("float32"),
        random.integers(0, 10, batch),
    )
    if device.BACKEND == "jax":
        return _jax_step(model, data)
    if device.BACKEND == "torch":
        data = [tuple(map(keras.ops.convert_to_tensor, data))]
        model.make_train_function()
        return lambda: model.train_function(data)
    import tensorflow as tf

    # Autotuning has nothing to tune here, and takes seconds to end.
    options = tf.data.Options()
    options.autotune.enabled = False
    batches = tf.data.Dataset.from_tensors(data).repeat().with_options(options)
    batches = iter(batches)
    model.make_train_function()

    def call():
        callbacks.on_train_batch_begin(0)
        logs = model.train_function(batches)
        callbacks.on_train_batch_end(0, logs)
        return logs

    return call


def _jax_step(model, data):
    import jax

    model.optimizer.build(model.trainable_variables)
    # Of the types that `train_step` returns: others compile once more.
    state = (
        [variable.value for variable in model.trainable_variables],
        [variable.value for variable in model.non_trainable_variables],
        [variable.value for variable in model.optimizer.variables],
        [variable.value for variable in model.metrics_variables],
    )
    data = jax.device_put(data)
    step = jax.jit(model.train_step, donate_argnums=0)

    def call():
        nonlocal state
        logs, state = step(state, data)
        return logs, state

    return call
