import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_dropx.layers import (
    GAAF,
    AugmentedDropout,
    BackwardDropout,
    ForwardDropout,
    Jumpout,
    MaskedInput,
)
from keras_dropx.layers.split_mask_dropout import SplitMaskDropout
from keras_dropx.ops.masks import Noise

BACKEND = keras.config.backend()


class Fixed(SplitMaskDropout):
    """Takes the noise given, as masks and scales."""

    def __init__(self, forward, backward, **kwargs):
        super().__init__(**kwargs)
        self.fixed = [factors(noise) for noise in (forward, backward)]

    def noise(self, inputs):
        self.next_seed()
        (forward, ahead), (backward, back) = self.fixed
        return Noise(forward, backward, ahead, back)


def factors(noise):
    """Splits ε, of zeros and one other value, into mask and scale."""
    noise = np.asarray(noise, float)
    return noise != 0, float(noise.max())


def run_vjp(vjp, layer, x, dy, mode="eager"):
    """Returns y, dx and the gradients of the trainable variables."""
    values = [ops.convert_to_numpy(v) for v in layer.trainable_variables]
    state = [ops.convert_to_numpy(v) for v in layer.non_trainable_variables]
    parts = [np.asarray(x), *values]
    ends = np.cumsum([part.size for part in parts])[:-1]
    flat = np.concatenate([part.ravel() for part in parts])

    def call(flat):
        cut = [0, *ends.tolist(), flat.shape[0]]
        x, *values = (
            ops.reshape(flat[start:end], part.shape)
            for start, end, part in zip(cut, cut[1:], parts, strict=False)
        )
        outputs, _ = layer.stateless_call(values, state, x, training=True)
        return outputs

    y, gradient = vjp(call, flat.astype(parts[0].dtype), dy, mode=mode)
    return y, *(
        part.reshape(like.shape)
        for part, like in zip(np.split(gradient, ends), parts, strict=True)
    )


def assert_equal(*tensors):
    np.testing.assert_array_equal(*map(ops.convert_to_numpy, tensors))


def number(loss):
    return float(ops.convert_to_numpy(loss))


# ε_f, ε_b, W, δ; z, dW, dh: the two examples of Eq. 9 worked by hand.
WORKED = [
    ([2, 0, 2], [2, 0, 0], [1, 1, 1], 1, 8, [2, 0, 0], [2, 0, 0]),
    ([2, 0, 2], [2.5, 0, 0], [3, -1, 2], 0.5, 18, [1.25, 0, 0], [3.75, 0, 0]),
]


@pytest.mark.parametrize("ahead, back, w, delta, z, dw, dh", WORKED)
def test_worked_examples(ahead, back, w, delta, z, dw, dh, mode, vjp, float64):
    dense = layers.Dense(1, use_bias=False, dtype="float64")
    dense.build((None, 3))
    dense.set_weights([np.reshape(w, (3, 1)).astype("float64")])
    layer = MaskedInput(dense, Fixed(ahead, back, dtype="float64"))
    layer.build((None, 3))
    x = np.array([[1.0, 2.0, 3.0]])
    got = run_vjp(vjp, layer, x, np.array([[delta]]), mode)
    for value, expected in zip(got, (z, dh, dw), strict=True):
        assert value.ravel().tolist() == np.atleast_1d(expected).tolist()


