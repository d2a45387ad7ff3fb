import copy

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_dropx.callbacks import ReestimateBatchNorm
from keras_dropx.layers import AugmentedDropout
from keras_dropx.models import reestimate_batch_norm

RNG = np.random.default_rng(0)
X = RNG.normal(2, 3, size=(48, 6, 6, 1)).astype("float32")
Y = RNG.integers(3, size=48)
VALIDATION = RNG.normal(2, 3, size=(20, 6, 6, 1)).astype("float32"), Y[:20]


def network(**kwargs):
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            AugmentedDropout(0.4, seed=1),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(momentum=0.9),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.Adam(0.01, **kwargs)
    model.compile(optimizer, loss, metrics=["accuracy"])
    return model


def fit(model, callbacks, **kwargs):
    keras.utils.set_random_seed(4)
    arguments = {"epochs": 3, "batch_size": 16, "verbose": 0, **kwargs}
    return model.fit(X, Y, callbacks=callbacks, **arguments).history


def values(variables):
    return [ops.convert_to_numpy(v) for v in variables]


def assert_equal(one, other):
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def moving(model):
    (norm,) = [
        layer
        for layer in model.layers
        if isinstance(layer, layers.BatchNormalization)
    ]
    return [norm.moving_mean, norm.moving_variance]


def others(model):
    kept = {id(v) for v in moving(model)}
    variables = [*model.variables, *model.optimizer.variables]
    return [v for v in variables if id(v) not in kept]


class Kept(keras.callbacks.Callback):
    """Keeps a copy that was re-estimated after each epoch."""

    def __init__(self, x=X):
        super().__init__()
        self.x = x
        self.copies = []

    def on_epoch_end(self, epoch, logs=None):
        self.copies.append(reestimate_batch_norm(self.model, self.x))


@pytest.mark.few(1)
@pytest.mark.parametrize("frequency", ["epoch", 2])
def test_validation_is_that_of_reestimated_statistics_to_the_bit(frequency):
    plain, kept = network(), Kept()
    before = fit(plain, [kept], validation_data=VALIDATION)
    model = network()
    callback = ReestimateBatchNorm(X, frequency=frequency)
    history = fit(model, [callback], validation_data=VALIDATION)
    clean = [
        each.evaluate(*VALIDATION, batch_size=16, verbose=0, return_dict=True)
        for each in kept.copies
    ]
    for name in ("loss", "accuracy"):
        expected = [found[name] for found in clean]
        assert history[f"val_{name}"] == expected != before[f"val_{name}"]
        assert history[name] == before[name]
    # The training did not see it; what remains is clean.
    assert_equal(values(others(model)), values(others(plain)))
    clean = reestimate_batch_norm(plain, X)
    assert_equal(values(moving(model)), values(moving(clean)))
    assert not np.array_equal(*(moving(m)[0].numpy() for m in (model, plain)))


@pytest.mark.full
def test_the_convnet_of_compare_on_digits():
    networks = pytest.importorskip("keras_dropx.experiments.networks")
    images, labels = pytest.importorskip("sklearn.datasets").load_digits(
        return_X_y=True
    )
    images = (images / 16).reshape(-1, 8, 8, 1).astype("float32")
    x, y = images[:300], labels[:300]
    validation = images[300:800], labels[300:800]

    def trained(callback):
        keras.utils.set_random_seed(5)
        model = networks.convnet_bn(
            (8, 8, 1), 10, lambda: AugmentedDropout(0.25, 0.1, seed=2)
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, metrics=["accuracy"])
        history = model.fit(
            x,
            y,
            epochs=3,
            validation_data=validation,
            callbacks=[callback],
            verbose=0,
        )
        return model, history.history["val_accuracy"]

    plain, before = trained(kept := Kept(x))
    model, found = trained(ReestimateBatchNorm(x))
    clean = [
        each.evaluate(*validation, verbose=0, return_dict=True)["accuracy"]
        for each in kept.copies
    ]
    assert found == clean != before
    for one, other in zip(model.variables, plain.variables, strict=True):
        if one.name not in ("moving_mean", "moving_variance"):
            assert_equal(*(values([v]) for v in (one, other)))


