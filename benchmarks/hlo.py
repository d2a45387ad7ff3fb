"""What the kernels of an optimised HLO module read and write."""

import math
import re
from typing import NamedTuple

_BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2}
_BYTES |= {"s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_INSTRUCTION = re.compile(
    r"^\s*(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*?)\)(?:, |$)"
)
# They give names to memory, and move nothing.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast"}
_COLLECTIVES = re.compile(
    r"all-(?:gather|reduce|to-all)|reduce-scatter|collective-permute"
)


class Program(NamedTuple):
    """What a compiled program does to memory.

    Attributes:
        kernels: Number of the kernels that are launched.
        moved: Bytes that they read and write, each operand and result once.
        collectives: List of the operations that exchange data of devices.
    """

    kernels: int
    moved: int
    collectives: list


def read(text):
    """Reads the text of an optimised HLO module, returns `Program`."""
    computations, entry = _computations(text)
    kernels = list(_kernels(computations, entry))
    return Program(
        len(kernels),
        sum(moved for _, moved in kernels),
        [opcode for opcode, _ in kernels if _COLLECTIVES.match(opcode)],
    )


def _computations(text):
    computations, entry, name = {}, None, None
    for line in text.splitlines():
        start = _COMPUTATION.match(line)
        if start:
            name = start[2]
            computations[name] = []
            entry = name if start[1] else entry
        elif line.startswith("}"):
            name = None
        elif name:
            computations[name].append(re.sub(r"/\*.*?\*/", "", line))
    return computations, entry


def _kernels(computations, computation):
    """Yields the opcode and the bytes of each kernel, through all calls."""
    shapes = {}
    for line in computations[computation]:
        found = _INSTRUCTION.match(line)
        if found is None:
            continue
        name, shape, opcode, operands = found.groups()
        shapes[name] = shape
        callees = re.findall(r"to_apply=%?([\w.\-]+)", line)
        if opcode == "call":
            for callee in callees:
                yield from _kernels(computations, callee)
        elif opcode not in _FREE:
            names = re.findall(r"%([\w.\-]+)", operands)
            read = sum(_size(shapes.get(operand, "")) for operand in names)
            yield opcode, read + _size(shape)


def _size(shape):
    return sum(
        _BYTES.get(kind, 0) * math.prod(int(n) for n in sizes.split(",") if n)
        for kind, sizes in _ARRAY.findall(shape)
    )