# TensorFlow has grouped and channels_first convolutions on CPU under XLA only.
XLA = "xla" if BACKEND == "tensorflow" else "eager"
CASES = {
    "dense": ((3, 5), lambda **k: layers.Dense(4, **k), None),
    "dense-rank-3": ((2, 3, 5), lambda **k: layers.Dense(4, **k), None),
    "einsum": (
        (2, 3, 4),
        lambda **k: layers.EinsumDense(
            "abc,cde->abde", (None, 2, 3), bias_axes="de", **k
        ),
        None,
    ),
    "conv1d-causal": (
        (2, 7, 3),
        lambda **k: layers.Conv1D(2, 3, padding="causal", **k),
        None,
    ),
    "conv1d-dilated": (
        (2, 7, 3),
        lambda **k: layers.Conv1D(2, 3, dilation_rate=2, **k),
        None,
    ),
    "conv2d-strided": (
        (2, 5, 6, 2),
        lambda **k: layers.Conv2D(3, (2, 3), strides=2, padding="same", **k),
        None,
    ),
    "conv2d-dilated": (
        (2, 5, 6, 2),
        lambda **k: layers.Conv2D(2, 2, dilation_rate=2, **k),
        None,
    ),
    "conv2d-groups": (
        (2, 4, 4, 4),
        lambda **k: layers.Conv2D(4, 2, groups=2, padding="same", **k),
        XLA,
    ),
    "conv2d-channels-first": (
        (2, 2, 4, 4),
        lambda **k: layers.Conv2D(4, 2, data_format="channels_first", **k),
        XLA,
    ),
    "conv3d": ((1, 3, 4, 3, 2), lambda **k: layers.Conv3D(2, 2, **k), None),
    "conv1d-transpose": (
        (2, 4, 3),
        lambda **k: layers.Conv1DTranspose(2, 3, strides=2, **k),
        None,
    ),
    "conv2d-transpose": (
        (2, 3, 3, 2),
        lambda **k: layers.Conv2DTranspose(2, 3, 2, padding="same", **k),
        None,
    ),
    "conv3d-transpose": (
        (1, 2, 3, 2, 2),
        lambda **k: layers.Conv3DTranspose(2, 2, **k),
        None,
    ),
    "depthwise-1d": (
        (2, 6, 3),
        lambda **k: layers.DepthwiseConv1D(3, depth_multiplier=2, **k),
        None,
    ),
    "depthwise-2d": (
        (2, 5, 5, 2),
        lambda **k: layers.DepthwiseConv2D(3, 2, padding="same", **k),
        None,
    ),
}


@pytest.mark.few(4)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "dtype, error", [("float64", 1e-12), ("float32", 1e-6)]
)
def test_gradients_are_the_written_formulas(
    case, dtype, error, run, vjp, float64
):
    # The product is linear in the kernel and in the input, so each entry of
    # a gradient is the product at one basis vector: no autodiff here.
    shape, build, mode = CASES[case]
    if BACKEND == "torch" and case.startswith("dense"):
        error = 1e-6  # there Dense alone sends float64 down in float32
    rng = np.random.default_rng(0)
    linear = build(dtype=dtype)
    linear.build(shape)
    linear.set_weights([rng.normal(size=w.shape) for w in linear.weights])
    kernel, bias = (w.astype("float64") for w in linear.get_weights())
    x = rng.normal(size=shape).astype(dtype).astype("float64")
    ahead = rng.integers(0, 2, shape) * 2.0
    back = rng.integers(0, 2, shape) * 4.0

    reference = build(dtype="float64")
    reference.build(shape)

    def product(x, kernel, bias=0 * bias):
        reference.set_weights([kernel, bias])
        return run(reference, x, mode=mode or "eager")

    z = product(x * ahead, kernel, bias)
    delta = rng.normal(size=z.shape).astype(dtype).astype("float64")
    dw = np.zeros(kernel.shape)
    for index in np.ndindex(kernel.shape):
        basis = np.zeros(kernel.shape)
        basis[index] = 1
        dw[index] = np.sum(delta * product(x * back, basis))
    basis = np.eye(x[0].size).reshape(-1, *shape[1:])
    reached = product(basis, kernel).reshape(x[0].size, -1)
    dh = (delta.reshape(len(x), -1) @ reached.T).reshape(shape) * back
    db = delta.reshape(-1, *bias.shape).sum(0)
    if case.endswith("channels-first"):
        db = delta.sum((0, 2, 3))

    layer = MaskedInput(linear, Fixed(ahead, back, dtype=dtype))
    layer.build(shape)
    for each in [mode] if mode else ["eager", "graph"]:
        got = run_vjp(vjp, layer, x.astype(dtype), delta.astype(dtype), each)
        for value, expected in zip(got, (z, dh, dw, db), strict=True):
            assert value.dtype == dtype
            largest = np.abs(expected).max()
            np.testing.assert_allclose(value, expected, 0, error * largest)


