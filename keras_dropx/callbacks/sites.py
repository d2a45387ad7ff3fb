"""Which layers of a model something is measured of."""

from typing import Any, NamedTuple

import keras
import numpy as np

from keras_dropx import errors
from keras_dropx.callbacks.kernels import has_kernel
from keras_dropx.callbacks.taps import ACTIVATION_LAYERS
from keras_dropx.layers import MaskedInput
from keras_dropx.layers.graph import (
    inputs_of,
    is_graph,
    source,
    sources_of,
    sublayers,
)
from keras_dropx.layers.masked_input import LINEAR_LAYERS
from keras_dropx.layers.split_mask_dropout import SplitMaskDropout
from keras_dropx.layers.stand_in import acting

# What is inside them is part of the layer.
_WHOLE = (*LINEAR_LAYERS, *ACTIVATION_LAYERS, MaskedInput, SplitMaskDropout)
_ATTENTION = (
    keras.layers.MultiHeadAttention,
    keras.layers.GroupQueryAttention,
)
# They call what is inside them within a loop, where no value comes out.
_LOOPS = (keras.layers.RNN, keras.layers.TimeDistributed)


class Leaf(NamedTuple):
    """A layer, and what it is called in the logs.

    Attributes:
        key: String, the layer's name; with the names of the models and layers
            around it where it is not the only one.
        layer: The layer.
        visible: Whether its values can be taken while the model runs.
    """

    key: str
    layer: Any
    visible: bool


