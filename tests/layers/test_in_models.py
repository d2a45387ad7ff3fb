"""What all masking layers share, alone and in models."""

import copy
import json
import math
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_dropx.layers import (
    GAAF,
    AugmentedDropout,
    BackwardDropout,
    ForwardDropout,
    Jumpout,
)

MAKERS = {
    "augmented": lambda **kw: AugmentedDropout(0.3, 0.2, **kw),
    "extended": lambda **kw: AugmentedDropout(0.3, 1e-4, **kw),
    "independent": lambda **kw: AugmentedDropout(0.3, 0.2, "independent", **kw),
    "forward": lambda **kw: ForwardDropout(0.3, **kw),
    "backward": lambda **kw: BackwardDropout(0.3, **kw),
    "jumpout": lambda **kw: Jumpout(sigma=0.3, backward_rate=0.1, **kw),
    "per_sample": lambda **kw: Jumpout(sigma=0.3, per_sample=True, **kw),
    "fixed": lambda **kw: Jumpout(rate=0.3, adaptive=False, **kw),
}
RESCALED = [name for name in MAKERS if name != "backward"]
TINY = {
    "augmented": AugmentedDropout,
    "forward": ForwardDropout,
    "backward": BackwardDropout,
    "jumpout": lambda rate, **kw: Jumpout(rate=rate, adaptive=False, **kw),
}


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]


def counter(layer):
    return int(keras.ops.convert_to_numpy(layer.seed_generator.state.value)[1])


def data(shape=(12, 5)):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def small_model(layer, **kwargs):
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(7, activation="relu"),
            layer,
            keras.layers.Dense(1),
        ]
    )
    model.compile("adam", "mse", **kwargs)
    return model


@pytest.mark.parametrize("name", RESCALED)
@pytest.mark.parametrize(
    "rescale", ["max", "Mean", -0.1, 1.1, float("nan"), True, None, [1]]
)
def test_an_unknown_rescale_is_refused(name, rescale):
    with pytest.raises(ValueError) as error:
        MAKERS[name](rescale=rescale)
    assert str(error.value) == (
        "Invalid value received for argument `rescale`. Expected 'mean', "
        "'variance', 'batchnorm' or a number in [0, 1]. "
        f"Received: rescale={rescale!r}"
    )


@pytest.mark.parametrize(
    "noise_shape", ["abc", 3, (0, 1), (-1,), (1.5, 2), ("a",), [None, "b"]]
)
def test_a_wrong_noise_shape_is_refused_as_keras_does(make, noise_shape):
    with pytest.raises(ValueError) as ours:
        make(noise_shape=noise_shape)
    with pytest.raises(ValueError) as theirs:
        keras.layers.Dropout(0.5, noise_shape=noise_shape)
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("noise_shape", [(8,), (1,), (1, 8), (4, None), [4, 1]])
def test_a_noise_shape_that_keras_takes_is_taken(make, noise_shape, vjp):
    x = np.ones((4, 8), "float32")
    keras.layers.Dropout(0.5, noise_shape=noise_shape)(x, training=True)
    y, dx = vjp(make(noise_shape=noise_shape, seed=1), x)
    assert y.shape == dx.shape == (4, 8)


@pytest.mark.parametrize("noise_shape", [(3, 8), (2, 1), (4, 8, 1), (None,)])
def test_a_noise_shape_that_does_not_fit_the_input_is_refused(
    make, noise_shape
):
    layer = make(noise_shape=noise_shape)
    with pytest.raises(ValueError) as error:
        layer(np.ones((4, 8), "float32"), training=True)
    assert "argument `noise_shape`. Expected a shape that" in str(error.value)
    assert "inputs of shape (4, 8)" in str(error.value)
    assert f"Received: noise_shape={noise_shape!r}" in str(error.value)


@pytest.mark.parametrize("seed", ["a", 1.5])
def test_a_wrong_seed_is_refused_as_keras_does(make, seed):
    with pytest.raises(ValueError) as ours:
        make(seed=seed)
    with pytest.raises(ValueError) as theirs:
        keras.layers.Dropout(0.5, seed=seed)
    assert str(ours.value) == str(theirs.value)


def test_an_unknown_argument_is_refused(make):
    with pytest.raises((TypeError, ValueError), match="no_such"):
        make(no_such=1)


def test_integers_are_refused_as_keras_does(make):
    x = np.arange(1, 9)
    for layer in (keras.layers.Dropout(0.25), make()):
        with pytest.raises((TypeError, ValueError, RuntimeError)):
            layer(x, training=True)


