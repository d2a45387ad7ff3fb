"""Which layers of a model something is measured of."""

from typing import Any, NamedTuple

import keras
import numpy as np

from keras_dropx import errors
from keras_dropx.layers import GAAF, MaskedInput
from keras_dropx.layers.split_mask_dropout import SplitMaskDropout

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
