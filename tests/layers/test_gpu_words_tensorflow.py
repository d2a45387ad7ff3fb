import numpy as np
import pytest
import tensorflow as tf

from keras_dropx.layers import GAAF, AugmentedDropout, Jumpout
from keras_dropx.random import tensorflow as backend

LAYERS = {
    "standard": lambda: AugmentedDropout(0.25, seed=3),
    "extended": lambda: AugmentedDropout(0.25, 1e-4, seed=3),
    "jumpout": lambda: Jumpout(sigma=0.2, backward_rate=0.1, seed=3),
    "gaaf": lambda: GAAF("tanh"),
}


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_where_a_gpu_is_visible_the_masks_are_the_same(
    kind, jit_compile, monkeypatch
):
    def step(layer, x, dy):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return y, tape.gradient(y, x, dy)

    x, dy = (np.random.default_rng(n).normal(size=(37, 11)) for n in (0, 1))
    x, dy = (tf.constant(a, tf.float32) for a in (x, dy))
    expected = step(LAYERS[kind](), x, dy)
    monkeypatch.setattr(
        backend, "may_redraw", lambda: not tf.executing_eagerly()
    )
    layer = LAYERS[kind]()
    compiled = tf.function(
        lambda x, dy: step(layer, x, dy),
        input_signature=[tf.TensorSpec((None, 11))] * 2,
        jit_compile=jit_compile,
    )
    for ours, wanted in zip(compiled(x, dy), expected, strict=True):
        np.testing.assert_array_equal(ours == 0, wanted == 0)
        np.testing.assert_allclose(ours, wanted, rtol=1e-5)


@pytest.mark.parametrize(
    "layer, computed", [("standard", "iota"), ("gaaf", "tanh")]
)
def test_where_a_gpu_is_visible_the_backward_pass_computes_once_more(
    layer, computed, monkeypatch
):
    # Places of a draw's words, the activation: XLA would keep what is equal.
    monkeypatch.setattr(
        backend, "may_redraw", lambda: not tf.executing_eagerly()
    )
    layer = LAYERS[layer]()

    @tf.function(jit_compile=True)
    def step(x, dy):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return y, tape.gradient(y, x, dy)

    x = tf.ones((64, 128))
    program = step.experimental_get_compiler_ir(x, x)("optimized_hlo")
    assert program.count(f" {computed}(") >= 2