def test_inference_is_the_identity_and_leaves_the_seed_alone(make):
    layer, x = make(), keras.ops.convert_to_tensor(data())
    for y in (layer(x), layer(x, training=False)):
        np.testing.assert_array_equal(y, x)
    assert counter(layer) == 0


@pytest.mark.parametrize(
    "name", ["extended", "independent", "backward", "jumpout", "per_sample"]
)
def test_a_training_call_advances_the_seed_once(name, mode, vjp):
    layer = MAKERS[name](seed=1)
    for calls in (1, 2):
        vjp(layer, data(), mode=mode)
        assert counter(layer) == calls


def test_a_rate_of_0_advances_the_seed_too(vjp):
    layer = AugmentedDropout(0.0)
    vjp(layer, data())
    assert counter(layer) == 1


@pytest.mark.parametrize("shape", [(13,), (2, 3, 1, 4, 5)])
def test_every_mode_gives_the_same(make, shape, mode, vjp):
    x, dy = data(shape), data(shape)[::-1].copy()
    y, dx = vjp(make(seed=5), x, dy, mode=mode)
    expected, gradient = vjp(make(seed=5), x, dy, mode="eager")
    np.testing.assert_array_equal(y == 0, expected == 0)
    np.testing.assert_array_equal(dx == 0, gradient == 0)
    # A drawn rate may round to the next step of the grid.
    np.testing.assert_allclose(y, expected, rtol=2.0**-15)
    np.testing.assert_allclose(dx, gradient, rtol=2.0**-15)


@pytest.mark.parametrize(
    "name", ["augmented", "extended", "independent", "forward", "backward"]
)
def test_every_mode_gives_the_same_bits(name, mode, vjp):
    x = data((1001,))
    modes = [vjp(MAKERS[name](seed=5), x, mode=m) for m in (mode, "eager")]
    for ours, theirs in zip(*modes, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_another_call_and_another_seed_draw_other_masks(make, vjp):
    x = np.ones((50, 40), "float32")
    layer = make(seed=1)
    results = [vjp(layer, x), vjp(layer, x), vjp(make(seed=2), x)]
    noises = [np.stack(result) for result in results]
    for a, b in [(0, 1), (0, 2), (1, 2)]:
        assert np.mean((noises[a] == 0) != (noises[b] == 0)) > 0.05


def test_without_a_seed_it_follows_set_random_seed(make, vjp):
    results = []
    for seed in (3, 3, 4):
        keras.utils.set_random_seed(seed)
        results.append(np.stack(vjp(make(), np.ones((50, 40), "float32"))))
    np.testing.assert_array_equal(results[0], results[1])
    assert np.any(results[0] != results[2])


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (3, 2)])
def test_empty_and_zero_inputs_are_finite(make, shape, vjp):
    # TensorFlow's graph optimiser divides by a constant batch size of 0.
    y, dx = vjp(make(seed=1), np.zeros(shape, "float32"), mode="eager")
    assert y.shape == dx.shape == shape
    assert not y.any() and np.isfinite(dx).all()


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_noise_shape_broadcasts_both_masks(name, axis, vjp):
    x = np.ones((16, 14, 15), "float32")
    noise_shape = tuple(1 if i == axis else None for i in range(3))
    y, dx = vjp(MAKERS[name](seed=1, noise_shape=noise_shape), x)
    assert (y == 0).any() or (dx == 0).any()
    if name == "per_sample" and axis == 0:
        # Each sample puts its own rate to the words that all share.
        return
    for noise in (y, dx):
        first = np.take(noise, [0], axis)
        np.testing.assert_array_equal(noise, np.broadcast_to(first, x.shape))


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("rate", [0.999999, float(np.nextafter(1, 0))])
@pytest.mark.parametrize(
    "policy", ["float32", "mixed_float16", "mixed_bfloat16"]
)
def test_a_rate_just_below_1_leaves_everything_finite(name, rate, policy, vjp):
    layer = TINY[name](rate, dtype=policy, seed=1)
    y, dx = vjp(layer, np.full((1000, 300), 0.5, "float32"))
    for noise in (y, dx):
        noise = noise.astype("float32")
        assert np.isfinite(noise).all()
    dropped = dx if name == "backward" else y
    assert np.mean(dropped == 0) > 0.999


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("rate", [1e-4, 0.01])
def test_every_layer_realises_its_rate_in_half_precision(
    name, rate, vjp, assert_share
):
    x = keras.ops.ones((2**20 + 1,), "bfloat16")
    y, dx = vjp(TINY[name](rate, dtype="mixed_bfloat16", seed=2), x)
    dropped = dx if name == "backward" else y
    assert_share(x.shape[0] - np.count_nonzero(dropped), x.shape[0], rate)


