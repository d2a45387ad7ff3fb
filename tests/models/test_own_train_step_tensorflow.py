"""Models with a `train_step` of their own, as keras.io has them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from keras_dropx.layers import AugmentedDropout
from keras_dropx.models import monte_carlo_predict, replace_dropout
from keras_dropx.models.in_place import stand_in

# Each compiles four training steps.
pytestmark = pytest.mark.full
RNG = np.random.default_rng(0)
X = RNG.uniform(size=(24, 6)).astype("float32")


class Sampling(layers.Layer):
    """z = μ + σ ε, which is no dropout."""

    def __init__(self):
        super().__init__()
        self.seed_generator = keras.random.SeedGenerator(1)

    def call(self, inputs):
        mean, log_variance = inputs
        noise = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
        return mean + ops.exp(0.5 * log_variance) * noise


class Vae(keras.Model):
    """https://keras.io/examples/generative/vae"""

    def __init__(self, drop):
        super().__init__()
        inputs = keras.Input((6,))
        x = drop()(layers.Dense(16, activation="relu")(inputs))
        parts = layers.Dense(2)(x), layers.Dense(2)(x)
        self.encoder = keras.Model(inputs, [*parts, Sampling()(parts)])
        self.decoder = keras.Sequential(
            [
                keras.Input((2,)),
                layers.Dense(16, activation="relu"),
                drop(),
                layers.Dense(6, activation="sigmoid"),
            ]
        )
        self.tracker = keras.metrics.Mean(name="loss")

    @property
    def metrics(self):
        return [self.tracker]

    def train_step(self, data):
        with tf.GradientTape() as tape:
            mean, log_variance, z = self.encoder(data, training=True)
            error = ops.sum((data - self.decoder(z, training=True)) ** 2, -1)
            divergence = -0.5 * (
                1 + log_variance - mean**2 - ops.exp(log_variance)
            )
            loss = ops.mean(error) + ops.mean(ops.sum(divergence, -1))
        weights = self.trainable_weights
        self.optimizer.apply_gradients(
            zip(tape.gradient(loss, weights), weights, strict=True)
        )
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}


class Gan(keras.Model):
    """https://keras.io/guides/custom_train_step_in_tensorflow"""

    def __init__(self, drop):
        super().__init__()
        self.discriminator = keras.Sequential(
            [
                keras.Input((6,)),
                layers.Dense(8),
                layers.LeakyReLU(negative_slope=0.2),
                drop(),
                layers.Dense(1),
            ]
        )
        self.generator = keras.Sequential(
            [keras.Input((3,)), layers.Dense(8), drop(), layers.Dense(6)]
        )
        self.seed_generator = keras.random.SeedGenerator(1)
        self.trackers = [keras.metrics.Mean(name=n) for n in ("d", "g")]

    @property
    def metrics(self):
        return self.trackers

    def compile(self, optimizers, loss):
        super().compile()
        self.optimizers = optimizers
        self.loss_function = loss

    def train_step(self, data):
        size = ops.shape(data)[0]
        truth = ops.ones((size, 1))
        both = ops.concatenate([truth, 0 * truth])

        def latent():
            return keras.random.normal((size, 3), seed=self.seed_generator)

        def discriminate():
            made = self.generator(latent(), training=True)
            scores = self.discriminator(
                ops.concatenate([made, data]), training=True
            )
            return self.loss_function(both, scores)

        def generate():
            made = self.generator(latent(), training=True)
            return self.loss_function(
                truth, self.discriminator(made, training=True)
            )

        for part, function, optimizer, tracker in zip(
            (self.discriminator, self.generator),
            (discriminate, generate),
            self.optimizers,
            self.trackers,
            strict=True,
        ):
            with tf.GradientTape() as tape:
                loss = function()
            weights = part.trainable_weights
            optimizer.apply_gradients(
                zip(tape.gradient(loss, weights), weights, strict=True)
            )
            tracker.update_state(loss)
        return {tracker.name: tracker.result() for tracker in self.trackers}


def vae(drop):
    model = Vae(drop)
    model.compile(optimizer=keras.optimizers.SGD(0.05))
    return model


def gan(drop):
    model = Gan(drop)
    model.compile(
        [keras.optimizers.SGD(0.05), keras.optimizers.SGD(0.05)],
        keras.losses.BinaryCrossentropy(from_logits=True),
    )
    return model


def ours():
    return AugmentedDropout(0.5, 0.3)


def trained(model, weights, **options):
    model.set_weights(weights)
    for variable in model.variables:
        if variable.name == "seed_generator_state":
            variable.assign([3, 5])
    model.fit(X, batch_size=8, epochs=2, shuffle=False, verbose=0, **options)
    return model.get_weights()


@pytest.mark.parametrize("make", [vae, gan])
def test_it_trains_as_one_that_was_built_with_our_layer(make):
    model = make(lambda: layers.Dropout(0.5))
    weights = model.get_weights()
    theirs = trained(model, weights)
    # Its compiled function is there by now, and is renewed.
    assert replace_dropout(model, lambda old: ours(), in_place=True) is model
    found = trained(model, weights)
    twin = make(ours)
    for mine, built, plain, before in zip(
        found, trained(twin, weights), theirs, weights, strict=True
    ):
        np.testing.assert_array_equal(mine, built)
        assert not np.array_equal(mine, before)
        assert not np.array_equal(mine, plain)
    dropping = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, layers.Dropout)
    ]
    assert len(dropping) == 2 and all(map(stand_in, dropping))
    # Undone, it trains as it did.
    replace_dropout(model, lambda old: None, in_place=True)
    for mine, plain in zip(trained(model, weights), theirs, strict=True):
        np.testing.assert_array_equal(mine, plain)


def test_parts_of_such_a_model_are_sampled():
    model = vae(lambda: layers.Dropout(0.5))
    replace_dropout(model, lambda old: ours(), in_place=True)
    z = RNG.normal(size=(5, 2)).astype("float32")
    samples = monte_carlo_predict(model.decoder, z, samples=4, verbose=0)
    assert np.all(samples.std(axis=0).max(axis=-1) > 0)
