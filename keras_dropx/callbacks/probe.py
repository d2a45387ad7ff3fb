"""Runs of a model that move nothing of it, and what they see on the way.

The only module here that may import a framework: for gradients, compilation
and summaries Keras has no public way.
"""

import contextlib
import functools
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_dropx import errors
from keras_dropx.layers import GAAF, MaskedInput
from keras_dropx.layers.shadowing import shadowed, wrapped
from keras_dropx.layers.split_mask_dropout import SplitMaskDropout

BACKEND = keras.config.backend()
ACTIVATION_LAYERS = (
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ELU,
    GAAF,
)


class Site(NamedTuple):
    """A layer of which something is measured.

    Attributes:
        key: String, the layer's name; with the names of the nested models
            around it where two layers share a name.
        layer: The layer that the model calls.
        linear: Who has the kernel and the activation: the layer itself, the
            wrapped one of `MaskedInput`; None for a stand-alone activation.
    """

    key: str
    layer: Any
    linear: Any = None

    @property
    def activation(self):
        """The activation function φ, or None."""
        if self.linear is None:
            return self.layer
        activation = getattr(self.linear, "activation", None)
        return None if activation is keras.activations.linear else activation

    @property
    def elementwise(self):
        """Whether there is a φ that takes each net value on its own."""
        name = getattr(self.activation, "__name__", None)
        if isinstance(self.activation, keras.layers.Activation):
            name = self.activation.activation.__name__
        if isinstance(self.activation, keras.layers.Softmax):
            return False
        return self.activation is not None and name not in (
            "linear",
            "softmax",
            "log_softmax",
            "glu",
            "sparsemax",
        )


def leaves(model):
    """Lists (key, layer) for the layers of a model, nested ones included."""
    found = {}

    def visit(container, prefix):
        for layer in container.layers:
            if isinstance(layer, keras.Model):
                visit(layer, f"{prefix}{layer.name}/")
            else:
                found.setdefault(id(layer), (layer.name, prefix, layer))

    visit(model, "")
    names = [name for name, _, _ in found.values()]
    return [
        (name if names.count(name) == 1 else prefix + name, layer)
        for name, prefix, layer in found.values()
    ]


def chosen(pairs, names, what):
    """Keeps the (key, …) whose key is in `names`; None keeps all.

    Raises:
        ValueError: If a name is not there, or nothing is.
    """
    if not pairs:
        raise ValueError(f"Expected a model with {what}. There are none.")
    keys = [pair[0] for pair in pairs]
    missing = [name for name in names or () if name not in keys]
    if missing:
        raise errors.invalid("layers", f"{what}, of {keys}", missing or names)
    return [pair for pair in pairs if names is None or pair[0] in names]


def linear_sites(model):
    """Lists a `Site` for each layer with a kernel."""
    sites = []
    for key, layer in leaves(model):
        linear = layer.layer if isinstance(layer, MaskedInput) else layer
        if isinstance(getattr(linear, "kernel", None), keras.Variable):
            sites.append(Site(key, layer, linear))
    return sites


def activation_sites(model):
    """Lists a `Site` for each activation, in a layer or on its own."""
    with_kernel = {site.key: site for site in linear_sites(model)}
    sites = []
    for key, layer in leaves(model):
        site = with_kernel.get(key, Site(key, layer))
        if key in with_kernel or isinstance(layer, ACTIVATION_LAYERS):
            sites.append(site)
    return [site for site in sites if site.elementwise]


def net_sites(model):
    """Lists a `Site` for each net value, none of them twice.

    A layer with a kernel and no activation whose output a stand-alone
    activation takes has the same net values as that one, which stands here.
    """
    active = activation_sites(model)
    taken = [
        node.input_tensors[0]._keras_history.operation
        for site in active
        if site.linear is None
        for node in site.layer._inbound_nodes
    ]
    keys = {site.key: site for site in active}
    for site in linear_sites(model):
        if site.activation is not None or site.layer not in taken:
            keys[site.key] = site
    order = [key for key, _ in leaves(model) if key in keys]
    return [keys[key] for key in order]


def output_layers(model):
    """Lists what computes the outputs before their stand-alone activation."""
    found = []
    for tensor in model.outputs:
        operation, node, _ = tensor._keras_history
        while isinstance(operation, (*ACTIVATION_LAYERS, keras.layers.Softmax)):
            # At this use of it, should it have several.
            (tensor,) = operation._inbound_nodes[node].input_tensors
            operation, node, _ = tensor._keras_history
        if isinstance(operation, (keras.Sequential, keras.Function)):
            found += output_layers(operation)
        elif not isinstance(operation, keras.layers.InputLayer):
            found.append(operation)
    return list({id(operation): operation for operation in found}.values())


