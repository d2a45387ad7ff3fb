import keras
import numpy as np
import pytest

from keras_dropx.layers import GAAF, AugmentedDropout, Jumpout

POLICIES = ["float32", "float64", "mixed_bfloat16", "mixed_float16"]
if keras.config.backend() == "jax":
    POLICIES.remove("float64")  # JAX computes in float32 unless switched


@pytest.mark.few(1)
@pytest.mark.parametrize("policy", POLICIES)
def test_fit_stays_finite_over_200_steps(policy):
    keras.config.set_dtype_policy(policy)
    model = keras.Sequential(
        [
            keras.Input((20,)),
            keras.layers.Dense(32, activation=GAAF("tanh")),
            AugmentedDropout(0.5, backward_rate=1e-4),
            keras.layers.Dense(32, activation="relu"),
            Jumpout(sigma=0.2, rescale="mean", backward_rate=0.1),
            keras.layers.Dense(3, dtype="float32"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    if policy == "mixed_float16":  # Keras scales the loss by itself
        name = type(model.optimizer).__name__
        assert name == "LossScaleOptimizer"
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 20)), rng.integers(0, 3, 200)
    history = model.fit(x, y, batch_size=10, epochs=10, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][-1] < history["loss"][0]
    for weight in model.get_weights():
        assert np.isfinite(weight).all()