def test_slope_of_the_activation_is_taken_at_the_forward_net(vjp, mode):
    dense = layers.Dense(2, activation="tanh")
    dense.build((None, 3))
    ahead, back = np.array([[2, 0, 2]]), np.array([[0, 4, 4]])
    x = np.array([[0.1, -0.2, 0.3]], "float32")
    layer = MaskedInput(dense, Fixed(ahead, back))
    layer.build((None, 3))
    y, dx, dw, db = run_vjp(vjp, layer, x, np.ones((1, 2), "float32"), mode)
    kernel = dense.get_weights()[0]
    z = (x * ahead) @ kernel
    delta = 1 - np.tanh(z) ** 2
    np.testing.assert_allclose(y, np.tanh(z), 1e-5)
    np.testing.assert_allclose(dx, (delta @ kernel.T) * back, 1e-5, 1e-7)
    np.testing.assert_allclose(dw, (x * back).T @ delta, 1e-5, 1e-7)
    np.testing.assert_allclose(db, delta[0], 1e-5)


@pytest.mark.parametrize("case", ["dense", "conv2d-strided", "einsum"])
def test_with_one_mask_it_is_dropout_and_the_layer_to_the_bit(
    case, vjp, mode, float64
):
    shape, build, _ = CASES[case]
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape)
    linear = build(dtype="float64", activation="tanh")
    masked = MaskedInput(linear, AugmentedDropout(0.5, seed=3, dtype="float64"))
    masked.build(shape)
    plain = keras.Sequential(
        [
            keras.Input(shape[1:], dtype="float64"),
            AugmentedDropout(0.5, seed=3, dtype="float64"),
            linear,
        ]
    )
    dy = rng.normal(size=plain(x).shape)
    ours = run_vjp(vjp, masked, x, dy, mode)
    theirs = run_vjp(vjp, plain, x, dy, mode)
    assert np.any(ours[1] == 0) and np.any(ours[1] != 0)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "dropout",
    [
        lambda: AugmentedDropout(0.5, 0.3, "independent", seed=1),
        lambda: ForwardDropout(0.5, seed=1),
        lambda: BackwardDropout(0.5, seed=1),
        lambda: Jumpout(0.2, rescale="mean", seed=1),
        lambda: Jumpout(0.2, backward_rate=0.3, seed=1),
        lambda: AugmentedDropout(0.5, 0.3, noise_shape=(None, 1), seed=1),
    ],
)
def test_every_masking_layer_gives_its_own_noise(dropout, vjp, mode):
    x = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")
    ahead, back = vjp(dropout(), x)
    dense = layers.Dense(4)
    layer = MaskedInput(dense, dropout())
    layer.build((None, 5))
    y, dx, dw, db = run_vjp(vjp, layer, x, np.ones((6, 4), "float32"), mode)
    kernel = dense.get_weights()[0]
    delta = np.ones((6, 4))
    np.testing.assert_allclose(y, ahead @ kernel, 1e-5, 1e-6)
    np.testing.assert_allclose(dx, (delta @ kernel.T) * back, 1e-5, 1e-6)
    np.testing.assert_allclose(dw, (x * back).T @ delta, 1e-5, 1e-5)
    np.testing.assert_allclose(db, 6)


def test_each_call_advances_the_seed_once_and_redraws():
    layer = MaskedInput(layers.Dense(4), AugmentedDropout(0.5, seed=1))
    first, second = (layer(np.ones((2, 8)), training=True) for _ in range(2))
    assert np.any(ops.convert_to_numpy(first != second))
    state = ops.convert_to_numpy(layer.dropout.seed_generator.state)
    assert state.tolist() == [1, 2]


