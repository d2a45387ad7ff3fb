import keras
from keras import ops

from keras_dropx import errors


@keras.saving.register_keras_serializable("keras_dropx")
class ExpectationLinear(keras.Model):
    """Trains a model with expectation-linear regularised dropout.

    ```
    loss + λ/n · Σ_i ‖h(x_i, s_i) - h(x_i, E[s])‖²
    ```

    over the n samples of a batch, where h(x, s) is the output under the masks
    s of the training pass, the same ones as in the loss, and h(x, E[s]) is
    the output in inference mode (batch normalisation too). Gradients go
    through both. The penalty is the paper's one-sample estimate of
    ‖E[h(x, S)] - h(x, E[S])‖², larger by the variance of the output over the
    masks: its minimum is a network that no mask changes.

    It is a Functional model of the same layers, variables and names, to be
    compiled and fitted as usual. The penalty stands in the training loss
    only, without sample weights.

    Args:
        model: Sequential or Functional `keras.Model` of one output.
        strength: Float λ, not negative. The paper tries 0.1 to 10.
        from_logits: Whether the last axis of the output holds logits. h is
            then their softmax, as the paper's is (its Eq. 21). Defaults to
            False.

    Raises:
        ValueError: If `model` is subclassed, not built or has several
            outputs, or `strength` is out of its range.

    Reference:
        Ma, Gao, Hu, Yu, Deng, Hovy, 2017: Dropout with Expectation-linear
        Regularization, ICLR, Eq. 15 and 17.
    """

    def __init__(self, model, strength, from_logits=False):
        strength = errors.check_not_negative("strength", strength)
        functional = isinstance(model, (keras.Sequential, keras.Function))
        if not functional or not model.built or len(model.outputs) != 1:
            raise errors.invalid(
                "model",
                "a built Sequential or Functional model of one output",
                model,
            )
        inputs = model.inputs[0]
        if not isinstance(model, keras.Sequential):
            inputs = model.input  # a structure, perhaps
        super().__init__(inputs, model.outputs[0], name=model.name)
        self.strength = strength
        self.from_logits = errors.check_bool("from_logits", from_logits)

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not training:
            return loss
        deterministic = self(x, training=False)
        difference = self._output(y_pred) - self._output(deterministic)
        axes = tuple(range(1, len(difference.shape)))
        gap = ops.mean(ops.sum(ops.square(difference), axis=axes))
        return loss + self.strength * gap

    def _output(self, outputs):
        outputs = ops.cast(outputs, "float32")
        return ops.softmax(outputs) if self.from_logits else outputs

    def get_config(self):
        model = keras.Model(self.input, self.output, name=self.name)
        return {
            "model": keras.saving.serialize_keras_object(model),
            "strength": self.strength,
            "from_logits": self.from_logits,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        model = keras.saving.deserialize_keras_object(
            config.pop("model"), custom_objects=custom_objects
        )
        return cls(model, **config)
