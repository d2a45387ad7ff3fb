"""`gpu-plan` of the layers' programs on TensorFlow; no GPU is needed.

`python -m benchmarks.gpu_plan_tensorflow [SUBSTRING]` lowers a layer, forward
and backward, as `jit_compile=True` does, in a function that is traced as on a
machine with a GPU, and gives it to the compiler of JAX's CUDA plugin. That of
TensorFlow, in its builds for GPUs, is another revision. Needs TensorFlow and
the extra `gpu-plan` in one environment. Not in the CI: it makes the package
believe in a GPU, and calls TensorFlow's private barrier.
"""

import importlib.util
import os
import sys

os.environ["JAX_PLATFORMS"] = "cpu"
if os.environ.setdefault("KERAS_BACKEND", "tensorflow") != "tensorflow":
    sys.exit("gpu_plan_tensorflow needs the TensorFlow backend")
if not all(map(importlib.util.find_spec, ("tensorflow", "jax_plugins"))):
    sys.exit(
        "gpu_plan_tensorflow needs "
        '`pip install "keras-dropx[tensorflow,gpu-plan]"`'
    )

import jax
import keras
import tensorflow as tf
from jax.experimental import jax2tf

from benchmarks import gpu_plan, gpu_subjects
from keras_dropx.random import tensorflow as words


def main(text=""):
    """Prints a line for each layer; returns 1 if one is over its budget."""
    jax.config.update("jax_enable_x64", True)  # Keras' seeds have 64 bits.
    words.may_redraw = lambda: not tf.executing_eagerly()
    (gpu,) = gpu_plan.devices(gpu_plan.TARGET.read_text(), 1)
    sharding = jax.sharding.SingleDeviceSharding(gpu)
    print(f"{gpu.device_kind}, TensorFlow's programs, counted, not timed")
    print(gpu_plan.HEADER)
    bad = 0
    for subject in gpu_subjects.LAYERS:
        for dtype in subject.dtypes if text in subject.name else ():
            row = gpu_plan.layer_row(
                subject, dtype, sharding, compile_layer=_compiled
            )
            bad += bool(row.faults)
            print(row.line(), flush=True)
    return int(bad > 0)


def _compiled(layer, shape, sharding, cut):
    from tensorflow.compiler.tf2xla.ops import gen_xla_ops

    # Also calls layers that do not know the argument `training`.
    layer = keras.Sequential([layer])
    y = layer(keras.ops.zeros((1, *shape[1:]), layer.compute_dtype))
    weights, state = (
        [variable.value for variable in variables]
        for variables in (
            layer.trainable_variables,
            layer.non_trainable_variables,
        )
    )

    def step(dy, x, *values):
        weights_now = list(values[: len(weights)])
        with tf.GradientTape() as tape:
            tape.watch((x, weights_now))
            y, new = layer.stateless_call(
                weights_now, list(values[len(weights) :]), x, training=True
            )
        # A network lies between the passes: they are no one loop.
        out, dy = gen_xla_ops.xla_optimization_barrier([y, dy])
        return out, *tape.gradient(y, [x, *weights_now], dy), *new

    def spec(shape, dtype):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    values = (
        spec(tuple(value.shape), value.dtype.as_numpy_dtype)
        for value in (*weights, *state)
    )
    return (
        jax.jit(jax2tf.call_tf(step))
        .lower(
            spec((shape[0], *y.shape[1:]), y.dtype.as_numpy_dtype),
            spec(shape, layer.compute_dtype),
            *values,
        )
        .compile()
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
