import keras


def mlp(
    input_shape,
    num_classes,
    dropout=None,
    activation=None,
    units=(256, 256),
):
    """Builds a multilayer perceptron, a dropout site behind each hidden layer.

    Args:
        input_shape: Tuple, the shape of one sample; it is flattened.
        num_classes: Integer, the number of logits.
        dropout: Function that returns a new layer for each site, or None.
        activation: Function that returns a new activation layer for each
            hidden layer. None: ReLU.
        units: Integers, the widths of the hidden layers.

    Returns:
        `keras.Model` with the layers `hidden_1`, …, `logits`.
    """
    inputs = keras.Input(input_shape)
    x = keras.layers.Flatten()(inputs)
    for number, width in enumerate(units, 1):
        x = keras.layers.Dense(width, name=f"hidden_{number}")(x)
        x = activation()(x) if activation else keras.layers.ReLU()(x)
        if dropout is not None:
            x = dropout()(x)
    # Softmax and loss want float32 under mixed precision too.
    outputs = keras.layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, outputs, name="mlp")