@pytest.mark.parametrize("training", [False, None])
def test_inference_is_the_layer(training):
    dense = layers.Dense(4, activation="relu")
    layer = MaskedInput(dense, AugmentedDropout(0.5))
    x = np.random.default_rng(0).normal(size=(3, 5))
    assert_equal(layer(x, training=training), dense(x))
    state = ops.convert_to_numpy(layer.dropout.seed_generator.state)
    assert state[1] == 0


def test_rate_0_is_the_layer():
    dense = layers.Dense(4, activation="relu")
    layer = MaskedInput(dense, AugmentedDropout(0))
    x = np.random.default_rng(0).normal(size=(3, 5))
    assert_equal(layer(x, training=True), dense(x))


class Shifted(layers.Dense):
    def call(self, inputs):
        return super().call(inputs) ** 2


class Renamed(layers.Dense):
    pass


LIST = (
    "Dense, EinsumDense, Conv1D, Conv2D, Conv3D, Conv1DTranspose, "
    "Conv2DTranspose, Conv3DTranspose, DepthwiseConv1D, DepthwiseConv2D"
)


@pytest.mark.parametrize(
    "layer",
    [
        layers.LSTM(2),
        layers.BatchNormalization(),
        layers.Activation("relu"),
        Shifted(2),
        "dense",
        None,
    ],
)
def test_other_layers_are_refused_with_the_list(layer):
    with pytest.raises(
        ValueError,
        match=r"argument `layer`. Expected a linear layer, one of "
        + LIST
        + r". Received: layer=",
    ):
        MaskedInput(layer, AugmentedDropout(0.5))


@pytest.mark.parametrize("name", ["SeparableConv1D", "SeparableConv2D"])
def test_separable_convolutions_are_refused_with_the_reason(name):
    with pytest.raises(
        ValueError,
        match=f"{name} is two linear maps in a row, and its pointwise kernel "
        f"would need a second product.*Supported: {LIST}. Received: layer=<",
    ):
        MaskedInput(getattr(layers, name)(2, 3), AugmentedDropout(0.5))


@pytest.mark.parametrize(
    "dropout", [layers.Dropout(0.5), 0.5, None, GAAF("tanh")]
)
def test_other_dropout_is_refused(dropout):
    with pytest.raises(
        ValueError, match="argument `dropout`. Expected a masking layer of"
    ):
        MaskedInput(layers.Dense(2), dropout)


def test_lora_is_refused_also_when_it_comes_later():
    with pytest.raises(ValueError, match="LoRA enabled.*Received: layer=<"):
        MaskedInput(layers.Dense(2, lora_rank=1), AugmentedDropout(0.5))
    layer = MaskedInput(layers.Dense(2), AugmentedDropout(0.5))
    layer.build((None, 3))
    layer.layer.enable_lora(1)
    layer(np.ones((2, 3)))
    with pytest.raises(ValueError, match="LoRA enabled"):
        layer(np.ones((2, 3)), training=True)


def test_quantized_layers_are_refused_also_when_they_become_so():
    dense = layers.Dense(2, dtype="int8_from_float32")
    with pytest.raises(ValueError, match="quantized layer.*Received: layer=<"):
        MaskedInput(dense, AugmentedDropout(0.5))
    layer = MaskedInput(layers.Dense(2), AugmentedDropout(0.5))
    layer.build((None, 3))
    layer.layer.quantize("int8")
    with pytest.raises(ValueError, match="quantized layer"):
        layer(np.ones((2, 3)), training=True)


def test_an_activity_regularizer_of_its_own_is_refused():
    with pytest.raises(ValueError, match="Expected that of `layer`"):
        MaskedInput(
            layers.Dense(2), AugmentedDropout(0.5), activity_regularizer="l2"
        )


def test_another_dtype_is_refused():
    with pytest.raises(
        ValueError,
        match="argument `dtype`. Expected the dtype policy of `layer`, "
        "'float32'. Received: dtype='mixed_bfloat16'",
    ):
        MaskedInput(
            layers.Dense(2), AugmentedDropout(0.5), dtype="mixed_bfloat16"
        )


class Failing(layers.Conv2D):
    def convolution_op(self, inputs, kernel):
        raise ZeroDivisionError


