"""Runs of a model that move nothing of it, and their gradients.

The only module here that may import a framework: for gradients, compilation
and summaries Keras has no public way.
"""

import contextlib
import functools

import keras
import numpy as np
from keras import ops

from keras_dropx.layers.shadowing import shadowed

BACKEND = keras.config.backend()


def seed_states(model):
    """Lists the states of the random seeds of a model."""
    return [v for v in model.variables if v.name == "seed_generator_state"]


class Probe:
    """A function of a model and a batch that moves nothing.

    What the function writes to variables, seeds and batch-norm statistics
    too, is discarded.

    Args:
        model: Built `keras.Model`.
        function: Function of tensors that returns a structure of tensors.
        compiled: Whether to compile it; not worth it for one call.
    """

    def __init__(self, model, function, compiled=True):
        self.model = model
        self.function = function
        self._compiled = _compile(self._run, model) if compiled else self._run

    def __call__(self, *arrays, draw=0):
        """Runs the function and returns what it returns as NumPy arrays.

        Args:
            *arrays: What the function takes.
            draw: Integer. 0: the masks that come next in training; another
                number: others, at the same step of all schedules.
        """
        state = []
        if BACKEND == "jax":  # there compiled code sees no variables
            state = [v.value for v in self.model.variables]
        seeds = [_other(v, draw) for v in seed_states(self.model)]
        with _forked_generator(draw):
            outputs = self._compiled(state, seeds, *arrays)
        return keras.tree.map_structure(to_numpy, outputs)

    def _run(self, state, seeds, *tensors):
        variables = self.model.variables
        # All of them: regularizers ask the scope for every weight.
        state = state or [v.value for v in variables]
        mapping = [
            *zip(variables, state, strict=True),
            # The last one counts.
            *zip(seed_states(self.model), seeds, strict=True),
        ]
        with keras.StatelessScope(mapping, collect_losses=True):
            return self.function(*tensors)


@contextlib.contextmanager
def _forked_generator(draw):
    """Puts torch's own generator back, from which Keras' Dropout draws."""
    if BACKEND != "torch":
        yield
        return
    import torch

    with torch.random.fork_rng():
        if draw:
            torch.manual_seed(torch.initial_seed() + draw)
        yield


def _other(variable, draw):
    """The state of a seed with another seed word and the same counter."""
    word, counter = np.asarray(ops.convert_to_numpy(variable)).tolist()
    if draw:
        # Far from the words of other layers, which may be neighbours.
        word = (word + draw * 0x9E3779B1) % 2**31
    return ops.convert_to_tensor([word, counter], variable.dtype)


