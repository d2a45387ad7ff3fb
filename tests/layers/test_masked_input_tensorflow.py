"""What TensorFlow makes of the exact form: its products, its order."""

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


def graphs_that_run(function, *arguments):
    """Calls a function and returns the graphs after TensorFlow's optimizer."""
    context.enable_run_metadata()
    try:
        function(*arguments)
        graphs = context.export_run_metadata().function_graphs
    finally:
        context.disable_run_metadata()
    return [functions.post_optimization_graph for functions in graphs]


def products_in_graph(step, x):
    return sum(
        bool(GRAPH.search(node.op))
        for graph in graphs_that_run(step, x)
        for node in graph.node
    )


def products_in_hlo(step, x):
    hlo = step.experimental_get_compiler_ir(x)(stage="optimized_hlo")
    return len(XLA.findall(hlo))


@pytest.mark.few(4)
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


def unordered_reads(graph):
    """Names the reads of variables that may come before or after an update."""
    nodes = {node.name: node for node in graph.node}
    sources = {
        node.name: [name.lstrip("^").split(":")[0] for name in node.input]
        for node in graph.node
        if node.op != "NextIteration"
    }
    updates = [n for n in graph.node if n.op.startswith("Assign")]
    assert updates

    def origin(name):
        while nodes[name].op in ("Identity", "Enter", "Switch", "Merge"):
            name = sources[name][0]
        return name

    def ancestors(name):
        found, rest = set(), [name]
        while rest:
            for source in sources.get(rest.pop(), ()):
                if source not in found:
                    found.add(source)
                    rest.append(source)
        return found

    before = {update.name: ancestors(update.name) for update in updates}
    return [
        read.name
        for read in graph.node
        if read.op == "ReadVariableOp"
        for update in updates
        if origin(sources[read.name][0]) == origin(sources[update.name][0])
        and read.name not in before[update.name]
        and update.name not in ancestors(read.name)
    ]


@pytest.mark.parametrize("steps_per_execution", [1, 3])
def test_reads_of_a_kernel_keep_their_order_to_its_update(steps_per_execution):
    """The error sent down goes through the kernel of this step, not the next.

    TensorFlow's graph optimizer dropped the order of a read whose forward
    product is pruned: training did not repeat to the bit.
    """
    inputs = x = keras.Input((5,))
    for _ in range(3):
        dropout = AugmentedDropout(0.5, 1e-4, seed=1)
        x = MaskedInput(layers.Dense(5), dropout)(x)
    model = keras.Model(inputs, x)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        "mse",
        steps_per_execution=steps_per_execution,
    )
    data = tf.data.Dataset.from_tensors((tf.ones((4, 5)), tf.ones((4, 5))))
    data = data.repeat(6)
    graphs = graphs_that_run(lambda: model.fit(data, shuffle=False, verbose=0))
    trains = [g for g in graphs if any("AssignAdd" in n.op for n in g.node)]
    assert trains
    for graph in trains:
        assert unordered_reads(graph) == []
