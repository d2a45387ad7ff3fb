"""From a method of a plan to its `Trainer`: network, optimizer, batches."""

import functools

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from scipy import special

from keras_dropx.callbacks import probe
from keras_dropx.experiments.data.batches import training_batches
from keras_dropx.experiments.data.streaming import training_stream
from keras_dropx.experiments.probes import BATCH
from keras_dropx.experiments.train import Trainer
from keras_dropx.models import monte_carlo_predict

CROSS_ENTROPY = "cross_entropy"


def trainer_of(plan, method, source, arguments=None, initial=None):
    """Returns a `Trainer` for a method of a plan.

    Args:
        source: Dict with the `input_shape` of one sample, `num_classes` and
            `train_size`.
        arguments: What the method's `dropout` takes, site by site, or None.
        initial: Function from a model to its initial weights under the global
            seed, or None for those of its initialisers.
    """
    shape, classes = tuple(source["input_shape"]), source["num_classes"]
    steps = -(-source["train_size"] // plan.batch_size)
    options = plan.arguments(method)
    dropout = method.dropout
    if arguments is not None:
        remaining = iter(arguments)

        def dropout():
            return method.dropout(next(remaining))

    network = plan.network(shape, classes, dropout, **options)
    decay(network, plan.weight_decay)
    model = network if method.train_as is None else method.train_as(network)
    # A metric is half of what there is to trace.
    metrics = []
    if plan.weight_decay or method.train_as is not None:
        metrics = [cross_entropy()]
    compile_model(model, plan, steps, method.learning_rate, metrics)
    finish = None
    if method.finish is not None:

        def finish(network, train, seed):
            return method.finish(network, train[0], seed, plan)

    return Trainer(
        model,
        functools.partial(
            _initial_weights,
            plan.network,
            shape,
            classes,
            tuple(options.items()),
            initial,
        ),
        functools.partial(batches, plan),
        steps,
        plan.epochs,
        _evaluation(network, model.loss, method.samples),
        network=network,
        measures={"rates", *plan.measures},
        mask_offset=method.mask_offset,
        loss_name=CROSS_ENTROPY if metrics else "loss",
        finish=finish,
        batch_size=plan.batch_size,
    )


def cross_entropy():
    """Returns the metric that is the loss without what is added to it."""
    return keras.metrics.SparseCategoricalCrossentropy(
        CROSS_ENTROPY, from_logits=True
    )


def compile_model(model, plan, steps, factor=1.0, metrics=("accuracy",)):
    """Compiles a model, which ends in logits, as every method of a plan is.

    Args:
        steps: Integer, training steps an epoch: one execution.
        factor: Float, times the plan's learning rate.
        metrics: List of what is measured of each batch besides the loss.
    """
    rate = factor * plan.learning_rate
    if plan.drops:
        rate = keras.optimizers.schedules.PiecewiseConstantDecay(
            [round(drop * plan.epochs * steps) for drop in plan.drops],
            [rate * plan.drop**k for k in range(len(plan.drops) + 1)],
        )
    model.compile(
        keras.optimizers.SGD(rate, plan.momentum, plan.nesterov),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=list(metrics),
        steps_per_execution=1 if keras.config.backend() == "torch" else steps,
        jit_compile=True if plan.jit else "auto",
    )


def decay(model, strength):
    """Adds λ/2 · ‖W‖² of each kernel to the loss of a model.

    The papers' weight decay: with momentum it is not that of
    `keras.optimizers`, which shrinks the weights beside the gradient.
    """
    if strength:
        for variable in model.trainable_variables:
            if variable.path.endswith("kernel"):
                variable.regularizer = keras.regularizers.L2(strength / 2)


def batches(plan, train, seed, first_step):
    """Returns the endless batches of a training, the first ones left out.

    `train` is a pair of arrays, or a dataset for `training_stream`.
    """
    if is_stream(train):
        return training_stream(train, plan.batch_size, seed, first_step)
    return training_batches(
        *train, plan.batch_size, seed, first_step, plan.augmentation
    )


def _evaluation(network, loss, samples):
    """Returns a function of (model, test data): loss and accuracy, a dict.

    They are means, in inference mode or over samples of masks.
    """
    run = evaluation_probe(network, loss)

    def evaluate(model, data):
        if samples:
            x, y = data
            logits = monte_carlo_predict(
                model, x, samples, BATCH, seed=0, verbose=0
            )
            logs = special.log_softmax(logits.astype("float64"), axis=-1)
            logs = special.logsumexp(logs, axis=0) - np.log(len(logits))
            return {
                "accuracy": float(np.mean(logs.argmax(axis=-1) == y)),
                "loss": float(-np.mean(logs[np.arange(len(y)), y])),
            }
        if model is network:
            return run(data)
        return evaluation_probe(model, loss)(data)

    return evaluate


def evaluation_probe(model, loss):
    """Returns a compiled function of test data that evaluates a model.

    It gives mean loss and accuracy in inference mode. The data are a pair of
    arrays, or a `tf.data.Dataset` of batches; `loss` is a function of
    (labels, logits), mean over the batch.
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
        for x, y in _chunks(test):
            sums += run(x, y)
            size += len(y)
        mean_loss, accuracy = map(float, sums / size)
        return {"accuracy": accuracy, "loss": mean_loss}

    return evaluate


def is_stream(data):
    """Whether data is read as it is used, not an array."""
    return isinstance(data, tf.data.Dataset)


def _chunks(test):
    if is_stream(test):
        return test.as_numpy_iterator()
    x, y = test
    starts = range(0, len(x), BATCH)
    return ((x[s : s + BATCH], y[s : s + BATCH]) for s in starts)


@functools.lru_cache(maxsize=2)  # Methods of one network follow each other.
def _initial_weights(network, shape, classes, options, initial, seed):
    keras.utils.set_random_seed(seed)
    plain = network(shape, classes, **dict(options))
    if initial is not None:
        initial(plain)
    return plain.get_weights()
