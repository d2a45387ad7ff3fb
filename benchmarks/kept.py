"""Bytes that a layer keeps from its forward to its backward pass.

Counted are the values that the compiled step makes without dy and reads for
what depends on dy, once each: masks, words, activations. Not counted are x,
the weights and the seed, which exist anyway, and constants.

In graph mode they are tensors of the traced function, before TensorFlow's
graph optimizer. Under XLA they are buffers between the kernels of the
compiled program, of a step in which dy depends on all of y: as in a network,
forward and backward pass cannot be fused into one loop. On PyTorch they are
the tensors that its tape saves.
"""

import math
import re
from typing import NamedTuple

_INSTRUCTION = re.compile(
    r"^\s*(ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*?)\)(?:, |$)"
)
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")


class Node(NamedTuple):
    """One operation of a program.

    Attributes:
        outputs: Dict of the names and bytes of its values.
        operands: Names of the values it reads.
        alias: Whether its values are those it reads, output by output (or,
            with one output, all of them).
    """

    outputs: dict
    operands: list
    alias: bool = False


def crossing_bytes(nodes, dy):
    """Adds up the values made without dy and read for what depends on it.

    Args:
        nodes: List of `Node` in the order of execution.
        dy: Name of a value.

    Returns:
        Integer.
    """
    late, roots, sizes, crossing = {dy}, {}, {}, set()
    for node in nodes:
        early = [name for name in node.operands if name not in late]
        if len(early) < len(node.operands):
            late.update(node.outputs)
            crossing.update(*(roots.get(name, ()) for name in early))
        elif node.alias and len(node.outputs) == len(node.operands):
            for output, operand in zip(
                node.outputs, node.operands, strict=True
            ):
                roots[output] = roots.get(operand, set())
        elif node.alias:
            (output,) = node.outputs
            roots[output] = set().union(
                *(roots.get(name, ()) for name in early)
            )
        else:
            sizes.update(node.outputs)
            roots.update({name: {name} for name in node.outputs})
    return sum(sizes[name] for name in crossing)


def saved_bytes(step, known):
    """Adds up what PyTorch saves for the backward pass.

    Args:
        step: Function without arguments that runs both passes.
        known: List of tensors that are there anyway.

    Returns:
        Integer; tensors that share memory are counted once.
    """
    import torch

    there = {tensor.untyped_storage().data_ptr() for tensor in known}
    sizes = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in there:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    return sum(sizes.values())


def graph_nodes(graph):
    """Lists the operations of a traced `tf.Graph` as `Node`."""
    for operation in graph.get_operations():
        free = operation.type in ("Placeholder", "Const")
        yield Node(
            {
                value.name: 0 if free else _tensor_bytes(value)
                for value in operation.outputs
            },
            [value.name for value in operation.inputs],
            operation.type in ("Identity", "IdentityN", "StopGradient")
            or (operation.type == "ReadVariableOp"),
        )


def _tensor_bytes(tensor):
    elements = tensor.shape.num_elements()
    known = elements is not None and tensor.dtype.size
    return elements * tensor.dtype.size if known else 0


def hlo_nodes(text):
    """Lists the instructions of the entry of an HLO module as `Node`.

    Calls, such as the command buffers of a GPU, are followed. What the
    program returns is left out: it is read after everything else.
    """
    blocks = re.split(r"\n(?=ENTRY|%)", text)
    names = (re.match(r"(ENTRY )?%?([\w.\-]+)", block) for block in blocks)
    computations, entry = {}, None
    for name, block in zip(names, blocks, strict=True):
        computations[name[2]] = re.sub(r"/\*.*?\*/", "", block).splitlines()
        entry = name[2] if name[1] else entry
    yield from _flat(computations, entry, None, "", {})


def _flat(computations, computation, arguments, prefix, tuples):
    """Lists the instructions of a computation; returns its result's name."""
    result = None
    for line in computations[computation]:
        found = _INSTRUCTION.match(line)
        if found is None:
            continue
        root, name, shape, opcode, inside = found.groups()
        if root and opcode == "tuple" and arguments is None:
            continue
        name = prefix + name
        operands = []
        if opcode == "parameter" and arguments is not None:
            operands, opcode = [arguments[int(inside)]], "bitcast"
        elif opcode not in ("parameter", "constant"):
            operands = [
                prefix + operand
                for operand in re.findall(r"%?([\w.\-]+)(?:,|$)", inside)
            ]
        if opcode == "call":
            callee = re.search(r"to_apply=%?([\w.\-]+)", line)[1]
            returned = yield from _flat(
                computations, callee, operands, f"{name}/", tuples
            )
            operands, opcode = [returned], "bitcast"
            tuples[name] = tuples.get(returned)
        if opcode == "tuple":
            tuples[name] = operands
        if opcode == "get-tuple-element" and tuples.get(operands[0]):
            index = int(re.search(r"index=(\d+)", line)[1])
            operands, opcode = [tuples[operands[0]][index]], "bitcast"
        free = opcode in ("parameter", "constant")
        yield Node(
            {name: 0 if free else _hlo_bytes(shape)},
            operands,
            opcode in ("bitcast", "tuple"),
        )
        result = name if root else result
    return result


def hlo_parameter(text, number):
    """Returns the name of a parameter of the entry of an HLO module."""
    entry = text[text.index("\nENTRY ") :]
    pattern = rf"^\s*(?:ROOT )?%?([\w.\-]+) = .* parameter\({number}\)"
    return re.search(pattern, entry, re.MULTILINE)[1]


def _hlo_bytes(shape):
    return sum(
        math.prod(int(size) for size in sizes.split(",") if size)
        * max(1, int(bits or 8) // 8)
        for _, bits, sizes in _ARRAY.findall(shape)
    )
