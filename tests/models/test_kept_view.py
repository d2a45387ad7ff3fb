"""What is compiled for a model is kept, until the model changes."""

import copy
import gc
import pickle
import weakref

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_dropx.layers import AugmentedDropout
from keras_dropx.models import monte_carlo_predict, reestimate_batch_norm
from keras_dropx.models.batch_norm import statistics_estimator

BACKEND = keras.config.backend()
X = np.random.default_rng(0).normal(size=(10, 8)).astype("float32")


@keras.saving.register_keras_serializable("kept")
class Scaled(layers.Layer):
    """Reads what its layer holds when it is traced."""

    traces = 0

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.scale = 2.0
        self.settings = {"shifts": [0.0]}
        self.function = abs

    def call(self, inputs):
        type(self).traces += 1
        shift = sum(self.settings["shifts"])
        return self.function(inputs) * self.scale + shift


def network():
    return keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(16, name="dense"),
            Scaled(name="scaled"),
            AugmentedDropout(0.5, seed=1, name="dropout"),
            layers.BatchNormalization(name="norm"),
            layers.BatchNormalization(name="second"),
        ]
    )


def measured(model):
    samples = monte_carlo_predict(model, X, 2, seed=1, verbose=0)
    weights = statistics_estimator(model)(X, 4)
    return [samples, *weights]


@pytest.mark.skipif(BACKEND == "torch", reason="traces nothing")
def test_a_second_call_traces_nothing():
    model = network()
    model.compile("sgd", "mse")
    y = np.zeros((10, 16))

    def call():
        model.fit(X, y, epochs=1, verbose=0)
        before = Scaled.traces
        monte_carlo_predict(model, X, samples=2, verbose=0)
        reestimate_batch_norm(model, X, in_place=True)
        return Scaled.traces - before

    assert call() > 0
    assert [call() for _ in range(3)] == [0, 0, 0]


class Within(keras.callbacks.Callback):
    """Measures in the middle of a validation, and after a training."""

    def measure(self):
        before = Scaled.traces
        monte_carlo_predict(self.model, X, samples=2, verbose=0)
        statistics_estimator(self.model)(X, 4)
        self.traces += Scaled.traces - before

    def on_train_begin(self, logs=None):
        self.traces = 0

    def on_test_begin(self, logs=None):
        self.measure()

    def on_train_end(self, logs=None):
        self.measure()


@pytest.mark.skipif(BACKEND == "torch", reason="traces nothing")
def test_a_second_call_within_a_training_traces_nothing():
    model = network()
    model.compile("sgd", "mse")
    data = X, np.zeros((10, 16))
    within = Within()
    found = []
    for _ in range(3):
        model.fit(
            *data, validation_data=data, callbacks=[within], epochs=2, verbose=0
        )
        found.append(within.traces)
    assert found[0] > 0 and found[1:] == [0, 0]


def set_policy(model):
    model.get_layer("dense").dtype_policy = keras.DTypePolicy("bfloat16")


@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(model.get_layer("dropout"), "rate", 0.1),
        lambda model: setattr(model.get_layer("norm"), "trainable", False),
        lambda model: setattr(model.get_layer("norm"), "epsilon", 3.0),
        lambda model: setattr(model.get_layer("scaled"), "scale", 3.0),
        lambda model: setattr(model.get_layer("scaled"), "function", ops.exp),
        lambda model: model.get_layer("scaled").settings["shifts"].append(9.0),
        lambda model: setattr(
            model.get_layer("dense"), "activation", keras.activations.relu
        ),
        lambda model: model.get_layer("dense").enable_lora(2),
        lambda model: model.pop(),
        set_policy,
    ],
)
def test_a_change_is_seen(change):
    keras.utils.set_random_seed(1)
    model = network()
    before = measured(model)
    change(model)
    for weight in model.weights:  # those of a new matrix are 0
        if "lora" in weight.name:
            weight.assign(weight + 1.0)
    found = measured(model)
    model.predict_function = None  # Keras' way to make all anew
    expected = measured(model)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(before) != len(found) or any(
        a.shape != b.shape or np.any(a != b)
        for a, b in zip(before, found, strict=True)
    )


def test_it_goes_with_the_model_and_into_no_copy(tmp_path):
    model = network()
    measured(model)
    model.save(tmp_path / "model.keras")
    reference = weakref.ref(model)
    models = [
        keras.models.load_model(tmp_path / "model.keras"),
        keras.models.clone_model(model),
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        reestimate_batch_norm(model, X),
    ]
    assert all(other.predict_function is None for other in models)
    del model
    gc.collect()
    assert reference() is None


def test_an_error_keeps_nothing():
    model = network()
    expected = measured(model)
    with pytest.raises(ValueError, match="at least two samples"):
        reestimate_batch_norm(model, X[:1])
    for one, other in zip(measured(model), expected, strict=True):
        np.testing.assert_array_equal(one, other)