class Site(NamedTuple):
    """A layer of which something is measured.

    Attributes:
        key: String, as in `Leaf`.
        layer: The layer that is called.
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
            name = getattr(self.activation.activation, "__name__", None)
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
    """Lists a `Leaf` for the layers of a model at every depth.

    What is inside a layer has that layer's key where it is the only part with
    a kernel, and else its own name after it. The names are the same after
    saving, copying, cloning and another build.
    """
    found = []
    seen = set()

    def visit(container, prefix, kept):
        for name, layer in sublayers(container, kept):
            if id(layer) in seen:
                continue
            seen.add(id(layer))
            if isinstance(layer, keras.Model):
                visit(layer, f"{prefix}{name}/", kept and is_graph(layer))
            else:
                found.append((name, prefix, _parts(layer, seen)))

    visit(model, "", is_graph(model))
    names = [name for name, _, _ in found]
    listed = []
    for name, prefix, parts in found:
        outer = name if names.count(name) == 1 else prefix + name
        single = sum(has_kernel(_linear(layer)) for _, layer, _ in parts) == 1
        for inside, layer, visible in parts:
            alone = single and has_kernel(_linear(layer))
            key = f"{outer}/{inside}" if inside and not alone else outer
            listed.append(Leaf(key, layer, visible))
    return listed


def _parts(layer, seen, inside="", visible=True):
    """Lists (name, layer, visible) for a layer and all that is inside it."""
    found = [(inside, layer, visible)]
    if isinstance(layer, _WHOLE):
        return found
    visible = visible and not isinstance(layer, _LOOPS)
    for name, part in sublayers(layer):
        # The activation of a layer with a kernel is no layer of its own.
        own = part is getattr(layer, "activation", None) and has_kernel(layer)
        # Nor is what is done to the scores of attention, which are no units.
        own |= isinstance(layer, _ATTENTION) and not has_kernel(part)
        if id(part) not in seen and not own:
            seen.add(id(part))
            deeper = f"{inside}/{name}" if inside else name
            found += _parts(part, seen, deeper, visible)
    return found


def chosen(pairs, names, what):
    """Keeps the (key, …) that `names` name; None keeps all.

    The name of a layer stands for all that is inside it, too.

    Raises:
        ValueError: If a name is not there, nothing is, or two have one key.
    """
    if not pairs:
        raise ValueError(f"Expected a model with {what}. There are none.")
    keys = [pair[0] for pair in pairs]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(
            "Expected layers that can be told apart by their names. Received: "
            f"several {what} that are called {twice}"
        )
    if names is None:
        return pairs

    def named(key, name):
        return key == name or key.startswith(f"{name}/")

    missing = [n for n in names if not any(named(key, n) for key in keys)]
    if missing:
        raise errors.invalid("layers", f"{what}, of {keys}", missing)
    return [pair for pair in pairs if any(named(pair[0], n) for n in names)]


def identity(pairs):
    """What a probe of these (key, layer, …) is known by."""
    return tuple((pair[0], id(pair[1])) for pair in pairs)


def linear_sites(model):
    """Lists a `Site` for each layer with a kernel that is called in sight."""
    return [
        Site(leaf.key, leaf.layer, _linear(leaf.layer))
        for leaf in leaves(model)
        if leaf.visible and has_kernel(_linear(leaf.layer))
    ]


def activation_sites(model):
    """Lists a `Site` for each activation, in a layer or on its own."""
    sites = []
    for key, layer, visible in leaves(model):
        if visible and has_kernel(_linear(layer)):
            sites.append(Site(key, layer, _linear(layer)))
        elif visible and isinstance(layer, ACTIVATION_LAYERS):
            sites.append(Site(key, layer))
    return [site for site in sites if site.elementwise]


def net_sites(model):
    """Lists a `Site` for each net value, none of them twice.

    A layer with a kernel and no activation whose output a stand-alone
    activation takes has the same net values as that one, which stands here.
    (Within layers, where there is no graph, both stand here.)
    """
    active = activation_sites(model)
    taken = [
        id(layer)
        for site in active
        if site.linear is None
        for layer in sources_of(site.layer)
    ]
    found = {id(site.layer): site for site in active}
    for site in linear_sites(model):
        if site.activation is not None or id(site.layer) not in taken:
            found[id(site.layer)] = site
    order = [id(leaf.layer) for leaf in leaves(model)]
    return [found[layer] for layer in order if layer in found]


def output_layers(model):
    """Lists what computes the outputs before their stand-alone activation.

    Args:
        model: Sequential or Functional model.
    """
    found = []
    for tensor in model.outputs:
        operation, node = source(tensor)
        while isinstance(operation, (*ACTIVATION_LAYERS, keras.layers.Softmax)):
            # At this use of it, should it have several.
            (tensor,) = inputs_of(operation, node)
            operation, node = source(tensor)
        if is_graph(operation):
            found += output_layers(operation)
        elif not isinstance(operation, keras.layers.InputLayer):
            found.append(operation)
    return list({id(operation): operation for operation in found}.values())


def mask_of(layer):
    """The layer that masks: in `MaskedInput`, in place, or the layer."""
    return layer.dropout if isinstance(layer, MaskedInput) else acting(layer)


def fixed_rate(mask):
    """The rate at which a layer with no rate of its own drawing drops now."""
    if isinstance(mask, SplitMaskDropout):
        return mask.at_step(mask.rate, mask.seed_generator.state.value)
    return mask.rate


def unit_axis(layer):
    """The axis of the units, or channels, of a layer's output."""
    return 1 if getattr(layer, "data_format", "") == "channels_first" else -1


def check_built(model, name):
    """Refuses a Sequential or Functional model without variables yet.

    Raises:
        ValueError: If the model is not built.
    """
    if not model.built:
        raise ValueError(
            f"{name} needs a model that is built when training begins. Put a "
            "`keras.Input` first, or call `model.build`. Received: "
            f"{model!r}"
        )


def check_inputs(model, x):
    """Refuses a batch that a Sequential or Functional model does not take.

    Raises:
        ValueError: With the shapes.
    """
    if not is_graph(model):
        return  # it says itself what it does not take
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


def _linear(layer):
    return layer.layer if isinstance(layer, MaskedInput) else layer


def _shown(shapes):
    return ", ".join(map(str, shapes))
