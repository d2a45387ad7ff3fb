"""Which measurements a run consists of, and how each is taken."""

import math
from typing import NamedTuple

from benchmarks import device, generators, goals, operations, train_steps

LEVELS = ("op", "train", "generators")
DTYPES = ("float32", "mixed_bfloat16")
SIZES = (2**16, 2**20, 2**24, 2**28)
GPU_SIZES = (2**26, 2**28)
NETWORKS = ("mlp", "convnet", "resnet20")
GPU_NETWORKS = ("resnet20", "wrn16_8")
GPU_BATCHES = (128, 256, 512, 1024)
QUICK_SIZES = (2**16, 2**20)
QUICK_NETWORKS = ("mlp", "convnet")


class Group(NamedTuple):
    """Subjects that are timed against each other.

    Attributes:
        level: One of `LEVELS`.
        network: Name of the network at level "train", else None.
        mode: "graph", "xla" or "eager".
        dtype: Name of a dtype policy.
        size: Number of elements, samples or words.
        subjects: Tuple of names.
        shape: Tuple of integers at level "op", else None.
    """

    level: str
    network: str | None
    mode: str
    dtype: str
    size: int
    subjects: tuple
    shape: tuple | None = None

    @property
    def label(self):
        size = self.size
        if self.shape is not None:
            size = "x".join(map(str, self.shape))
        parts = (self.level, self.network, self.mode, self.dtype, size)
        return "/".join(str(part) for part in parts if part is not None)


def full(levels, sizes=None, batches=None):
    """Plans all modes, dtypes and sizes on a CPU.

    Args:
        levels: Some of `LEVELS`.
        sizes: Numbers of elements, or None for `SIZES`.
        batches: Batch sizes, or None for each network's own.

    Returns:
        List of `Group`.
    """
    return _product(levels, DTYPES, sizes or SIZES, NETWORKS, batches)


def gpu(levels, sizes=None, batches=None):
    """Plans what is worth knowing on a GPU. Likewise."""
    groups = _product(
        levels,
        DTYPES,
        sizes or GPU_SIZES,
        GPU_NETWORKS,
        batches or GPU_BATCHES,
    )
    return [
        group
        for group in groups
        if group.level != "train" or group.dtype == "mixed_bfloat16"
    ]


def quick(levels, sizes=None, batches=None):
    """Plans what the goals need, at few sizes. Likewise."""
    subjects = {}
    for goal in goals.that_apply(device.describe()):
        if goal.level not in levels:
            continue
        names = (*filter(None, (goal.reference,)), *goal.subjects)
        if goal.level == "op":
            names = ("copy", "keras", *names)
            places = [
                ("op", None, goal.mode, goal.dtype, size)
                for size in sizes or QUICK_SIZES
                if goal.smallest <= size <= goal.largest
            ]
        else:
            places = [
                ("train", network, goal.mode, goal.dtype, batch)
                for network in goal.networks or QUICK_NETWORKS
                for batch in batches or (train_steps.BATCHES[network],)
            ]
        for place in places:
            subjects.setdefault(place, {}).update(dict.fromkeys(names))
    return [_group(*place, names) for place, names in subjects.items()]


def select(groups, text):
    """Keeps the subjects whose label contains a text, and their references."""
    selected = []
    for group in groups:
        names = [
            name for name in group.subjects if text in f"{group.label}/{name}"
        ]
        names = _with_references(group.level, names)
        names = tuple(name for name in group.subjects if name in names)
        if names:
            selected.append(group._replace(subjects=names))
    return selected


def references(level, subject):
    """Returns the names of what a subject is compared with."""
    if level == "op":
        return operations.references(subject)
    if level == "train":
        return train_steps.subjects()[subject]
    return () if subject == "write" else ("write",)


def _product(levels, dtypes, sizes, networks, batches):
    groups = []
    for mode in device.MODES[device.BACKEND]:
        for dtype in dtypes:
            if "op" in levels:
                names = tuple(operations.subjects())
                groups += [
                    _group("op", None, mode, dtype, size, names)
                    for size in sizes
                ]
            if "train" in levels:
                names = tuple(train_steps.subjects())
                groups += [
                    _group("train", network, mode, dtype, batch, names)
                    for network in networks
                    for batch in batches or (train_steps.BATCHES[network],)
                ]
        if "generators" in levels:
            names = tuple(generators.subjects(mode))
            groups += [
                _group("generators", None, mode, "uint16", size, names)
                for size in sizes
            ]
    return groups


def op_group(mode, dtype, shape, names):
    """Returns the `Group` of layers on one shape."""
    size = math.prod(shape)
    return Group("op", None, mode, dtype, size, tuple(names), shape)


def _group(level, network, mode, dtype, size, names):
    if level == "op":
        return op_group(mode, dtype, operations.shape_of(size), names)
    return Group(level, network, mode, dtype, size, tuple(names))


def _with_references(level, names):
    needed = {}
    for name in names:
        needed |= dict.fromkeys((*references(level, name), name))
    return tuple(needed)