@pytest.mark.parametrize("rate", [1e-4, 1e-3, 0.01, 0.1, 0.5])
@pytest.mark.parametrize(
    "policy", ["float32", "mixed_float16", "mixed_bfloat16"]
)
def test_the_realised_rate_does_not_depend_on_the_dtype(
    rate, policy, mode, vjp, assert_share
):
    x = keras.ops.ones((2**20 + 1,), keras.DTypePolicy(policy).compute_dtype)
    y, dx = vjp(AugmentedDropout(rate, dtype=policy, seed=2), x, mode=mode)
    np.testing.assert_array_equal(y == 0, dx == 0)
    assert_share(x.shape[0] - np.count_nonzero(y), x.shape[0], rate)


@pytest.mark.parametrize("rate", [1e-4, 1e-3, 0.01, 0.1, 0.5])
@pytest.mark.parametrize(
    "policy", ["float32", "mixed_float16", "mixed_bfloat16"]
)
def test_the_realised_backward_ratio_does_not_depend_on_the_dtype(
    rate, policy, mode, vjp, assert_share
):
    x = keras.ops.ones((2**21 + 1,), keras.DTypePolicy(policy).compute_dtype)
    layer = AugmentedDropout(0.25, rate, dtype=policy, seed=2)
    y, dx = vjp(layer, x, mode=mode)
    kept = np.count_nonzero(y)
    assert_share(kept - np.count_nonzero(dx), kept, rate)


@pytest.mark.parametrize("rate", [1e-4, 0.25])
def test_float64_has_the_same_masks_and_its_own_scale(rate, float64, vjp, mode):
    layer = AugmentedDropout(rate, 1e-4, dtype="float64", seed=2)
    x = data((2**12,)).astype("float64")
    y, dx = vjp(layer, x, mode=mode)
    assert y.dtype == dx.dtype == "float64"
    single = AugmentedDropout(rate, 1e-4, seed=2)
    for ours, theirs in zip((y, dx), vjp(single, x), strict=True):
        np.testing.assert_array_equal(ours == 0, theirs == 0)
    scale = 1 / (1 - np.floor(rate * 2**32) / 2**32)
    np.testing.assert_allclose(y[y != 0], (x * scale)[y != 0], rtol=1e-15)


def test_float64_stays_float64(make, float64, vjp):
    y, dx = vjp(make(dtype="float64", seed=1), data().astype("float64"))
    assert y.dtype == dx.dtype == "float64"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_large_inputs_stay_finite_in_half_precision(make, dtype, vjp):
    x = keras.ops.full((100, 100), 1e4, dtype)
    y, dx = vjp(make(dtype=f"mixed_{dtype}", seed=1), x)
    assert y.dtype.name == dx.dtype.name == dtype
    for noise in (y, dx):
        assert np.isfinite(noise.astype("float32")).all()


def test_it_has_no_parameters_and_keeps_the_shape(make):
    layer = make()
    assert layer.count_params() == 0 and layer.weights == []
    assert layer.compute_output_shape((None, 3)) == (None, 3)
    assert layer.built and layer.supports_masking


def test_its_config_is_json_and_makes_an_equal_layer(make, vjp):
    layer = make(seed=3, noise_shape=(None, 1), name="d", dtype="float32")
    config = json.loads(json.dumps(layer.get_config()))
    other = type(layer).from_config(config)
    assert json.loads(json.dumps(other.get_config())) == config
    for ours, theirs in zip(
        vjp(layer, data()), vjp(other, data()), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "duplicate",
    [
        copy.deepcopy,
        lambda layer: pickle.loads(pickle.dumps(layer)),
        keras.models.clone_model,
    ],
    ids=["deepcopy", "pickle", "clone"],
)
def test_copies_draw_the_same_as_keras_dropout_lets_them(make, duplicate, vjp):
    def original(layer):
        if duplicate is keras.models.clone_model:
            return keras.Sequential([keras.Input((5,)), layer])
        return layer

    duplicate(original(keras.layers.Dropout(0.5)))
    ours = original(make(seed=4))
    results = [vjp(layer, data()) for layer in (duplicate(ours), ours)]
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.few(3)
def test_a_keras_mask_passes_through(make):
    inputs = keras.Input((None,), dtype="int32")
    embedding = keras.layers.Embedding(10, 5, mask_zero=True)
    layer = make()
    outputs = keras.layers.LSTM(3)(layer(embedding(inputs)))
    model = keras.Model(inputs, outputs)
    padded = np.array([[3, 4, 0, 0]])
    whole, cut = model.predict(padded), model.predict(padded[:, :2])
    np.testing.assert_allclose(whole, cut, rtol=1e-5)
    for training in (False, True):
        y = layer(embedding(padded), training=training)
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(y._keras_mask),
            [[True, True, False, False]],
        )