def gradients(function, variables=()):
    """Runs a function and differentiates its value by what it taps.

    Args:
        function: Function of `tap`. `tap(z)` returns a tensor to go on with
            in the place of z. Returns a scalar, and a structure of tensors.
        variables: List of the `keras.Variable`s that it reads.

    Returns:
        The scalar, the structure, and the gradients by each z, in order.
    """
    if BACKEND == "tensorflow":
        import tensorflow as tf

        tensors = []

        def tap(z):
            tape.watch(z)
            tensors.append(z)
            return z

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            value, others = function(tap)
        found = tape.gradient(
            value, tensors, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        return value, others, found
    if BACKEND == "torch":
        import torch

        tensors = []

        def tap(z):
            z = z if z.requires_grad else z.detach().requires_grad_()
            tensors.append(z)
            return z

        with torch.enable_grad():
            value, others = function(tap)
            found = torch.autograd.grad(
                value, tensors, allow_unused=True, materialize_grads=True
            )
        return value, others, found
    import jax

    shapes = []

    def note(z):
        shapes.append((z.shape, z.dtype))
        return z

    def only_shapes():
        mapping = [(v, v.value) for v in variables]
        with keras.StatelessScope(mapping, collect_losses=True):
            return function(note)

    jax.eval_shape(only_shapes)

    def perturbed(perturbations):
        remaining = iter(perturbations)
        return function(lambda z: z + next(remaining))

    zeros = [jax.numpy.zeros(*shape) for shape in shapes]
    (value, others), found = jax.value_and_grad(perturbed, has_aux=True)(zeros)
    return value, others, found


def slope(function, z):
    """Returns dφ/dz of an elementwise function at a float32 array."""

    def total(tap):
        return ops.sum(function(tap(ops.convert_to_tensor(z)))), ()

    _, _, (found,) = gradients(total)
    return to_numpy(found)


def to_numpy(tensor):
    """Turns a tensor into an array; bfloat16 into float32."""
    if keras.backend.is_float_dtype(tensor.dtype):
        tensor = ops.cast(tensor, "float32")
    return np.asarray(ops.convert_to_numpy(tensor))


def summary_writer(log_dir):
    """Opens a TensorBoard writer where Keras' own callback has its own.

    Raises:
        ImportError: If TensorFlow or TensorBoard is missing.
    """
    try:
        import tensorboard  # noqa: F401
        import tensorflow as tf
    except ImportError as error:
        raise ImportError(
            "`log_dir` needs the packages tensorflow and tensorboard: "
            'pip install "keras-dropx[tensorboard]"'
        ) from error
    return tf.summary.create_file_writer(f"{log_dir}/train")


def write_summary(writer, step, scalars, histograms):
    """Writes values of one step, and sees that they are on the disk."""
    import tensorflow as tf

    with writer.as_default(step):
        for name, value in scalars.items():
            tf.summary.scalar(name, value)
        for name, values in histograms.items():
            tf.summary.histogram(name, values)
    writer.flush()


def _compile(function, model):
    if BACKEND == "tensorflow" and not model.run_eagerly:
        import tensorflow as tf

        # A partial has no code that it shares with those of other probes:
        # for that TensorFlow would warn of retracing.
        return tf.function(
            functools.partial(function),
            jit_compile=bool(model.jit_compile),
            autograph=False,
        )
    if BACKEND == "jax" and not model.run_eagerly:
        import jax

        return jax.jit(function)
    return function


def kernel_gradient_sizes(linear, calls):
    """mean_ij |T_n| for each sample n, T_n its part of a kernel's gradient.

    Args:
        linear: Layer whose output before the activation is linear in h.
        calls: List of (h, δ), the input and the error of each use of it.

    Returns:
        float32 tensor (n,).
    """
    kernel = ops.cast(linear.kernel, "float32")

    def product(kernel, h):
        # By way of the layer itself, which knows strides and groups.
        with keras.StatelessScope([(linear.kernel, kernel)]):
            return linear(h)

    def size(sample):
        return ops.mean(ops.abs(_kernel_gradient(product, kernel, sample)))

    samples = [(h[:, None], delta[:, None]) for h, delta in calls]
    with _plain(linear):
        if BACKEND == "torch":  # whose vmap takes no channels-last convolution
            count = len(samples[0][0])
            return ops.stack(
                [
                    size([(h[n], delta[n]) for h, delta in samples])
                    for n in range(count)
                ]
            )
        return ops.vectorized_map(size, samples)


def _kernel_gradient(product, kernel, calls):
    def inner(kernel):
        return sum(
            ops.sum(ops.cast(product(kernel, h), "float32") * delta)
            for h, delta in calls
        )

    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(kernel)
            value = inner(kernel)
        return tape.gradient(value, kernel)
    if BACKEND == "torch":
        import torch

        return torch.func.grad(inner)(kernel)
    import jax

    return jax.grad(inner)(kernel)


def squared_product(linear, h):
    """Σ_i w_ij² x_i², with the product of the layer, without bias."""
    mapping = [(linear.kernel, ops.square(linear.kernel.value))]
    bias = getattr(linear, "bias", None)
    if isinstance(bias, keras.Variable):
        mapping.append((bias, ops.zeros_like(bias.value)))
    with keras.StatelessScope(mapping), _plain(linear):
        return linear(ops.square(h))


def joined(tensors):
    """One tensor of those of several uses of a layer.

    Along the batch, or where the uses differ in shape along all units.
    """
    if len(tensors) == 1:
        return tensors[0]
    if len({tuple(tensor.shape[1:]) for tensor in tensors}) == 1:
        return ops.concatenate(tensors, 0)
    flat = [
        ops.reshape(tensor, (ops.shape(tensor)[0], -1)) for tensor in tensors
    ]
    return ops.concatenate(flat, 1)


def dense(gradient):
    """Adds up the rows of a sparse gradient."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.convert_to_tensor(gradient)
    return gradient


def sum_over_replicas(tensors):
    """Sums each tensor over the replicas of TensorFlow's strategies."""
    if BACKEND == "tensorflow" and tensors:
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        if context is not None and context.num_replicas_in_sync > 1:
            return context.all_reduce("SUM", tensors)
    return tensors


def strategy_scope(model):
    """The scope of the TensorFlow strategy under which a model was made."""
    if BACKEND == "tensorflow":
        return model.distribute_strategy.scope()
    return contextlib.nullcontext()


def _plain(linear):
    return shadowed(linear, activation=None, activity_regularizer=None)
