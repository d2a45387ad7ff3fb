import keras
from keras import ops

from keras_dropx import errors
from keras_dropx.layers.shadowing import shadowed
from keras_dropx.layers.split_mask_dropout import SplitMaskDropout
from keras_dropx.ops.gradients import gradient_wanted
from keras_dropx.ops.masks import Noise
from keras_dropx.ops.split import split, value_of

LINEAR_LAYERS = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
)


@keras.saving.register_keras_serializable("keras_dropx")
class MaskedInput(keras.layers.Wrapper):
    """Applies a linear layer under separate forward and backward masks.

    In training, with kernel W, bias b and activation φ of the wrapped layer,
    and the noise ε_f, ε_b that `dropout` draws for the inputs h,

    ```
    z  = W·(h ⊙ ε_f) + b,  y = φ(z)
    δ  = dy · φ′(z)
    dW = δ · (h ⊙ ε_b)ᵀ,   db = Σ δ
    dh = (Wᵀ·δ) ⊙ ε_b
    ```

    (for convolutions, the products of the same meaning). This is the exact
    form of the paper's Eq. 9. A masking layer in front of a linear layer, the
    drop-in form, gives dW = δ·(h ⊙ ε_f)ᵀ instead, because the linear layer
    knows only what it received. With `AugmentedDropout(rate)`, whose masks
    are one, the two forms are the same, bit for bit. In inference the layer
    is the wrapped layer.

    Compiled, the step has no more products than the wrapped layer alone: the
    forward product at h ⊙ ε_b, from which the gradients come, is never read.
    In eager mode it is computed. The activity regularizer of the layer sees
    y. A Keras mask passes as through the wrapped layer.

    Args:
        layer: Layer whose output before the activation is linear in its
            input: `Dense`, `EinsumDense`, `Conv1D`, `Conv2D`, `Conv3D`, their
            transposes, `DepthwiseConv1D`, `DepthwiseConv2D`, or a subclass
            that does not override `call`. It may be built, trained, frozen
            and used elsewhere. If it gets LoRA or is quantized later, the
            wrapper predicts, also with `monte_carlo_predict`, and is saved
            and loaded as before; a call in training is refused.
        dropout: A masking layer of this package: `AugmentedDropout`,
            `ForwardDropout`, `BackwardDropout`, `Jumpout`. Its rescale holds.
        **kwargs: `name` and what else `keras.layers.Layer` takes. The dtype
            is that of `layer`.

    Both layers stay what they are: assigning another one is refused.

    Call arguments:
        inputs: Float tensor that `layer` takes.
        training: Whether to apply the noise.

    Input shape:
        As `layer`.

    Output shape:
        As `layer`.

    Raises:
        ValueError: If `layer` or `dropout` is another layer, `layer` has LoRA
            enabled or is quantized (in training calls too), or `dtype` is not
            that of `layer`.

    Example:

    >>> layer = keras_dropx.layers.MaskedInput(
    ...     keras.layers.Dense(64, activation="relu"),
    ...     keras_dropx.layers.AugmentedDropout(0.5, backward_rate=1e-4),
    ... )
    >>> outputs = layer(keras.ops.ones((2, 3)), training=True)
    >>> keras.ops.shape(outputs)
    (2, 64)

    Reference:
        Gao, Pei, Huang, 2019: Demystifying Dropout, ICML, Eq. 6 and 9.
    """

    def __init__(self, layer, dropout, **kwargs):
        _check_linear(layer)
        if not kwargs.pop("_loaded", False):
            _check_trains(layer)
        if not isinstance(dropout, SplitMaskDropout):
            raise errors.invalid(
                "dropout",
                "a masking layer of keras_dropx (AugmentedDropout, "
                "ForwardDropout, BackwardDropout or Jumpout)",
                dropout,
            )
        if kwargs.get("activity_regularizer") is not None:
            raise errors.invalid(
                "activity_regularizer",
                "that of `layer`, which holds here too",
                kwargs["activity_regularizer"],
            )
        super().__init__(layer, **{"dtype": layer.dtype_policy, **kwargs})
        # Not the policies: that of a layer that is quantized is another one.
        if (self.compute_dtype, self.variable_dtype) != (
            layer.compute_dtype,
            layer.variable_dtype,
        ):
            raise errors.invalid(
                "dtype",
                f"the dtype policy of `layer`, {layer.dtype_policy.name!r}",
                self.dtype_policy.name,
            )
        self.dropout = dropout
        # Keras then applies it to the output of this layer.
        self.activity_regularizer = layer.activity_regularizer
        self.supports_masking = layer.supports_masking

    def __setattr__(self, name, value):
        if name in ("layer", "dropout") and hasattr(self, name):
            raise errors.invalid(
                name, "no other than that of the constructor", value
            )
        super().__setattr__(name, value)

    def build(self, input_shape):
        super().build(input_shape)
        self.input_spec = self.layer.input_spec
        self.built = True

    def call(self, inputs, training=False):
        if not training:
            if self.layer.activity_regularizer is None:
                return self.layer(inputs)
            with shadowed(self.layer, activity_regularizer=None):
                return self.layer(inputs)
        if not gradient_wanted():  # what is known without the second product
            with shadowed(self.layer, activity_regularizer=None):
                return self.layer(split(inputs, self.dropout.noise(inputs)))
        _check_trains(self.layer)
        noise = self.dropout.noise(inputs)
        backward = Noise(
            noise.backward_mask,
            noise.backward_mask,
            noise.backward_scale,
            noise.backward_scale,
        )
        # Each variable is read once, for both products. TensorFlow's graph
        # optimizer loses the order of a read that only the gradient uses and
        # the update of the variable, once the second product is pruned.
        values = [(v, ops.copy(v)) for v in self.layer.variables]
        with (
            shadowed(
                self.layer, activity_regularizer=None, activation=None
            ) as own,
            keras.StatelessScope(state_mapping=values),
        ):
            value = self.layer(split(inputs, noise))
            gradient = self.layer(split(inputs, backward))
        outputs = value_of(value, gradient_to=gradient)
        activation = own["activation"]
        return outputs if activation is None else activation(outputs)

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(input_shape)

    def compute_mask(self, inputs, previous_mask):
        return self.layer.compute_mask(inputs, previous_mask)

    def get_config(self):
        config = super().get_config()
        config.pop("activity_regularizer", None)  # the wrapped layer's
        dropout = keras.saving.serialize_keras_object(self.dropout)
        return {**config, "dropout": dropout}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        layer, dropout = (
            keras.saving.deserialize_keras_object(
                config.pop(name), custom_objects=custom_objects
            )
            for name in ("layer", "dropout")
        )
        try:
            _check_trains(layer)
        except ValueError:
            # It can predict all the same.
            config["_loaded"] = True
        return cls(layer, dropout, **config)


def _check_linear(layer):
    supported = ", ".join(kind.__name__ for kind in LINEAR_LAYERS)
    if isinstance(
        layer, (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
    ):
        raise ValueError(
            f"{type(layer).__name__} is two linear maps in a row, and its "
            "pointwise kernel would need a second product. Wrap a "
            "DepthwiseConv and put a pointwise Conv behind it. Supported: "
            f"{supported}. Received: layer={layer!r}"
        )
    if not any(
        isinstance(layer, kind) and type(layer).call is kind.call
        for kind in LINEAR_LAYERS
    ):
        raise errors.invalid(
            "layer", f"a linear layer, one of {supported}", layer
        )


def _check_trains(layer):
    if getattr(layer, "lora_enabled", False) or getattr(
        layer, "lora_rank", None
    ):
        raise ValueError(
            "MaskedInput does not train a layer with LoRA enabled: its kernel "
            f"is frozen and a sum. Received: layer={layer!r}"
        )
    if layer.quantization_mode is not None:
        raise ValueError(
            "MaskedInput does not train a quantized layer: its kernel is "
            f"fixed. Received: layer={layer!r}"
        )