class Subclassed(keras.Model):
    def __init__(self, dropout):
        super().__init__()
        self.hidden = keras.layers.Dense(7)
        self.dropout = dropout
        self.head = keras.layers.Dense(1)

    def call(self, inputs, training=False):
        hidden = self.dropout(self.hidden(inputs), training=training)
        return self.head(hidden)


def functional(layer):
    inputs = keras.Input((5,))
    hidden = layer(keras.layers.Dense(7)(inputs))
    return keras.Model(inputs, keras.layers.Dense(1)(hidden))


@pytest.mark.few(3)
@pytest.mark.parametrize(
    "name, build, policy",
    [
        ("augmented", functional, "float32"),
        ("extended", Subclassed, "float32"),
        ("independent", small_model, "mixed_float16"),
        ("forward", functional, "mixed_bfloat16"),
        ("backward", Subclassed, "mixed_float16"),
        ("jumpout", small_model, "float32"),
        ("per_sample", Subclassed, "mixed_float16"),
    ],
)
def test_models_fit_evaluate_and_predict(name, build, policy):
    keras.config.set_dtype_policy(policy)
    layer = MAKERS[name]()
    model = build(layer)
    model.compile("adam", "mse")
    x, y = data((10, 5)), np.ones((10, 1), "float32")
    history = model.fit(x, y, batch_size=4, epochs=2, verbose=0)
    assert np.all(np.isfinite(history.history["loss"]))
    assert counter(layer) == 6
    evaluated = model.evaluate(x, y, batch_size=4, verbose=0)
    predicted = model.predict(x, batch_size=4, verbose=0)
    assert predicted.shape == (10, 1)
    assert math.isclose(evaluated, np.mean((predicted - y) ** 2), rel_tol=1e-2)
    assert counter(layer) == 6


@pytest.mark.parametrize(
    "name, rank", [("extended", 3), ("independent", 4), ("per_sample", 5)]
)
def test_inputs_of_higher_rank_train(name, rank):
    shape = (4,) * (rank - 1)
    layer = MAKERS[name]()
    flat = [keras.layers.Flatten(), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input(shape), layer, *flat])
    assert layer.output.shape == (None, *shape)
    model.compile("sgd", "mse")
    x = data((5, *shape))
    model.fit(x, np.ones((5, 1)), batch_size=2, verbose=0)
    assert np.isfinite(model.evaluate(x, np.ones((5, 1)), verbose=0))


@pytest.mark.few(3)
def test_a_model_has_the_weights_of_one_with_dropout(make, tmp_path):
    ours = small_model(make())
    plain = small_model(keras.layers.Dropout(0.3))
    assert [w.shape for w in ours.weights] == [w.shape for w in plain.weights]
    assert len(ours.variables) == len(plain.variables)
    assert ours.count_params() == plain.count_params()
    for source, target in [(plain, ours), (ours, plain)]:
        source.save_weights(tmp_path / "w.weights.h5")
        target.load_weights(tmp_path / "w.weights.h5")
        np.testing.assert_array_equal(
            target.predict(data()), source.predict(data())
        )


LOAD = """
import pathlib, sys
import keras, numpy as np
import keras_dropx
folder = pathlib.Path(sys.argv[1])
x = np.load(folder / "x.npy")
for path in folder.glob("*.keras"):
    model = keras.models.load_model(path)
    trained = keras.ops.convert_to_numpy(model(x, training=True))
    predicted = keras.ops.convert_to_numpy(model(x))
    np.savez(path.with_suffix(".npz"), predicted, trained)
"""


@pytest.mark.full
def test_saved_models_load_in_a_fresh_process(tmp_path):
    models = {name: small_model(make(seed=3)) for name, make in MAKERS.items()}
    models["gaaf"] = small_model(GAAF("tanh", width=0.5))
    models["activation"] = small_model(
        keras.layers.Dense(4, activation=GAAF("relu", frequency=None))
    )
    np.save(tmp_path / "x.npy", data())
    for name, model in models.items():
        model.save(tmp_path / f"{name}.keras")
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for name, model in models.items():
        predicted, trained = np.load(tmp_path / f"{name}.npz").values()
        expected = keras.ops.convert_to_numpy(model(data()))
        np.testing.assert_allclose(predicted, expected, rtol=1e-5)
        expected = keras.ops.convert_to_numpy(model(data(), training=True))
        np.testing.assert_allclose(trained, expected, rtol=1e-5)
