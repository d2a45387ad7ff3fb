"""The walks over a model: its layers by attribute, its operations by tensor.

Keras has no public way to the layers inside a layer, nor from a symbolic
tensor to what made it: the private names of both stand here and nowhere else.
"""

import re

import keras


def is_graph(model):
    """Whether a model is Sequential or Functional: its graph is known."""
    return isinstance(model, (keras.Sequential, keras.Function))


def source(tensor):
    """Returns the operation that made a symbolic tensor, and which use of it.

    Args:
        tensor: `keras.KerasTensor` of a Functional model.

    Returns:
        The operation, and the number of its call.
    """
    operation, node, _ = tensor._keras_history
    return operation, node


def inputs_of(operation, node):
    """Lists the symbolic tensors that one call of an operation took."""
    return operation._inbound_nodes[node].input_tensors


def sources_of(operation):
    """Lists the operations whose outputs an operation takes, in all calls."""
    return [
        source(tensor)[0]
        for node in operation._inbound_nodes
        for tensor in node.input_tensors
    ]


def everything(model):
    """Lists a model and all layers inside it, at every depth."""
    found = {id(layer): layer for layer in model._flatten_layers()}
    return list(found.values())


def sublayers(layer, names_kept=False):
    """Lists (name, layer) for the layers directly inside a layer.

    Each has its own name, that the code which built them gives: the layer's
    where that was chosen, or else the attribute's that holds it. What Keras
    numbered, or derived from the path, changes from one build to the next.

    Args:
        layer: `keras.layers.Layer` or model.
        names_kept: Whether what a Sequential or Functional model consists of
            has its names in the model's config, and so keeps them.
    """
    parts = []
    if isinstance(layer, keras.Model):
        parts += layer.layers
    if not isinstance(layer, keras.Sequential):
        # A Functional model, too, may hold some beside its graph.
        parts += layer._flatten_layers(include_self=False, recursive=False)
    parts = list({id(part): part for part in parts}.values())
    in_graph = layer.layers if is_graph(layer) and names_kept else []
    kept = {id(part) for part in in_graph}
    attributes = _attributes(layer)
    names = [
        part.name if id(part) in kept else _name(layer, part, attributes)
        for part in parts
    ]
    names = [
        attributes.get(id(part), name)
        if names.count(name) > 1 and id(part) not in kept
        else name
        for name, part in zip(names, parts, strict=True)
    ]
    found = {}
    for name, part in zip(names, parts, strict=True):
        free, number = name, 0
        while free in found:
            number += 1
            free = f"{name}_{number}"
        found[free] = part
    return list(found.items())


def _name(layer, part, attributes):
    kind = _snake_case(type(part).__name__)
    name = part.name
    if isinstance(layer, keras.layers.Bidirectional):
        # It puts "forward_" before a name, which Keras may have numbered.
        name = re.sub(rf"_({kind})_\d+$", r"_\1", name)
    if re.fullmatch(rf"{kind}(_\d+)?", name):
        return attributes.get(id(part), kind)
    return name


def _snake_case(name):
    """The name that Keras gives a layer of that class."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _attributes(layer):
    """The names of the attributes that hold layers, by the layer's `id`."""
    found = {}

    def note(name, value, depth=0):
        if isinstance(value, keras.layers.Layer):
            found.setdefault(id(value), name.strip("_"))
        elif depth < 3 and isinstance(value, dict):
            for key, entry in list(value.items()):
                note(f"{name}_{key}", entry, depth + 1)
        elif depth < 3 and isinstance(value, (list, tuple)):
            for number, entry in enumerate(value):
                note(f"{name}_{number}", entry, depth + 1)

    # TensorFlow has its own books of what it tracks.
    own = {k: v for k, v in vars(layer).items() if k[:6] != "_self_"}
    if hasattr(layer, "named_children"):  # PyTorch keeps modules apart
        own.pop("_modules", None)
        own = {**dict(layer.named_children()), **own}
    # Keras' own lists of layers come under no name of the user's.
    for name in ("_layers", "_functional", "_operations"):
        own.pop(name, None)
    for name, value in own.items():
        note(name, value)
    return found
