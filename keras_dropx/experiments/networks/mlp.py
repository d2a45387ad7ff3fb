import keras

from keras_dropx.layers import MaskedInput


def mlp(
    input_shape,
    num_classes,
    dropout=None,
    activation=None,
    units=(256, 256),
    exact=False,
    hidden=None,
):
    """Builds a multilayer perceptron, a dropout site behind each hidden layer.

    Args:
        input_shape: Tuple, the shape of one sample; it is flattened.
        num_classes: Integer, the number of logits.
        dropout: Function that returns a new layer for each site, or None.
        activation: Function that returns a new activation layer for each
            hidden layer. None: ReLU.
        units: Integers, the widths of the hidden layers.
        exact: Whether the layer behind a site takes the masking layer in as
            `MaskedInput`, for the exact weight gradients of Eq. 9.
        hidden: Function of (units, name) that returns a hidden layer and its
            activation in one, or None: `Dense`, then `activation`.

    Returns:
        `keras.Model` with the layers `hidden_1`, `activation_1`, …, `logits`.
    """
    inputs = keras.Input(input_shape)
    x = keras.layers.Flatten()(inputs)
    site = None

    def linear(layer, x):
        if site is None:
            return layer(x)
        return MaskedInput(layer, site)(x) if exact else layer(site(x))

    for number, width in enumerate(units, 1):
        name = f"hidden_{number}"
        if hidden is not None:
            x = linear(hidden(width, name), x)
        else:
            x = linear(keras.layers.Dense(width, name=name), x)
            layer = activation() if activation else keras.layers.ReLU()
            layer.name = f"activation_{number}"
            x = layer(x)
        if dropout is not None:
            site = dropout()
    # Softmax and loss want float32 under mixed precision too.
    logits = keras.layers.Dense(num_classes, dtype="float32", name="logits")
    return keras.Model(inputs, linear(logits, x), name="mlp")
