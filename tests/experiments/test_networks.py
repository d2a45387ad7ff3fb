import inspect

import keras
import numpy as np
import pytest

from keras_dropx.experiments import networks
from keras_dropx.layers import AugmentedDropout, MaskedInput

# The least height and width that a network takes, those of images only.
SMALLEST = {
    "all_cnn": 9,
    "cifar10_small": 4,
    "convnet_bn": 8,
    "convnet_quick": 8,
    "gaaf_svhn_cnn": 4,
    "gaaf_vgg": 8,
    "lenet": 13,
    "nin": 4,
    "preact_resnet20": 4,
    "resnet18": 8,
    "resnet20": 4,
    "srivastava_convnet": 8,
    "wide_resnet": 4,
}
SQUARE = ("convnet_quick", "nin", "srivastava_convnet")
MLPS = ("gaaf_mlp", "mlp", "srivastava_mlp")
SCALED = [
    name for name in SMALLEST if name not in ("convnet_bn", "wide_resnet")
]
# For each site the layers before and after it, from the input to the output.
SITES = {
    "all_cnn": [
        ("input", "conv_1"),
        ("conv_3_relu", "conv_4"),
        ("conv_6_relu", "conv_7"),
    ],
    "cifar10_small": [
        ("conv_1_relu", "conv_2"),
        ("conv_2_relu", "pool_1"),
        ("conv_3_relu", "conv_4"),
        ("conv_4_relu", "pool_2"),
        ("hidden_1_relu", "hidden_2"),
        ("hidden_2_relu", "logits"),
    ],
    "convnet_quick": [("flatten", "hidden_1"), ("hidden_1", "logits")],
    "gaaf_svhn_cnn": [
        ("hidden_1_relu", "hidden_2"),
        ("hidden_2_relu", "logits"),
    ],
    "gaaf_vgg": [("hidden_1_relu", "hidden_2"), ("hidden_2_relu", "logits")],
    "lenet": [("hidden_1_relu", "logits")],
    "nin": [("pool_1", "block_2_conv_1"), ("pool_2", "block_3_conv_1")],
    "preact_resnet20": [
        (f"block_{n}_relu_2", f"block_{n}_conv_2") for n in range(1, 10)
    ],
    "resnet18": [
        (f"block_{n}_relu_1", f"block_{n}_conv_2") for n in range(1, 9)
    ],
    "resnet20": [
        (f"block_{n}_relu_1", f"block_{n}_conv_2") for n in range(1, 10)
    ],
    "srivastava_convnet": [
        ("input", "conv_1"),
        ("pool_1", "conv_2"),
        ("pool_2", "conv_3"),
        ("pool_3", "flatten"),
        ("hidden_1_relu", "hidden_2"),
        ("hidden_2_relu", "logits"),
    ],
    "srivastava_mlp": [
        ("flatten", "hidden_1"),
        ("hidden_1_relu", "hidden_2"),
        ("hidden_2_relu", "hidden_3"),
        ("hidden_3_relu", "logits"),
    ],
    "wide_resnet": [
        (f"block_{n}_relu_2", f"block_{n}_conv_2") for n in range(1, 4)
    ],
}


def build(name, dropout=None, **options):
    """Returns a small network on the smallest images, and their shape."""
    size = max(8, SMALLEST.get(name, 8))
    shape = (size, size, 1)
    if name in SCALED:
        options.setdefault("scale", 0.1)
    elif name == "wide_resnet":
        options = {"depth": 10, "width": 1}
    elif name in MLPS:
        options.setdefault("units", (7,) * (2 if name == "mlp" else 3))
    return getattr(networks, name)(shape, 7, dropout, **options), shape


def neighbours(model, layer):
    """Returns the names of the layers before and after `layer`."""
    before = [x for x in model.layers if x.output is layer.input]
    after = [
        x.name
        for x in model.layers
        if any(tensor is layer.output for tensor in keras.tree.flatten(x.input))
        and x is not layer
    ]
    is_input = isinstance(before[0], keras.layers.InputLayer)
    return ["input" if is_input else before[0].name, *after]


def kernels(model):
    """Returns the kernels as arrays, from the input to the output."""
    return [
        keras.ops.convert_to_numpy(layer.kernel)
        for layer in model.layers
        if hasattr(layer, "kernel")
    ]


def test_every_network_is_listed_and_tested():
    assert {*SMALLEST, *MLPS} == set(networks.__all__)
    assert {*SITES, "convnet_bn", "gaaf_mlp", "mlp"} == set(networks.__all__)


@pytest.mark.few(6)
@pytest.mark.parametrize("name", networks.__all__)
def test_dropout_is_called_once_per_site_from_input_to_output(name):
    made = []

    def dropout():
        made.append(AugmentedDropout(0.5))
        return made[-1]

    model, shape = build(name, dropout)
    assert [x for x in model.layers if isinstance(x, AugmentedDropout)] == made
    assert model(np.zeros((2, *shape))).shape == (2, 7)
    assert build(name)[0].count_params() == model.count_params()
    if name in SITES:
        assert [tuple(neighbours(model, layer)) for layer in made] == SITES[
            name
        ]
    else:
        sites = {"mlp": 2, "convnet_bn": 3, "gaaf_mlp": 3}
        assert len(made) == sites[name]