def test_an_exception_leaves_the_wrapped_layer_as_it_was():
    conv = Failing(2, 1, activation="tanh", activity_regularizer="l2")
    before = dict(vars(conv))
    layer = MaskedInput(conv, AugmentedDropout(0.5))
    layer.build((None, 4, 4, 3))
    with pytest.raises(ZeroDivisionError):
        layer(np.ones((2, 4, 4, 3)), training=True)
    assert conv.activation is before["activation"]
    assert conv.activity_regularizer is before["activity_regularizer"]


def test_subclasses_of_the_linear_layers_are_taken():
    layer = MaskedInput(Renamed(2), AugmentedDropout(0.5))
    assert layer(np.ones((2, 3)), training=True).shape == (2, 2)


def test_the_activity_regularizer_sees_the_output_once():
    def build(dense):
        return keras.Sequential([keras.Input((8,)), *dense])

    dense = layers.Dense(4, activation="relu", activity_regularizer="l2")
    masked = build([MaskedInput(dense, AugmentedDropout(0.5, seed=1))])
    plain = build([AugmentedDropout(0.5, seed=1), dense])
    x = np.ones((2, 8))
    for training in (True, False):
        y = ops.convert_to_numpy(plain(x, training=training))
        (expected,) = map(number, plain.losses)
        # Keras divides by the batch size since 3.14.
        ratio = expected / (0.01 * np.sum(y**2))
        assert min(abs(ratio - 1), abs(ratio - 0.5)) < 1e-5
        masked(x, training=training)
        assert [number(loss) for loss in masked.losses] == [expected]
    assert dense.activity_regularizer is not None
    clone = keras.models.clone_model(masked)
    clone(x)
    assert len(clone.losses) == 1


@pytest.mark.parametrize("activation", ["tanh", GAAF("tanh", amplitude=9)])
def test_the_layer_may_be_used_elsewhere(activation, vjp):
    dense = layers.Dense(4, activation=activation)
    first, second = (
        MaskedInput(dense, AugmentedDropout(0.5, seed=seed)) for seed in (1, 2)
    )
    x = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")
    expected = vjp(dense, x)
    assert not np.array_equal(first(x, training=True), second(x, training=True))
    for got, want in zip(vjp(dense, x), expected, strict=True):
        np.testing.assert_array_equal(got, want)
    assert len(first.trainable_variables) == 2
    assert first.trainable_variables[0] is second.trainable_variables[0]


def test_gaaf_as_the_activation_is_in_training(vjp):
    x = np.full((1, 3), 5, "float32")
    slopes = []
    for amplitude in (0.0, 1e6):
        dense = layers.Dense(
            2,
            activation=GAAF("tanh", amplitude=amplitude),
            kernel_initializer="ones",
        )
        layer = MaskedInput(dense, BackwardDropout(0))
        layer.build((None, 3))
        _, dx = vjp(layer, x)
        slopes.append(np.abs(dx).max())
    assert slopes[1] > 1e3 * slopes[0]


def test_a_frozen_layer_passes_the_error_and_stays(vjp):
    dense = layers.Dense(4, trainable=False)
    layer = MaskedInput(dense, AugmentedDropout(0.5, 0.3, seed=1))
    model = keras.Sequential([keras.Input((8,)), layers.Dense(8), layer])
    assert len(model.trainable_variables) == 2
    before = model.get_weights()
    model.compile("sgd", "mse")
    model.fit(np.ones((8, 8)), np.ones((8, 4)), verbose=0)
    after = model.get_weights()
    assert not np.array_equal(after[0], before[0])
    np.testing.assert_array_equal(after[2], before[2])
    layer.trainable = False  # True to True would reach nothing in Keras
    layer.trainable = True
    assert len(model.trainable_variables) == 4


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy, vjp, mode):
    dense = layers.Dense(4, dtype=policy)
    layer = MaskedInput(dense, ForwardDropout(0.5, seed=1, dtype=policy))
    assert layer.dtype_policy.name == policy
    layer.build((None, 8))
    assert layer.variables[0].dtype == "float32"
    x = np.random.default_rng(0).normal(size=(4, 8)).astype("float32")
    y, dx, dw, db = run_vjp(vjp, layer, x, np.ones((4, 4)), mode)
    assert y.dtype.name == policy.removeprefix("mixed_")
    assert dw.dtype.name == "float32"
    expected = np.repeat(x.sum(0)[:, None], 4, 1)
    np.testing.assert_allclose(dw, expected, 0.05, 0.05)


