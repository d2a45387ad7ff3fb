"""Counts the bytes that XLA's programs for a GPU move; no GPU is needed.

XLA compiles for a device that a file describes. What its kernels read and
write stands in the optimised program: counted, not timed. Needs the JAX backend
and the extra `gpu-plan`.
"""

import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import keras
import numpy as np
from jax.experimental import topologies
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks import device, gpu_subjects, hlo, train_steps

TARGET = Path(__file__).parent / "targets" / "h100.txtpb"
SHAPE = (4096, 4096)
MIB = 2**20
REFERENCES = ("none", "keras")
HEADER = "{:40s}  {:14s}  {:>8s}  {:>8s}  {:>8s}  {:>8s}  {:>9s}".format(
    "name", "dtype", "bytes", "/keras", "kept B", "kernels", "MiB"
)


class TargetError(Exception):
    """The description of a device is of no use."""


class Row(NamedTuple):
    """One compiled program.

    Attributes:
        name: What was compiled.
        dtype: Name of the dtype policy.
        program: `hlo.Program`, or None if XLA refused it.
        ratio: Bytes over those of a copy, or of the step without dropout.
        to_keras: Bytes over those with Keras' Dropout, or None.
        kept: Temporary bytes an element, or None.
        faults: List of strings, each a budget that is exceeded.
    """

    name: str
    dtype: str
    program: Any
    ratio: float | None = None
    to_keras: float | None = None
    kept: float | None = None
    faults: tuple = ()

    def line(self):
        cells = [
            f"{self.name:40s}",
            f"{self.dtype:14s}",
            *(
                f"{number:8.3f}" if number is not None else " " * 8
                for number in (self.ratio, self.to_keras, self.kept)
            ),
            f"{self.program.kernels:8d}" if self.program else " " * 8,
            f"{self.program.moved / MIB:9.1f}" if self.program else " " * 9,
        ]
        return "  ".join((*cells, *self.faults)).rstrip()


def plan(target=TARGET, text="", long=False):
    """Compiles everything and prints a line for each program.

    Args:
        target: Path of the device's description.
        text: Only what has this in its name is compiled.
        long: Boolean, whether to compile what takes a minute too.

    Returns:
        Tuple of integers, the number of programs and of those that exceed a
        budget or are refused.

    Raises:
        TargetError: If the description cannot be read, or XLA refuses it.
    """
    start, count, bad = time.perf_counter(), 0, 0
    try:
        config = Path(target).read_text()
        one, four = (devices(config, count) for count in (1, 4))
    except (OSError, UnicodeError, jax.errors.JaxRuntimeError) as error:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise TargetError(f"{target}: {why}") from None
    if not one[0].device_kind:  # The compiler would crash.
        raise TargetError(f"{target}: names no device")
    print(f"{one[0].device_kind}, counted, not timed")
    print(HEADER)
    steps = [
        step
        for step in gpu_subjects.STEPS
        if long or step[0] not in gpu_subjects.LONG
    ]
    for rows in (_operations(one[0]), _sharded(four), _steps(one[0], steps)):
        for row in rows(text):
            count += 1
            bad += bool(row.faults)
            print(row.line(), flush=True)
    print(f"{bad} over budget or refused, {time.perf_counter() - start:.0f} s")
    return count, bad


def devices(config, count):
    """Lists GPUs that a description stands for."""
    return topologies.get_topology_desc(
        platform="cuda", topology=f"1x1x{count}", target_config=config
    ).devices


def _operations(gpu):
    """Layers alone, over a copy."""
    sharding = jax.sharding.SingleDeviceSharding(gpu)

    def rows(text):
        for subject in gpu_subjects.LAYERS:
            for dtype in subject.dtypes:
                if text in subject.name:
                    yield layer_row(subject, dtype, sharding)

    return rows


def _sharded(gpus):
    """Layers on four devices, cut along each axis."""
    mesh = jax.sharding.Mesh(np.array(gpus), ("devices",))

    def rows(text):
        for subject in gpu_subjects.SHARDED:
            for axis in range(len(SHAPE)):
                name = f"{subject.name}, axis {axis} on four"
                if text in name:
                    cut = [None] * len(SHAPE)
                    cut[axis] = "devices"
                    yield layer_row(
                        subject._replace(name=name, budget=None),
                        "float32",
                        NamedSharding(mesh, PartitionSpec()),
                        NamedSharding(mesh, PartitionSpec(*cut)),
                    )

    return rows


