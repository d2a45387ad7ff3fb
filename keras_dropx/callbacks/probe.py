"""Runs of a model that move nothing of it, and their gradients."""

import keras
import numpy as np
from keras import ops

from keras_dropx.callbacks import frameworks
from keras_dropx.layers.graph import everything

BACKEND = keras.config.backend()
_KEPT = "keras_dropx_kept"


def kept(model):
    """Returns a dict that lives as long as a model's training step.

    What is compiled for a model is kept there for the next `fit`: TensorFlow
    forgets none of the custom gradients that it has ever traced. The dict
    belongs to the training step, so compiling the model anew, as one does
    after a change of its layers, empties it.
    """
    model.make_train_function()
    return vars(model.train_function).setdefault(_KEPT, {})


def keep_with(function, shared):
    """Gives another training step of the model that dict."""
    setattr(function, _KEPT, shared)


def seed_states(model):
    """Lists the states of the random seeds of a model."""
    generators = [
        value
        for layer in everything(model)
        for value in vars(layer).values()
        if isinstance(value, keras.random.SeedGenerator)
    ]
    states = [generator.state for generator in generators]
    # Those that are kept elsewhere, too.
    states += [v for v in model.variables if v.name == "seed_generator_state"]
    return list({id(state): state for state in states}.values())


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
        self._compiled = self._run
        if compiled:
            self._compiled = frameworks.compiled(self._run, model)

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
        with frameworks.forked_generator(draw):
            outputs = self._compiled(state, seeds, *arrays)
        return keras.tree.map_structure(
            lambda value: value if value is None else to_numpy(value), outputs
        )

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


def kept_probe(model, key, make):
    """Returns the probe of a model that an earlier training made, or makes it.

    Args:
        model: Built and compiled `keras.Model`.
        key: Tuple that says what the function depends on.
        make: Function without arguments that returns the probe's function.
    """
    probes = kept(model)
    key = (key, model.run_eagerly, model.jit_compile)
    if key not in probes:
        probes[key] = Probe(model, make())
    return probes[key]


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
    return frameworks.gradients(function, variables)


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
