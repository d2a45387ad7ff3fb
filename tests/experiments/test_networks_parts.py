import keras
import numpy as np
import pytest

from keras_dropx.experiments import networks
from keras_dropx.experiments.networks import parts


def images(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def evaluate(model, x, *names):
    """Returns what the named layers put out in inference."""
    outputs = [model.get_layer(name).output for name in names]
    values = keras.Model(model.input, outputs)(x)
    return [keras.ops.convert_to_numpy(value) for value in values]


def inputs_of(model, name):
    """Returns the names of the layers that the named layer takes."""
    tensors = keras.tree.flatten(model.get_layer(name).input)
    return [
        x.name for tensor in tensors for x in model.layers if x.output is tensor
    ]


def caffe_pool(x, reduce):
    """Pools 3 × 3 at stride 2 as Caffe's pooling_layer.cpp does."""
    size = x.shape[1]
    outputs = int(np.ceil((size - 3) / 2)) + 1
    y = np.empty((x.shape[0], outputs, outputs, x.shape[3]), x.dtype)
    for row in range(outputs):
        for column in range(outputs):
            bottom, right = min(2 * row + 3, size), min(2 * column + 3, size)
            window = x[:, 2 * row : bottom, 2 * column : right]
            y[:, row, column] = reduce(window, axis=(1, 2))
    return y


@pytest.mark.parametrize("size", [2, 3, 4, 5, 8, 15, 32])
def test_pools_are_those_of_caffe(size):
    # Negative, so that a zero in the padding would win the maximum.
    x = -np.abs(images(2, size, size, 3))
    for layer, reduce in [
        (keras.layers.MaxPooling2D, np.max),
        (keras.layers.AveragePooling2D, np.mean),
    ]:
        y = parts.overlapping_pool(layer, keras.ops.convert_to_tensor(x), "p")
        expected = caffe_pool(x, reduce)
        assert y.shape == expected.shape
        np.testing.assert_allclose(y, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["convnet_quick", "nin", "srivastava_convnet"])
def test_networks_pool_as_caffe_does(name):
    model = getattr(networks, name)((12, 12, 1), 7, scale=0.1)
    x = images(2, 12, 12, 1)
    pools = [x.name for x in model.layers if x.name.startswith("pool")]
    assert len(pools) == (2 if name == "nin" else 3)
    for number, pool in enumerate(pools):
        [before] = inputs_of(model, pool)
        given, taken = evaluate(model, x, before, pool)
        average = number and name != "srivastava_convnet"
        expected = caffe_pool(given, np.mean if average else np.max)
        np.testing.assert_allclose(taken, expected, rtol=1e-4, atol=1e-6)


def test_pools_of_lenet_round_up():
    model = networks.lenet((15, 15, 1), 7)
    assert model.get_layer("pool_1").output.shape == (None, 6, 6, 20)
    assert model.get_layer("pool_2").output.shape == (None, 1, 1, 50)


@pytest.mark.parametrize("shape", [(8, 8, 1), (7, 10, 1)])
def test_option_a_takes_every_second_pixel_and_appends_zeros(shape):
    model = networks.resnet20(shape, 7, scale=0.5)
    for block, channels in [(4, (8, 16)), (7, (16, 32))]:
        before, after = evaluate(
            model,
            images(2, *shape),
            f"block_{block - 1}_relu_2",
            f"block_{block}_shortcut",
        )
        assert (before.shape[-1], after.shape[-1]) == channels
        expected = np.zeros_like(after)
        expected[..., : channels[0]] = before[:, ::2, ::2]
        np.testing.assert_array_equal(after, expected)
    shortcuts = [x.name for x in model.layers if x.name.endswith("_shortcut")]
    assert shortcuts == ["block_4_shortcut", "block_7_shortcut"]


@pytest.mark.parametrize("size", [3, 7])
@pytest.mark.parametrize("shape", [(8, 8), (7, 9)])
def test_strided_windows_are_centred_on_every_second_pixel(size, shape):
    inputs = keras.Input((*shape, 1))
    model = keras.Model(inputs, parts.residual_conv(inputs, 1, size, 2, "conv"))
    kernel = np.zeros((size, size, 1, 1), "float32")
    kernel[size // 2, size // 2] = 1
    model.get_layer("conv").kernel.assign(kernel)
    x = images(2, *shape, 1)
    np.testing.assert_array_equal(model(x), x[:, ::2, ::2])


def test_all_cnn_halves_as_its_paper_says():
    model = networks.all_cnn((32, 32, 3), 10, scale=0.1)
    sizes = [model.get_layer(f"conv_{n}").output.shape[1] for n in range(1, 10)]
    assert sizes == [32, 32, 16, 16, 16, 8, 6, 6, 6]


@pytest.mark.parametrize(
    ("name", "last"), [("all_cnn", "conv_9_relu"), ("nin", "block_3_relu_3")]
)
def test_logits_of_fully_convolutional_networks_are_averages(name, last):
    model = getattr(networks, name)((12, 12, 1), 7, scale=0.5)
    maps, logits = evaluate(model, 9 * images(2, 12, 12, 1), last, "logits")
    assert maps.shape[-1] == 7 and maps.max() > 0
    np.testing.assert_allclose(logits, maps.mean((1, 2)), rtol=1e-5)


def test_residual_blocks_fork_where_the_papers_say():
    wide = networks.wide_resnet((8, 8, 1), 7, depth=16, width=2)
    # Channels change in the first block of each stage.
    for block in (1, 3, 5):
        relu = f"block_{block}_relu_1"
        assert inputs_of(wide, f"block_{block}_shortcut") == [relu]
        assert inputs_of(wide, f"block_{block}_add")[0] == (
            f"block_{block}_shortcut"
        )
    for block in (2, 4, 6):
        before = f"block_{block - 1}_add"
        assert inputs_of(wide, f"block_{block}_add")[0] == before
    narrow = networks.wide_resnet((8, 8, 1), 7, depth=10, width=1)
    assert inputs_of(narrow, "block_1_add")[0] == "conv"
    preact = networks.preact_resnet20((8, 8, 1), 7)
    assert inputs_of(preact, "block_1_add")[0] == "block_1_relu_1"
    assert inputs_of(preact, "block_2_add")[0] == "block_1_add"
    assert inputs_of(preact, "block_4_shortcut") == ["block_4_relu_1"]
    for name in ("resnet20", "resnet18"):
        model = getattr(networks, name)((8, 8, 1), 7, scale=0.1)
        block = 4 if name == "resnet20" else 3
        end = "" if name == "resnet20" else "_bn"
        assert inputs_of(model, f"block_{block}_add") == [
            f"block_{block}_shortcut{end}",
            f"block_{block}_bn_2",
        ]
        assert inputs_of(model, "block_1_add")[1] == "block_1_bn_2"
        assert inputs_of(model, "block_2_add")[0] == "block_1_relu_2"


@pytest.mark.parametrize(
    ("name", "strided"),
    [
        ("resnet20", [4, 7]),
        ("preact_resnet20", [4, 7]),
        ("resnet18", [3, 5, 7]),
        ("wide_resnet", [2, 3]),
    ],
)
def test_residual_networks_have_their_strides_and_no_bias(name, strided):
    options = {"scale": 0.1}
    if name == "wide_resnet":
        options = {"depth": 10, "width": 1}
    model = getattr(networks, name)((16, 16, 1), 7, **options)
    convs = [x for x in model.layers if isinstance(x, keras.layers.Conv2D)]
    assert not any(x.use_bias for x in convs)
    assert strided == [
        int(x.name.split("_")[1])
        for x in convs
        if x.name.endswith("_conv_1") and x.strides == (2, 2)
    ]
    stem = convs[0]
    assert stem.strides == ((2, 2) if name == "resnet18" else (1, 1))
    norms = [
        x
        for x in model.layers
        if isinstance(x, keras.layers.BatchNormalization)
    ]
    assert {(x.momentum, x.epsilon) for x in norms} == {(0.9, 1e-5)}


@pytest.mark.parametrize(
    ("name", "layers"),
    [("cifar10_small", 6), ("gaaf_svhn_cnn", 6), ("gaaf_vgg", 12)],
)
def test_batch_norm_stands_in_front_of_each_relu(name, layers):
    build = getattr(networks, name)
    model = build((8, 8, 1), 7, batch_norm=True, scale=0.1)
    hidden = [x.name for x in model.layers if hasattr(x, "kernel")][:-1]
    assert len(hidden) == layers
    for name in hidden:
        assert not model.get_layer(name).use_bias
        assert inputs_of(model, f"{name}_bn") == [name]
        assert inputs_of(model, f"{name}_relu") == [f"{name}_bn"]
    model = build((8, 8, 1), 7, batch_norm=False, scale=0.1)
    for name in hidden:
        assert model.get_layer(name).use_bias
        assert inputs_of(model, f"{name}_relu") == [name]


def std(model, name):
    return np.std(keras.ops.convert_to_numpy(model.get_layer(name).kernel))


def test_weights_begin_as_in_the_originals():
    # Five standard errors of a standard deviation: 5 / √(2n), n ≥ 800.
    def close(value, expected):
        return abs(value / expected - 1) < 0.125

    keras.utils.set_random_seed(0)
    names = ("conv_1", "conv_2", "conv_3", "hidden_1", "logits")
    stddevs = (0.0001, 0.01, 0.01, 0.1, 0.1)
    for scale in (1.0, 0.25):
        model = networks.convnet_quick((32, 32, 3), 100, scale=scale)
        for name, stddev in zip(names, stddevs, strict=True):
            narrow = 1 if name == "conv_1" else scale**-0.5
            assert close(std(model, name), stddev * narrow), (name, scale)
    model = networks.nin((8, 8, 3), 10, scale=0.25)
    assert close(std(model, "block_1_conv_1"), 0.05)
    assert close(std(model, "block_2_conv_1"), 0.1)
    assert close(std(model, "block_3_conv_2"), 0.1)
    for network in (networks.resnet20, networks.preact_resnet20):
        model = network((8, 8, 3), 10)
        assert close(std(model, "block_9_conv_2"), np.sqrt(2 / (9 * 64)))
        # Fan-out, not fan-in.
        assert close(std(model, "block_4_conv_1"), np.sqrt(2 / (9 * 32)))
    model = networks.lenet((28, 28, 1), 10)
    for name, fan_in in [("conv_2", 500), ("hidden_1", 800), ("logits", 500)]:
        kernel = np.array(model.get_layer(name).kernel)
        limit = np.sqrt(3 / fan_in)
        assert 0.99 * limit < np.abs(kernel).max() <= limit
    model = networks.cifar10_small((8, 8, 3), 10)
    for name, fans in [("conv_3", 9 * (64 + 128)), ("hidden_2", 512)]:
        assert close(std(model, name), np.sqrt(4 / fans))
    assert close(std(model, "logits"), np.sqrt(2 / 266))
    model = networks.srivastava_mlp((28, 28, 1), 10)
    assert close(std(model, "hidden_1"), np.sqrt(1 / 784))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("srivastava_mlp", {"units": (9, 9, 9)}),
        ("srivastava_convnet", {"scale": 0.05}),
    ],
)
@pytest.mark.parametrize("limit", [None, "default", 0.5])
def test_max_norm_bounds_the_weights_into_each_unit(name, options, limit):
    if limit != "default":
        options = {**options, "max_norm": limit}
    else:
        limit = {"srivastava_mlp": 2.0, "srivastava_convnet": 4.0}[name]
    model = getattr(networks, name)((8, 8, 1), 7, **options)
    trained = [x for x in model.layers if hasattr(x, "kernel")]
    for layer in trained:
        layer.kernel.assign(keras.ops.ones_like(layer.kernel) * 9.0)
    model.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
    model.train_on_batch(np.zeros((2, 8, 8, 1)), np.zeros((2, 7)))
    for layer in trained:
        kernel = np.array(layer.kernel)
        norms = np.sqrt(np.sum(kernel**2, axis=tuple(range(kernel.ndim - 1))))
        if limit is None:
            assert np.all(kernel == 9.0)
        else:
            np.testing.assert_allclose(norms, limit, rtol=1e-5)