def test_sites_of_gaaf_mlp_are_behind_its_activations():
    model, _ = build("gaaf_mlp", lambda: keras.layers.Dropout(0.5))
    assert [
        neighbours(model, layer)
        for layer in model.layers
        if isinstance(layer, keras.layers.Dropout)
    ] == [
        ["activation_1", "hidden_2"],
        ["activation_2", "hidden_3"],
        ["activation_3", "logits"],
    ]


@pytest.mark.parametrize(
    ("name", "layers", "default"),
    [("gaaf_mlp", 3, "tanh"), ("gaaf_vgg", 12, "relu")]
    + [("gaaf_svhn_cnn", 6, "relu")],
)
def test_gaaf_networks_take_an_activation(name, layers, default):
    made = []

    def activation():
        made.append(keras.layers.Activation("elu"))
        return made[-1]

    model, _ = build(name, activation=activation)
    found = [x for x in model.layers if isinstance(x, keras.layers.Activation)]
    assert found == made
    assert len(made) == layers
    plain = [
        layer
        for layer in build(name)[0].layers
        if isinstance(layer, (keras.layers.Activation, keras.layers.ReLU))
    ]
    assert len(plain) == layers
    x = np.array([[-1.0, 0.5]], "float32")
    expected = keras.activations.get(default)(x)
    for layer in plain:
        np.testing.assert_array_equal(layer(x), expected)


@pytest.mark.parametrize("name", networks.__all__)
def test_a_step_of_training_runs(name):
    model, shape = build(name, lambda: AugmentedDropout(0.1))
    model.compile(
        keras.optimizers.SGD(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=True,
    )
    before = [np.array(weight) for weight in model.trainable_weights]
    x = np.random.default_rng(0).normal(size=(8, *shape)).astype("float32")
    loss = model.train_on_batch(x, np.arange(8) % 7)
    assert np.isfinite(loss)
    changed = [
        np.any(old != np.array(new))
        for old, new in zip(before, model.trainable_weights, strict=True)
    ]
    assert any(changed)
    assert model.layers[-1].name == "logits"
    assert model.output.dtype == "float32"


@pytest.mark.few(4)
@pytest.mark.parametrize("name", networks.__all__)
def test_logits_are_float32_under_mixed_precision(name):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model, _ = build(name)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.output.dtype == "float32"
    assert model.layers[-2].output.dtype == "bfloat16"


@pytest.mark.few(4)
@pytest.mark.parametrize("name", SMALLEST)
def test_images_that_are_too_small_are_refused(name):
    network, size = getattr(networks, name), SMALLEST[name]
    options = {"depth": 10, "width": 1} if name == "wide_resnet" else {}
    options = {"scale": 0.1} if name in SCALED else options
    assert network((size, size, 1), 7, **options).output.shape == (None, 7)
    message = (
        rf"{name} takes (square )?images of at least {size} × {size} pixels, "
        r"\(height, width, channels\)\. Received: input_shape="
    )
    for shape in [(size - 1, size, 1), (64,), (None, None, 1)]:
        with pytest.raises(ValueError, match=message):
            network(shape, 7, **options)


@pytest.mark.few(4)
@pytest.mark.parametrize("name", SMALLEST)
def test_images_need_not_be_square_but_for_some(name):
    network, shape = getattr(networks, name), (16, 19, 2)
    options = {"depth": 10, "width": 1} if name == "wide_resnet" else {}
    options = {"scale": 0.1} if name in SCALED else options
    if name in SQUARE:
        with pytest.raises(ValueError, match=f"{name} takes square images"):
            network(shape, 7, **options)
    else:
        model = network(shape, 7, **options)
        assert model(np.zeros((2, *shape))).shape == (2, 7)


def test_wide_resnet_refuses_other_depths():
    for depth in (4, 15, 20):
        with pytest.raises(ValueError, match=rf"6 n \+ 4 .*depth={depth}"):
            networks.wide_resnet((8, 8, 1), 7, depth=depth)


@pytest.mark.few(4)
@pytest.mark.parametrize("name", SCALED)
def test_scale_leaves_one_channel_but_as_many_logits(name):
    model, _ = build(name, scale=1e-6)
    assert {kernel.shape[-1] for kernel in kernels(model)[:-1]} == {1}
    assert kernels(model)[-1].shape[-1] == 7
    full = inspect.signature(getattr(networks, name)).parameters["scale"]
    assert full.default == 1.0


@pytest.mark.few(4)
@pytest.mark.parametrize("name", [*SCALED, "wide_resnet", "srivastava_mlp"])
def test_layers_have_stable_names_and_kernels_of_their_own(name):
    model, _ = build(name)
    again, _ = build(name)
    assert [x.name for x in model.layers[1:]] == [
        x.name for x in again.layers[1:]
    ]
    made = kernels(model)
    for index, kernel in enumerate(made):
        assert not any(np.array_equal(kernel, x) for x in made[:index])


@pytest.mark.parametrize("exact", [False, True])
def test_exact_mlp_has_the_same_weights_in_the_same_order(exact):
    model = networks.mlp(
        (8, 8, 1), 7, lambda: AugmentedDropout(0.5), exact=exact
    )
    shapes = [weight.shape for weight in model.weights]
    assert shapes == [(64, 256), (256,), (256, 256), (256,), (256, 7), (7,)]
    masked = [x for x in model.layers if isinstance(x, MaskedInput)]
    assert len(masked) == 2 * exact
