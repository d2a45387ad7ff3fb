import keras

from keras_dropx.experiments.networks.parts import site


def srivastava_mlp(
    input_shape,
    num_classes,
    dropout=None,
    units=(1024, 1024, 1024),
    max_norm=2.0,
):
    """Builds the dropout paper's ReLU network for MNIST, with max-norm.

    Its "3 layers, 1024 units". Dropout sites are the input and behind each
    hidden layer: 4 sites, with the rates 0.2, 0.5, 0.5, 0.5. The Euclidean norm
    of the weights into each unit, output units too, is kept at or below
    `max_norm`. The initial weights are not in the paper; they are normal with
    variance 1 / fan-in, as in the first author's example for MNIST (deepnet),
    biases 0.

    Args:
        input_shape: Tuple, the shape of one sample; it is flattened.
        num_classes: Integer, the number of logits.
        dropout: Function that returns a new layer for each site, or None.
        units: Integers, the widths of the hidden layers.
        max_norm: Float, the largest norm, or None: no constraint.

    Returns:
        `keras.Model` with the layers `hidden_1`, …, `logits`.

    Reference:
        Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, 2014,
        "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
        Table 2 and Appendix B.1.
    """

    def dense(width, name, **options):
        return keras.layers.Dense(
            width,
            kernel_initializer="lecun_normal",
            kernel_constraint=max_norm and keras.constraints.MaxNorm(max_norm),
            name=name,
            **options,
        )

    inputs = keras.Input(input_shape)
    x = keras.layers.Flatten(name="flatten")(inputs)
    x = site(dropout, x)
    for number, width in enumerate(units, 1):
        x = dense(width, f"hidden_{number}")(x)
        x = keras.layers.ReLU(name=f"hidden_{number}_relu")(x)
        x = site(dropout, x)
    outputs = dense(num_classes, "logits", dtype="float32")(x)
    return keras.Model(inputs, outputs, name="srivastava_mlp")