def test_constraint_and_regularizer_of_the_kernel_hold():
    dense = layers.Dense(
        4,
        kernel_constraint=keras.constraints.MaxNorm(0.1),
        kernel_regularizer=keras.regularizers.L2(0.5),
    )
    layer = MaskedInput(dense, AugmentedDropout(0.5))
    model = keras.Sequential([keras.Input((8,)), layer])
    kernel = dense.get_weights()[0]
    np.testing.assert_allclose(
        [number(loss) for loss in model.losses], [0.5 * np.sum(kernel**2)], 1e-5
    )
    model.compile("sgd", "mse")
    model.fit(np.ones((8, 8)), np.ones((8, 4)), verbose=0)
    norms = np.linalg.norm(dense.get_weights()[0], axis=0)
    assert norms.max() <= 0.1 + 1e-6


def test_a_keras_mask_passes():
    model = keras.Sequential(
        [
            keras.Input((3, 2)),
            layers.Masking(),
            MaskedInput(layers.Dense(4), AugmentedDropout(0.5)),
        ]
    )
    x = np.array([[[1, 1], [0, 0], [1, 1]]], "float32")
    for training in (True, False):
        outputs = model(x, training=training)
        mask = ops.convert_to_numpy(outputs._keras_mask)
        assert mask.tolist() == [[True, False, True]]


def build_model():
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, activation="relu", padding="same")(inputs)
    conv = layers.Conv2D(4, 3, activation="relu", kernel_regularizer="l2")
    x = MaskedInput(conv, Jumpout(0.2, rescale="mean", seed=1))(x)
    x = layers.Flatten()(x)
    dense = layers.Dense(3, name="logits")
    x = MaskedInput(dense, AugmentedDropout(0.5, 1e-4, seed=2), name="top")(x)
    return keras.Model(inputs, x)


def test_save_load_and_clone(tmp_path):
    model = build_model()
    model.compile("sgd", "mse")
    x, y = np.random.default_rng(0).normal(size=(8, 8, 8, 1)), np.ones((8, 3))
    model.fit(x, y, verbose=0)
    expected = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone.predict(x, verbose=0), expected)
    # Training goes on where it was, masks and all.
    for other in (model, loaded):
        other.fit(x, y, verbose=0, shuffle=False)
    for one, other in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(
            ops.convert_to_numpy(one), ops.convert_to_numpy(other)
        )
    assert loaded.get_layer("top").layer.name == "logits"
    assert loaded.get_layer("top").dropout.backward_rate == 1e-4


def test_used_twice_it_is_shared_after_loading(tmp_path):
    # Not so one layer in two wrappers: Keras saves no wrapper of such a kind.
    masked = MaskedInput(layers.Dense(8), AugmentedDropout(0.5))
    inputs = keras.Input((8,))
    model = keras.Model(inputs, masked(masked(inputs)))
    assert model.count_params() == 72
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.count_params() == 72
    x = np.ones((2, 8))
    np.testing.assert_array_equal(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0)
    )


# torch.compile takes no Keras layers.
@pytest.mark.full
@pytest.mark.parametrize(
    "jit_compile", [False] if BACKEND == "torch" else [False, True]
)
def test_fit_learns(jit_compile):
    model = build_model()
    model.compile(
        keras.optimizers.Adam(1e-2),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=jit_compile,
    )
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 96)
    x = rng.normal(size=(96, 8, 8, 1)) + y[:, None, None, None]
    model.fit(x, y, epochs=24, verbose=0)
    assert model.evaluate(x, y, verbose=0)[1] > 0.8
