"""What stands for models, data and functions in the identity of a run."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_dropx.experiments.fingerprint import compilation, network, said
from keras_dropx.layers import AugmentedDropout

X = np.arange(6.0)


def makes(text, name="f", **names):
    """Returns what stands for a function of a user's, from its code."""
    space = {"keras": keras, "np": np, "__name__": "mine", **names}
    exec(text, space)
    return said(space[name])


LOSS = "def f(y, p):\n    return keras.ops.mean((y - p) ** 2)"


@pytest.mark.parametrize(
    "text, same",
    [
        (f"import keras\n\n\n{LOSS}", True),  # It stands elsewhere.
        (LOSS.replace("f(", "g(") + "\nf = g", True),  # Another name.
        (f"{LOSS}\nOTHER = 3", True),
        (LOSS.replace("** 2", "** 4"), False),
        (LOSS.replace("mean", "sum"), False),
        (LOSS.replace("p)", "p=1)", 1), False),
        (LOSS.replace("y - p", "p - y"), False),
    ],
)
def test_a_function_is_what_it_does(text, same):
    assert (makes(text) == makes(LOSS)) == same


def test_what_a_function_uses_is_a_part_of_it():
    text = "def f(y, p):\n    return g(y) * FACTOR"
    first = makes(f"def g(y):\n    return y + 1\n{text}", FACTOR=2.0)
    assert first == makes(f"{text}\ng = lambda y: y + 1", FACTOR=2.0)
    assert first != makes(f"def g(y):\n    return y + 2\n{text}", FACTOR=2.0)
    assert first != makes(f"def g(y):\n    return y + 1\n{text}", FACTOR=3.0)

    def closure(value):
        return lambda y: y * value

    assert said(closure(1)) == said(closure(1)) != said(closure(2))
    assert said(closure(X)) != said(closure(X + 1))
    # One that calls itself ends.
    loop = "def f(y):\n    return f(y - 1) if y else FACTOR"
    assert makes(loop, FACTOR=1) != makes(loop, FACTOR=2)


def test_partials_classes_and_arrays():
    add = functools.partial(np.add, 1)
    assert said(add) == said(functools.partial(np.add, 1))
    assert said(add) != said(functools.partial(np.add, 2))

    def class_of(power):
        class Own(keras.layers.Layer):
            def call(self, inputs):
                return inputs**power

        return Own

    assert said(class_of(2)(name="a")) == said(class_of(2)(name="a"))
    assert said(class_of(2)(name="a")) != said(class_of(3)(name="a"))
    assert said(X) == said(X.copy()) != said(X.astype("float32"))
    assert said(X) != said(X.reshape(2, 3))
    assert said(np.array(["a", None])) != said(np.array(["b", None]))


def test_of_batches_only_the_form_is_known():
    def batches(size, shift=0.0):
        return tf.data.Dataset.from_tensor_slices(X + shift).batch(size)

    assert said(batches(2)) == said(batches(2, 1.0)) != said(batches(3))


def model_of(activation="relu", **options):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3, activation=activation),
            AugmentedDropout(0.5),
            keras.layers.Dense(1),
        ]
    )
    model.compile(**{"optimizer": "sgd", "loss": "mse", **options})
    return model


def square(y, p):
    return keras.ops.mean((y - p) ** 2)


def fourth(y, p):
    return keras.ops.mean((y - p) ** 4)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adam"},
        {"optimizer": keras.optimizers.SGD(0.02)},
        {"optimizer": keras.optimizers.SGD(momentum=0.5)},
        {"loss": "mae"},
        {"loss": square},
        {"loss_weights": [0.5]},
        {"metrics": ["mae"]},
        {"metrics": [square]},
        {"metrics": [keras.metrics.MeanMetricWrapper(square)]},
        {"weighted_metrics": ["mae"]},
        {"jit_compile": True},
        {"run_eagerly": True},
    ],
)
def test_each_setting_of_the_compilation_counts(options):
    first = compilation(model_of())
    assert first == compilation(model_of())
    assert compilation(model_of(**options)) != first


def test_functions_of_the_compilation_are_what_they_do():
    def named_square(y, p):
        return keras.ops.mean((y - p) ** 2)

    for kind in (
        lambda f: {"loss": f},
        lambda f: {"metrics": [f]},
        lambda f: {"metrics": [keras.metrics.MeanMetricWrapper(f, name="m")]},
    ):
        first, same, other = (
            compilation(model_of(**kind(f)))
            for f in (square, named_square, fourth)
        )
        assert first == same != other


def test_the_network_is_its_layers_and_what_they_do():
    first = network(model_of())
    assert first == network(model_of())
    assert first != network(model_of("tanh"))
    assert first != network(model_of(lambda x: x))
    assert network(model_of(lambda x: x)) == network(model_of(lambda x: x))
    assert network(model_of(lambda x: x)) != network(model_of(lambda x: -x))
