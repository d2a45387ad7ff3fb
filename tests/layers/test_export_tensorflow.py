"""What leaves Keras is the inference graph, without a random operation."""

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

from keras_dropx.layers import (
    GAAF,
    AugmentedDropout,
    BackwardDropout,
    ForwardDropout,
    Jumpout,
)

X = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")


@pytest.fixture
def model():
    return keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(8, activation=GAAF("tanh")),
            AugmentedDropout(0.5, 0.1),
            Jumpout(sigma=0.2),
            ForwardDropout(0.1),
            BackwardDropout(0.1),
            GAAF("relu"),
            keras.layers.Dense(2),
        ]
    )


def assert_plain(operations):
    """The layers are Dense, tanh, relu, Dense: nothing else may remain."""
    text = " ".join(operations).lower()
    for word in ("random", "bernoulli", "floor", "select", "where", "mod"):
        assert word not in text, operations
    assert "tanh" in text and "relu" in text


def test_saved_model(model, tmp_path):
    model.export(tmp_path / "model", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.serve(X), model.predict(X, verbose=0))
    graph = loaded.signatures["serving_default"].graph.as_graph_def()
    nodes = [*graph.node]
    for function in graph.library.function:
        nodes += function.node_def
    assert_plain([node.op for node in nodes])


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_litert(model, tmp_path):
    path = tmp_path / "model.tflite"
    model.export(str(path), format="litert", verbose=False)
    interpreter = tf.lite.Interpreter(str(path))
    index = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(index, X.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(index, X)
    interpreter.invoke()
    output = interpreter.get_output_details()[0]["index"]
    np.testing.assert_allclose(
        interpreter.get_tensor(output), model.predict(X, verbose=0), atol=1e-6
    )
    details = interpreter._get_ops_details()
    assert_plain([detail["op_name"] for detail in details])


@pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")
def test_onnx(model, tmp_path):
    path = tmp_path / "model.onnx"
    expected = model.predict(X, verbose=0)
    model.export(path, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(path)
    (output,) = session.run(None, {session.get_inputs()[0].name: X})
    np.testing.assert_allclose(output, expected, atol=1e-6)
    assert_plain([node.op_type for node in onnx.load(path).graph.node])
