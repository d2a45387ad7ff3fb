import keras

from keras_dropx.experiments.networks.mlp import mlp


def gaaf_mlp(
    input_shape,
    num_classes,
    dropout=None,
    activation=None,
    units=(512, 256, 256),
    hidden=None,
):
    """Builds the GAAF paper's network for MNIST: 784-512-256-256-10, tanh.

    A dropout site is behind each hidden layer, none on the input, as in the
    paper's Table 2 (its rate there is not stated; it names 0.5 as usual). Nor
    does it state the initial weights: Glorot uniform here, biases 0.

    Args:
        input_shape: Tuple, the shape of one sample; it is flattened.
        num_classes: Integer, the number of logits.
        dropout: Function that returns a new layer for each site, or None.
        activation: Function that returns a new activation layer for each
            hidden layer. None: tanh.
        units: Integers, the widths of the hidden layers.
        hidden: As in `mlp`.

    Returns:
        `keras.Model` with the layers `hidden_1`, …, `logits`.

    Reference:
        Hahn and Choi, 2018, "Gradient Acceleration in Activation Functions",
        Sections 3 and 5.1.
    """
    if activation is None:

        def activation():
            return keras.layers.Activation("tanh")

    model = mlp(
        input_shape, num_classes, dropout, activation, units, hidden=hidden
    )
    return keras.Model(model.input, model.output, name="gaaf_mlp")
