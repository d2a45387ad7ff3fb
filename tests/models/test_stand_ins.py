"""What looks for dropout sees the layer that stands in, as in a copy."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_dropx.callbacks import ActiveFraction, MomentDrift, NetVariance
from keras_dropx.layers import (
    AugmentedDropout,
    BackwardDropout,
    ForwardDropout,
    Jumpout,
)
from keras_dropx.models import (
    monte_carlo_predict,
    replace_dropout,
    scale_for_inference,
)

X = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")


def network(drop):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, activation="relu", name="hidden"),
            drop,
            layers.Dense(2, name="top"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.0), "mse")
    return model


def both(new, old=None):
    """A model that was changed in place, and one that was built so."""
    old = layers.Dropout(0.5, name="drop") if old is None else old
    changed = network(old)
    replace_dropout(changed, lambda old: new(), in_place=True)
    built = network(new())
    built.set_weights(changed.get_weights())
    for model in (changed, built):
        for variable in model.variables:
            if variable.name == "seed_generator_state":
                variable.assign([3, 5])
    return changed, built


def measured(callback, model):
    model.fit(X, np.zeros((32, 2)), verbose=0, callbacks=[callback])
    return callback.results


@pytest.mark.parametrize(
    "make",
    [
        lambda: BackwardDropout(0.5, name="drop"),
        lambda: ForwardDropout(0.0, name="drop"),
        lambda: layers.Identity(name="drop"),
        lambda: layers.GaussianNoise(0.1, name="drop"),
    ],
)
def test_what_does_not_drop_forward_is_not_sampled(make):
    for model in both(make):
        with pytest.raises(ValueError, match="with dropout in its forward"):
            monte_carlo_predict(model, X, samples=2, verbose=0)


def test_a_schedule_is_sampled_where_it_is():
    decay = keras.optimizers.schedules.PiecewiseConstantDecay([100], [0.0, 0.5])
    model, _ = both(lambda: ForwardDropout(decay, name="drop"))
    samples = monte_carlo_predict(model, X, samples=3, batch_size=8, verbose=0)
    np.testing.assert_array_equal(samples.max(axis=0), samples.min(axis=0))


def test_no_variance_where_noise_stands_in():
    found, _ = both(lambda: layers.GaussianNoise(0.5))
    results = measured(NetVariance(X, samples=2), found)
    assert float(results["net_variance/top"][0]) == 0


@pytest.mark.parametrize(
    "old, new",
    [(layers.GaussianDropout, AugmentedDropout), (layers.Dropout, Jumpout)],
)
def test_the_rate_that_is_logged_is_that_of_the_layer(old, new):
    changed, built = both(lambda: new(0.2, name="drop"), old(0.5, name="drop"))
    results = [
        measured(ActiveFraction(X, samples=3), model)
        for model in (changed, built)
    ]
    assert results[0].keys() == results[1].keys()
    for key in results[0]:
        np.testing.assert_allclose(results[0][key], results[1][key], 1e-5)
    assert 0 < results[0]["active_drop_rate/drop"][0] < 0.5


def test_a_drift_of_what_does_not_mask_is_refused():
    found = [
        measured(MomentDrift(X, samples=3), model)
        for model in both(lambda: ForwardDropout(0.2, name="drop"))
    ]
    assert found[0].keys() == found[1].keys()
    for key in found[0]:
        np.testing.assert_allclose(found[0][key], found[1][key], 1e-4)
    changed, _ = both(layers.Identity)
    with pytest.raises(ValueError, match="behind a mask. There are none"):
        measured(MomentDrift(X, samples=3), changed)


def test_the_weight_rule_of_an_unscaled_mask():
    model, _ = both(lambda: AugmentedDropout(0.2, rescale=0.0))
    kernel = model.get_layer("top").kernel
    before = ops.convert_to_numpy(kernel)
    scale_for_inference(model.get_layer("top"), 0.2)
    np.testing.assert_allclose(
        ops.convert_to_numpy(kernel), 0.8 * before, rtol=1e-6
    )
    plain, _ = both(lambda: AugmentedDropout(0.2))
    with pytest.raises(ValueError, match="Expected an unscaled mask"):
        scale_for_inference(plain.get_layer("top"), 0.2)


class AlwaysOn(layers.Dropout):
    """Monte Carlo dropout as textbooks have it."""

    def call(self, inputs):
        return super().call(inputs, training=True)


def test_dropout_that_is_always_on():
    model = network(AlwaysOn(0.5, name="drop"))
    samples = monte_carlo_predict(model, X, samples=3, seed=1, verbose=0)
    again = monte_carlo_predict(model, X, samples=3, seed=1, verbose=0)
    np.testing.assert_array_equal(samples, again)
    # Two masks of a sample may be one.
    assert (samples.std(axis=0) > 0).mean() > 0.5
    results = measured(NetVariance(X, samples=3), model)
    assert results["net_variance/top"][0] > 0
    results = measured(ActiveFraction(X, samples=3), model)
    assert results["active_drop_rate/drop"][0] == 0.5
    with pytest.warns(UserWarning, match=r"'drop' \(AlwaysOn\): their class"):
        replace_dropout(model, lambda old: Jumpout(0.2), in_place=True)