def layer_row(subject, dtype, sharding, cut=None, compile_layer=None):
    """Compiles one layer.

    Args:
        subject: `gpu_subjects.Subject`.
        dtype: Name of the dtype policy.
        sharding: `jax.sharding.Sharding` of all but x and dy.
        cut: That of x and dy, if it is another one.
        compile_layer: What compiles it; None: the JAX backend.

    Returns:
        `Row`.
    """
    compile_layer = compile_layer or _compiled_layer
    shape = subject.shape or SHAPE
    try:
        with device.dtype_policy(dtype):
            compiled = compile_layer(subject.make(), shape, sharding, cut)
    except Exception as error:  # XLA's errors are of many types.
        return Row(subject.name, dtype, None, faults=(_refused(error),))
    program = hlo.read(compiled.as_text())
    bytes_each = 4 if dtype == "float32" else 2
    size = math.prod(shape)
    kept = compiled.memory_analysis().temp_size_in_bytes / size
    ratio = program.moved / (4 * size * bytes_each)
    faults = []
    if subject.budget is not None and round(ratio, 2) > subject.budget:
        faults.append(f"OVER {subject.budget}")
    if subject.budget is not None and kept > subject.kept:
        faults.append(f"KEEPS MORE THAN {subject.kept} B")
    if cut is not None and program.collectives:
        faults.append(f"EXCHANGES {', '.join(program.collectives)}")
    if cut is not None:  # A device's own share says nothing over a copy.
        ratio = kept = None
    return Row(subject.name, dtype, program, ratio, None, kept, tuple(faults))


def _refused(error):
    return "REFUSED " + " ".join(str(error).split())[:300]


def _compiled_layer(layer, shape, sharding, cut=None):
    # Also calls layers that do not know the argument `training`.
    layer = keras.Sequential([layer])
    dtype = layer.compute_dtype
    layer(keras.ops.zeros((1, *shape[1:]), dtype))  # Builds it.
    x = jax.ShapeDtypeStruct(shape, dtype, sharding=cut or sharding)
    y = jax.eval_shape(lambda x: layer(x, training=False), x)
    dy = jax.ShapeDtypeStruct(y.shape, y.dtype, sharding=cut or sharding)
    weights, state = (
        _specs([variable.value for variable in variables], sharding)
        for variables in (
            layer.trainable_variables,
            layer.non_trainable_variables,
        )
    )

    def step(dy, x, weights, state):
        def forward(weights, x):
            return layer.stateless_call(weights, state, x, training=True)

        y, backward, new = jax.vjp(forward, weights, x, has_aux=True)
        # A network lies between the passes: they are no one loop.
        y, dy = jax.lax.optimization_barrier((y, dy))
        return new, y, backward(dy)

    return jax.jit(step).lower(dy, x, weights, state).compile()


def _steps(gpu, steps):
    """Training steps, over those without dropout and with Keras'."""
    sharding = jax.sharding.SingleDeviceSharding(gpu)

    def rows(text):
        for network, subjects, dtypes, batch in steps:
            labels = {name: f"{network} step: {name}" for name in subjects}
            if not any(text in label for label in labels.values()):
                continue
            for dtype in dtypes:
                programs = {}
                for name, label in labels.items():
                    # What the others are compared with is always compiled.
                    if text in label or name in REFERENCES:
                        yield _step_row(
                            label,
                            network,
                            name,
                            dtype,
                            batch,
                            sharding,
                            programs,
                        )

    return rows


def _step_row(name, network, subject, dtype, batch, sharding, programs):
    try:
        with device.dtype_policy(dtype):
            model = train_steps.model_of(network, subject)
        compiled = _compiled_step(model, batch, sharding)
    except Exception as error:
        return Row(name, dtype, None, faults=(_refused(error),))
    program = programs[subject] = hlo.read(compiled.as_text())
    over = {
        reference: program.moved / programs[reference].moved
        for reference in REFERENCES
        if reference in programs
    }
    faults = []
    budget = gpu_subjects.STEP_BUDGETS.get((network, subject))
    if budget and "none" in over and over["none"] > budget:
        faults.append(f"OVER {budget} of no dropout")
    less = subject in gpu_subjects.LESS_THAN_KERAS and network == "mlp"
    if less and over.get("keras", 0) >= 1:
        faults.append("NOT LESS THAN WITH KERAS")
    return Row(
        name,
        dtype,
        program,
        over.get("none"),
        over.get("keras"),
        faults=tuple(faults),
    )


def _compiled_step(model, batch, sharding):
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.optimizer.build(model.trainable_variables)
    state = [
        [variable.value for variable in variables]
        for variables in (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )
    ]
    x = jax.ShapeDtypeStruct(
        (batch, *model.input_shape[1:]), "float32", sharding=sharding
    )
    y = jax.ShapeDtypeStruct((batch,), "int32", sharding=sharding)
    step = jax.jit(model.train_step, donate_argnums=0)
    return step.lower(_specs(state, sharding), (x, y)).compile()


def _specs(values, sharding):
    return jax.tree.map(
        lambda value: jax.ShapeDtypeStruct(
            value.shape, value.dtype, sharding=sharding
        ),
        values,
    )