def tapped(layer, tap):
    """Sends the net values of a layer through `tap(h, z)`, for a while.

    Args:
        layer: Layer or operation. Its net value z is what its activation
            takes, or else its output.
        tap: Function of the input h that the kernel was multiplied with and
            of z, that returns z. (For `MaskedInput` h is h ⊙ ε_b.)
    """
    linear = layer.layer if isinstance(layer, MaskedInput) else layer
    if isinstance(layer, ACTIVATION_LAYERS):
        return wrapped(
            layer,
            "call",
            lambda call: lambda x, **kwargs: call(tap(x, x), **kwargs),
        )
    # Of a recurrent layer the attribute is that of its cell.
    own = not isinstance(getattr(type(linear), "activation", None), property)
    if not (own and hasattr(linear, "activation")):

        def tap_output(call):
            def tapped_call(*args, **kwargs):
                return tap(args[0] if args else None, call(*args, **kwargs))

            return tapped_call

        return wrapped(layer, "call", tap_output)

    inputs = []

    def note_input(call):
        def noted_call(x, *args, **kwargs):
            inputs.append(x)
            return call(x, *args, **kwargs)

        return noted_call

    def tap_net(call):
        def tapped_call(*args, **kwargs):
            activation = linear.activation

            def after_tap(z):
                z = tap(inputs[-1], z)
                return z if activation is None else activation(z)

            with shadowed(linear, activation=after_tap):
                outputs = call(*args, **kwargs)
            inputs.clear()
            return outputs

        return tapped_call

    stack = contextlib.ExitStack()
    stack.enter_context(wrapped(linear, "call", note_input))
    stack.enter_context(wrapped(layer, "call", tap_net))
    return stack


def noted_inputs_and_outputs(layer, note):
    """Calls `note(x, y)` at each call of a layer, for a while."""

    def wrap(call):
        def noted(x, *args, **kwargs):
            y = call(x, *args, **kwargs)
            note(x, y)
            return y

        return noted

    return wrapped(layer, "call", wrap)


def noted_rates(layer, note):
    """Calls `note(p′)` for each p′ that a `Jumpout` layer draws."""

    def wrap(drop_rate):
        def noted(inputs, seed):
            rate = drop_rate(inputs, seed)
            note(rate)
            return rate

        return noted

    return wrapped(layer, "drop_rate", wrap)


def mask_of(layer):
    """The masking layer in `MaskedInput`, or the layer itself."""
    return layer.dropout if isinstance(layer, MaskedInput) else layer


def fixed_rate(mask):
    """The rate at which a layer with no rate of its own drawing drops now."""
    if isinstance(mask, SplitMaskDropout):
        return mask.at_step(mask.rate, mask.seed_generator.state.value)
    return mask.rate


def unit_axis(layer):
    """The axis of the units, or channels, of a layer's output."""
    return 1 if getattr(layer, "data_format", "") == "channels_first" else -1


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


def check_model(model, name):
    """Refuses a model whose layers are not known, or not yet.

    Raises:
        ValueError: If the model is subclassed or not built.
    """
    if not isinstance(model, (keras.Sequential, keras.Function)):
        raise ValueError(
            f"{name} needs a Sequential or Functional model: of a subclassed "
            f"one the graph of the layers is not known. Received: {model!r}"
        )
    if not model.built:
        raise ValueError(
            f"{name} needs a model that is built when training begins. Put a "
            "`keras.Input` first, or call `model.build`. Received: "
            f"{model!r}"
        )


def check_inputs(model, x):
    """Refuses a batch that the model does not take.

    Raises:
        ValueError: With the shapes.
    """
    names = [tensor.name for tensor in model.inputs]
    if isinstance(x, dict) and set(names) <= set(x):
        x = [x[name] for name in names]
    received = [tuple(np.shape(array)) for array in keras.tree.flatten(x)]
    expected = [tuple(tensor.shape) for tensor in model.inputs]

    def fits(one, other):
        if len(one) == len(other) + 1 and one[-1] == 1:
            other = (*other, 1)  # Keras adds that axis
        # The batch may have any size, also where the model was built by one.
        return len(one) == len(other) and all(
            a is None or a == b for a, b in zip(one[1:], other[1:], strict=True)
        )

    same = len(received) == len(expected) and all(map(fits, expected, received))
    if not same:
        raise ValueError(
            f"Expected a probe batch of shape {_shown(expected)}. "
            f"Received: {_shown(received)}"
        )


def _shown(shapes):
    return ", ".join(map(str, shapes))


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
