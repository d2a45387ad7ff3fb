import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_dropx.layers import AugmentedDropout, BackwardDropout, Jumpout


def graph_and_ops(layer):
    """The traced forward and backward pass, and the types of its ops."""

    @tf.function(input_signature=[tf.TensorSpec((None, 32))])
    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return tape.gradient(y, x)

    graph = step.get_concrete_function().graph
    functions = graph.as_graph_def().library.function
    nodes = [node for f in functions for node in f.node_def]
    return graph, [op.type for op in graph.get_operations()] + [
        node.op for node in nodes
    ]


@pytest.mark.parametrize(
    "layer, draws",
    [
        (AugmentedDropout(0.25), 1),
        (AugmentedDropout(0.25, 0.25), 1),
        (AugmentedDropout(0.25, 1e-4), 2),
        (AugmentedDropout(0.25, 0.25, coupling="independent"), 2),
        (BackwardDropout(0.25), 1),
        (Jumpout(rate=0.25), 1),
        (Jumpout(sigma=0.25), 2),
        (Jumpout(rate=0.25, backward_rate=0.25), 1),
    ],
)
def test_each_stream_is_drawn_once(layer, draws):
    _, ops = graph_and_ops(layer)
    # Each draw of 64-bit words is cut once.
    assert ops.count("Bitcast") == draws


@pytest.mark.parametrize("jit_compile", [False, True])
def test_an_unknown_batch_size_draws_what_a_known_one_draws(jit_compile):
    layer = AugmentedDropout(0.25, 1e-4, seed=3)
    signature = [tf.TensorSpec((None, None, 7))]

    @tf.function(input_signature=signature, jit_compile=jit_compile)
    def call(x):
        return layer(x, training=True)

    other = AugmentedDropout(0.25, 1e-4, seed=3)
    for batch in (1, 3, 5):
        x = tf.ones((batch, batch + 1, 7))
        np.testing.assert_array_equal(call(x), other(x, training=True))
    assert call.experimental_get_tracing_count() == 1


def test_the_mask_is_kept_as_bool_for_the_backward_pass():
    layer = AugmentedDropout(0.25, 0.25)
    graph, _ = graph_and_ops(layer)
    selects = [op for op in graph.get_operations() if "Select" in op.type]
    assert len(selects) == 2
    assert all(op.inputs[0].dtype == tf.bool for op in selects)


@pytest.mark.full
def test_fit_trains_under_xla():
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(7, activation="relu"),
            Jumpout(sigma=0.3, backward_rate=1e-4),
            keras.layers.Dense(1),
        ]
    )
    model.compile("adam", "mse", jit_compile=True)
    x = np.random.default_rng(0).normal(size=(10, 5))
    history = model.fit(x, x[:, :1], batch_size=4, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_schedule_is_not_retraced(jit_compile):
    schedule = keras.optimizers.schedules.PolynomialDecay(0.0, 5, 0.5)
    layer = AugmentedDropout(schedule, 0.1)

    @tf.function(jit_compile=jit_compile)
    def call(x):
        return layer(x, training=True)

    shares = [np.mean(call(tf.ones((10_000,))) == 0) for _ in range(6)]
    np.testing.assert_allclose(shares, np.linspace(0, 0.5, 6), atol=0.03)
    assert call.experimental_get_tracing_count() == 1
