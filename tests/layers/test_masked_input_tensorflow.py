"""Compiled, the exact form has the products of the plain layer, no more."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.python.eager import context

from keras_dropx.layers import AugmentedDropout, MaskedInput

LAYERS = {
    "dense": ((4, 5), lambda: layers.Dense(3, "relu")),
    "einsum": ((4, 3, 5), lambda: layers.EinsumDense("abc,cd->abd", (3, 6))),
    "conv1d": ((4, 9, 3), lambda: layers.Conv1D(5, 3, padding="causal")),
    "conv2d": ((4, 9, 9, 3), lambda: layers.Conv2D(5, 3, activation="relu")),
    "conv3d": ((2, 5, 5, 5, 3), lambda: layers.Conv3D(4, 2)),
    "transpose": ((4, 5, 5, 3), lambda: layers.Conv2DTranspose(4, 3)),
    "depthwise": ((4, 9, 9, 3), lambda: layers.DepthwiseConv2D(3)),
}
GRAPH = re.compile("MatMul|Einsum|Conv[123]D|DepthwiseConv2d")
XLA = re.compile(r"= \S+ (?:dot|convolution)\(|__onednn|__cpu\$|custom-call\(")


def train_step(layer, shape, jit_compile):
    # Below a trainable layer, so that the error is sent down too.
    below = layers.Dense(shape[-1])
    model = keras.Sequential([keras.Input(shape[1:]), below, layer])

    @tf.function(jit_compile=jit_compile)
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(x, training=True) ** 2)
        return tape.gradient(loss, model.trainable_weights)

    return step, model


def products_in_graph(step, x):
    """Counts the products of the graph that TensorFlow really runs."""
    context.enable_run_metadata()
    try:
        step(x)
        graphs = context.export_run_metadata().function_graphs
    finally:
        context.disable_run_metadata()
    return sum(
        bool(GRAPH.search(node.op))
        for functions in graphs
        for node in functions.post_optimization_graph.node
    )


def products_in_hlo(step, x):
    hlo = step.experimental_get_compiler_ir(x)(stage="optimized_hlo")
    return len(XLA.findall(hlo))


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(
    "count, jit_compile",
    [(products_in_graph, False), (products_in_hlo, True)],
)
def test_no_more_products_than_the_plain_layer(kind, count, jit_compile):
    shape, build = LAYERS[kind]
    x = tf.constant(np.ones(shape, "float32"))
    plain, _ = train_step(build(), shape, jit_compile)
    masked = MaskedInput(build(), AugmentedDropout(0.5, 1e-4, seed=1))
    ours, _ = train_step(masked, shape, jit_compile)
    # Below: forward and kernel gradient. Above: three.
    assert count(plain, x) == 5
    assert count(ours, x) == 5


@pytest.mark.parametrize(
    "count, jit_compile",
    [(products_in_graph, False), (products_in_hlo, True)],
)
def test_the_count_sees_a_product_more(count, jit_compile):
    shape, build = LAYERS["conv2d"]
    x = tf.constant(np.ones(shape, "float32"))
    step, model = train_step(build(), shape, jit_compile)

    @tf.function(jit_compile=jit_compile)
    def more(x):
        return step(x), model(x + 1)

    assert count(more, x) == count(step, x) + 2
