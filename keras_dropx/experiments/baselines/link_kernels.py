import keras

from keras_dropx.experiments.baselines.concrete_dropout import ConcreteDropout
from keras_dropx.layers.masked_input import LINEAR_LAYERS


def link_kernels(model):
    """Tells each `ConcreteDropout` of a model which kernel is behind it.

    It is the kernel of the one linear layer (`Dense`, `EinsumDense`, a
    convolution, …) that takes the output, directly or through layers that mix
    no features by weights: batch normalisation, activations, pooling,
    padding, flattening. The paper's term is derived for a kernel that takes
    the masked features as they are; with batch normalisation or an activation
    between (Wide ResNets) it is the first kernel that mixes them.

    Args:
        model: Built Sequential or Functional `keras.Model`. The links are not
            saved with it.

    Raises:
        ValueError: If the model is subclassed or not built, has no
            `ConcreteDropout`, or what is behind one is not one linear layer.

    Reference:
        Gal, Hron, Kendall, 2017: Concrete Dropout, NIPS.
    """
    if not isinstance(model, (keras.Sequential, keras.Function)) or (
        not model.built
    ):
        raise ValueError(
            "Expected a built Sequential or Functional model, whose layers "
            f"can be followed. Received: {model!r}"
        )
    nodes = _nodes(model)
    sites = [x for x in nodes if isinstance(x.operation, ConcreteDropout)]
    if not sites:
        raise ValueError(
            "Expected a model with ConcreteDropout layers. "
            f"Received: model {model.name!r}"
        )
    for site in sites:
        site.operation.penalty.kernel = _linear_behind(site, nodes).kernel


def _nodes(model):
    """Returns the calls that make the outputs, each once."""
    nodes, tensors = [], list(model.outputs)
    while tensors:
        operation, index, _ = tensors.pop()._keras_history
        node = operation._inbound_nodes[index]
        if node not in nodes:
            nodes.append(node)
            tensors += node.input_tensors
    return nodes


def _linear_behind(site, nodes):
    name, node = site.operation.name, site
    while True:
        (output,) = node.output_tensors
        behind = [
            other
            for other in nodes
            if any(tensor is output for tensor in other.input_tensors)
        ]
        names = sorted(repr(x.operation.name) for x in behind)
        if len(behind) != 1:
            raise ValueError(
                f"Expected one layer behind {node.operation.name!r}, on the "
                f"way from ConcreteDropout {name!r} to its linear layer. "
                f"Received: {', '.join(names) or 'none'}"
            )
        node = behind[0]
        layer = node.operation
        if isinstance(layer, LINEAR_LAYERS):
            return layer
        plain = isinstance(layer, keras.layers.BatchNormalization) or (
            isinstance(layer, keras.layers.Layer) and not layer.weights
        )
        if not plain or len(node.input_tensors) != 1:
            raise ValueError(
                f"Expected a linear layer behind ConcreteDropout {name!r}. "
                f"Received: {layer.name!r} ({type(layer).__name__})"
            )
