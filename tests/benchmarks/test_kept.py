import keras
import pytest

from benchmarks import kept, layers, operations
from benchmarks.kept import Node

SHAPE = (64, 32)
SIZE = 64 * 32

HLO = """HloModule step

%fused (p: f32[64,32]) -> pred[64,32] {
  ROOT %p = f32[64,32]{1,0} parameter(0)
}

ENTRY %main (dy: f32[64,32], x: f32[64,32]) -> (f32[64,32], f32[64,32]) {
  %dy = f32[64,32]{1,0} parameter(0)
  %x = f32[64,32]{1,0} parameter(1)
  %one = f32[] constant(1)
  %mask = pred[64,32]{1,0} fusion(%x), kind=kLoop, calls=%fused
  %flat = pred[2048]{0} bitcast(%mask)
  %unread = f32[64,32]{1,0} fusion(%x, %one), kind=kLoop, calls=%fused
  %loop = (s32[], u16[64,32]{1,0}) while(%x), condition=%a, body=%b
  %words = u16[64,32]{1,0} get-tuple-element(%loop), index=1
  %first = f32[64,32]{1,0} fusion(%dy, %flat, %one, %x), kind=kLoop, calls=%f
  %dx = f32[64,32]{1,0} fusion(%first, %mask, %words), kind=kLoop, calls=%f
  ROOT %tuple = (f32[64,32], f32[64,32]) tuple(%unread, %dx)
}
"""

# The forward and the backward pass in one command buffer.
HLO_WITH_CALL = """HloModule step

%buffer (p.0: f32[64,32], p.1: f32[64,32]) -> (f32[64,32], pred[64,32]) {
  %p.0 = f32[64,32]{1,0} parameter(0)
  %p.1 = f32[64,32]{1,0} parameter(1)
  %mask = pred[64,32]{1,0} fusion(%p.0), kind=kLoop, calls=%fused
  %late = f32[64,32]{1,0} fusion(%p.1, %p.0), kind=kLoop, calls=%fused
  ROOT %result = (f32[64,32]{1,0}, pred[64,32]{1,0}) tuple(%late, %mask)
}

ENTRY %main (dy: f32[64,32], x: f32[64,32]) -> f32[64,32] {
  %dy = f32[64,32]{1,0} parameter(0)
  %x = f32[64,32]{1,0} parameter(1)
  %both = (f32[64,32]{1,0}, pred[64,32]{1,0}) call(%x, %dy), to_apply=%buffer
  %late.1 = f32[64,32]{1,0} get-tuple-element(%both), index=0
  %mask.1 = pred[64,32]{1,0} get-tuple-element(%both), index=1
  ROOT %dx = f32[64,32]{1,0} fusion(%late.1, %mask.1), kind=kLoop, calls=%f
}
"""


class Where(keras.layers.Layer):
    def call(self, inputs):
        return keras.ops.where(inputs > 0, inputs * 2.0, 0.0)


def bytes_per_element(layer, mode="graph"):
    x = keras.random.normal(SHAPE, seed=0)
    model = keras.Sequential([layer])
    model(x)
    return operations.kept_bytes(model, x, x, mode) / SIZE


def test_a_value_that_crosses_counts_once():
    nodes = [
        Node({"x": 0}, []),
        Node({"dy": 0}, []),
        Node({"mask": 10}, ["x"]),
        Node({"alias": 10}, ["mask"], alias=True),
        Node({"forward_only": 1000}, ["mask"]),
        Node({"a": 500}, ["dy", "mask", "x"]),
        Node({"b": 500}, ["a", "alias"]),
    ]
    assert kept.crossing_bytes(nodes, "dy") == 10


def test_hlo_is_read():
    assert kept.hlo_parameter(HLO, 0) == "dy"
    found = kept.crossing_bytes(kept.hlo_nodes(HLO), "dy")
    assert found == (1 + 2) * SIZE


def test_calls_are_followed():
    found = kept.crossing_bytes(kept.hlo_nodes(HLO_WITH_CALL), "dy")
    assert found == SIZE


@pytest.mark.parametrize(
    "make, expected",
    [
        (layers.Copy, 0),
        (Where, 1),
        (lambda: keras.layers.Activation("tanh"), 4),
        (lambda: keras.layers.Dropout(0.5), 1),
    ],
    ids=["copy", "where", "tanh", "dropout"],
)
def test_known_layers_in_graph_mode(make, expected):
    assert bytes_per_element(make()) == expected


@pytest.mark.parametrize(
    "make, expected",
    [
        (layers.Copy, 0),
        (lambda: keras.layers.Activation("tanh"), 4),
        # Of the draw in 32 bits the mask is made twice.
        (lambda: layers.PhiloxDropout(0.5), 4),
    ],
    ids=["copy", "tanh", "dropout"],
)
def test_known_layers_under_xla(make, expected):
    # The number that makes dy depend on y is one of the values.
    assert bytes_per_element(make(), "xla") == pytest.approx(expected, abs=0.01)


def test_under_xla_dy_depends_on_all_of_y(monkeypatch):
    number_of, seen = operations._number_of, []

    def noted(y):
        seen.append(y.shape)
        return number_of(y)

    monkeypatch.setattr(operations, "_number_of", noted)
    bytes_per_element(layers.Copy(), "xla")
    assert {tuple(shape) for shape in seen} == {SHAPE}
