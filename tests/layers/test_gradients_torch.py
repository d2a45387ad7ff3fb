import keras
import numpy as np
import pytest
import torch
from torch.autograd import forward_ad

from keras_dropx.layers import (
    GAAF,
    AugmentedDropout,
    BackwardDropout,
    ForwardDropout,
    Jumpout,
    MaskedInput,
)

LAYERS = {
    "augmented": lambda: AugmentedDropout(0.3, 0.2, seed=1),
    "independent": lambda: AugmentedDropout(
        0.3, 0.2, coupling="independent", seed=1
    ),
    "standard": lambda: AugmentedDropout(0.3, seed=1),
    "channels": lambda: AugmentedDropout(
        0.5, 0.2, noise_shape=(None, 1), seed=3
    ),
    "nothing": lambda: AugmentedDropout(0.0),
    "forward": lambda: ForwardDropout(0.3, seed=1),
    "backward": lambda: BackwardDropout(0.3, seed=1),
    "jumpout": lambda: Jumpout(sigma=0.2, per_sample=True, seed=1),
    "gaaf": lambda: GAAF("tanh"),
    "masked_input": lambda: MaskedInput(
        keras.layers.Dense(5), AugmentedDropout(0.3, 0.2, seed=1)
    ),
}
ELEMENTWISE = [kind for kind in LAYERS if kind not in ("gaaf", "masked_input")]


def layer_and_input(kind):
    """Returns a function that repeats one call, and an input."""
    layer = LAYERS[kind]()
    x = torch.tensor(np.random.default_rng(0).normal(size=(8, 5)).tolist())
    layer(x)
    start = [v.numpy() for v in layer.non_trainable_variables]

    def call(x):
        for variable, value in zip(
            layer.non_trainable_variables, start, strict=True
        ):
            variable.assign(value)
        return layer(x, training=True)

    return call, x.requires_grad_()


def gradient(y, x, dy):
    return torch.autograd.grad(y, x, dy, create_graph=True)[0]


@pytest.mark.parametrize("kind", LAYERS)
def test_what_follows_may_write_into_the_output(kind):
    call, x = layer_and_input(kind)
    expected = torch.relu(call(x))
    y = torch.relu_(call(x * 1.0))
    assert torch.equal(y, expected)
    dy = torch.ones_like(y)
    assert torch.equal(gradient(y, x, dy), gradient(expected, x, dy))


@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_forward_and_reverse_mode_have_one_jacobian(kind):
    call, x = layer_and_input(kind)
    v = torch.linspace(-1, 1, x.numel()).reshape(x.shape)
    with forward_ad.dual_level():
        y, tangent = forward_ad.unpack_dual(call(forward_ad.make_dual(x, v)))
    # A gradient is linear in dy; its derivative by dy is the Jacobian's.
    dy = torch.zeros_like(y, requires_grad=True)
    expected = torch.autograd.grad(gradient(call(x), x, dy), dy, v)[0]
    torch.testing.assert_close(tangent, expected)
    assert tangent.any()


@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_a_second_derivative_has_the_backward_noise_twice(kind):
    call, x = layer_and_input(kind)
    y = call(x)
    noise = gradient(y, x, torch.ones_like(y))
    second = torch.autograd.grad(gradient((y**3).sum(), x, None).sum(), x)[0]
    torch.testing.assert_close(second, 6 * y * noise**2)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_batch_of_gradients_is_what_each_is(kind):
    call, x = layer_and_input(kind)
    y = call(x)
    dy = torch.randn(3, *y.shape)
    batch = torch.autograd.grad(
        y, x, dy, is_grads_batched=True, retain_graph=True
    )[0]
    each = [gradient(y, x, one) for one in dy]
    torch.testing.assert_close(batch, torch.stack(each))


@pytest.mark.parametrize("kind", ["standard", "jumpout"])
def test_transforms_of_torch_func_take_the_layers_without_a_gradient(kind):
    layer = LAYERS[kind]()
    x = torch.randn(8, 5)
    layer(x)
    state = [v.value for v in layer.non_trainable_variables]

    def loss(x):
        return (layer.stateless_call([], state, x, training=True)[0] ** 2).sum()

    leaf = x.clone().requires_grad_()
    expected = torch.autograd.grad(loss(leaf), leaf)[0]
    torch.testing.assert_close(torch.func.grad(loss)(x), expected)
    _, tangent = torch.func.jvp(loss, (x,), (x,))
    torch.testing.assert_close(tangent, (expected * x).sum())


# torch.compile makes an instance of the function, which PyTorch warns of.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_gaaf_is_compiled_in_one_graph():
    layer, x = GAAF("tanh"), torch.randn(8, 5, requires_grad=True)
    layer(x)

    def call(x):
        return layer(x, training=True)

    compiled = torch.compile(call, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), call(x))


def test_numbers_that_pytorch_negates_later():
    x = torch.randn(8, 5, dtype=torch.complex64).conj().imag
    assert x.is_neg()
    y = AugmentedDropout(0.5, 0.2, seed=1)(x, training=True)
    kept = y != 0
    assert torch.equal(y[kept], 2 * x.resolve_neg()[kept])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("transposed", [False, True])
def test_what_is_dropped_is_zero_whatever_it_was(dtype, transposed):
    x = torch.full((64, 33), float("nan"), dtype=getattr(torch, dtype))
    x[::2], x[1::4] = float("inf"), -1.0
    x = x.T if transposed else x
    y = AugmentedDropout(0.5, seed=1, dtype=dtype)(x, training=True)
    kept = y != 0
    assert 0.4 < kept.float().mean() < 0.6
    torch.testing.assert_close(
        y[kept], 2 * x[kept], rtol=0, atol=0, equal_nan=True
    )
    assert not y[~kept].signbit().any()