class Seen(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.epochs, self.steps = [], []

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(self.model.get_weights())

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(self.model.get_weights())


@pytest.mark.backends
def test_callbacks_after_it_see_the_reestimated_model():
    """Without a validation too, and between steps as often as asked."""
    plain = network()
    fit(plain, [trained := Seen()], epochs=2, validation_freq=2)
    model = network()
    callback = ReestimateBatchNorm(X, frequency=2)
    fit(model, [callback, seen := Seen()], epochs=2)
    for one, other in zip(seen.epochs, trained.epochs, strict=True):
        plain.set_weights(other)
        assert_equal(one, reestimate_batch_norm(plain, X).get_weights())
    assert len(seen.steps) == 6
    for step, (one, other) in enumerate(
        zip(seen.steps, trained.steps, strict=True)
    ):
        if step % 2:
            plain.set_weights(other)
            other = reestimate_batch_norm(plain, X).get_weights()
        assert_equal(one, other)


def test_the_best_epoch_is_restored_clean():
    model = network()
    stop = keras.callbacks.EarlyStopping(
        patience=0, restore_best_weights=True, monitor="val_loss"
    )
    history = fit(
        model,
        [ReestimateBatchNorm(X), stop],
        epochs=30,
        validation_data=VALIDATION,
    )
    assert len(history["val_loss"]) < 30
    loss, _ = model.evaluate(*VALIDATION, batch_size=16, verbose=0)
    assert loss == min(history["val_loss"])


def test_averaged_weights_get_their_own_statistics():
    model = network(use_ema=True, ema_momentum=0.5)
    fit(model, [ReestimateBatchNorm(X)])
    assert_equal(
        values(moving(model)), values(moving(reestimate_batch_norm(model, X)))
    )


def test_several_steps_in_one_execution():
    if keras.config.backend() == "torch":
        pytest.skip("Keras has none there")
    model, plain = network(), network()
    for each in (model, plain):
        each.steps_per_execution = 2
    fit(model, [ReestimateBatchNorm(X)], validation_data=VALIDATION)
    fit(plain, [])
    assert_equal(values(others(model)), values(others(plain)))


def test_evaluation_on_its_own_gives_the_model_back():
    model = network()
    fit(model, [], epochs=1)
    expected = reestimate_batch_norm(model, X).evaluate(
        *VALIDATION, batch_size=16, verbose=0
    )
    before = values(model.variables)
    callback = ReestimateBatchNorm(X)
    found = model.evaluate(
        *VALIDATION, batch_size=16, verbose=0, callbacks=[callback]
    )
    assert found == expected
    assert_equal(values(model.variables), before)


def test_it_can_be_copied_and_used_twice():
    callback = copy.deepcopy(ReestimateBatchNorm(X))
    first, second = network(), network()
    fit(first, [callback], epochs=1)
    copy.deepcopy(callback)
    fit(second, [callback], epochs=1)
    assert_equal(values(first.variables), values(second.variables))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"batch_size": 0}, "`batch_size`. Expected a positive integer"),
        ({"frequency": 0}, "`frequency`. Expected 'epoch' or a positive"),
        ({"frequency": "step"}, "`frequency`. Expected 'epoch' or a positive"),
        ({"frequency": True}, "`frequency`. Expected 'epoch' or a positive"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ReestimateBatchNorm(X, **arguments)


def test_refusals_when_the_training_begins():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((4, 6))
    with pytest.raises(ValueError, match="Expected a model with a `BatchNorm"):
        model.fit(x, x[:, :1], verbose=0, callbacks=[ReestimateBatchNorm(x)])
    with pytest.raises(ValueError, match="`x`. Expected arrays"):
        fit(network(), [ReestimateBatchNorm(None)])
