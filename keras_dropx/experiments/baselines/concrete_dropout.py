import math

import keras
from keras import ops

from keras_dropx import errors, random
from keras_dropx.layers.checked_arguments import CheckedArguments


@keras.saving.register_keras_serializable("keras_dropx")
class ConcreteDropout(CheckedArguments, keras.layers.Dropout):
    """Applies dropout at a rate that it learns.

    In training, with one logit for the whole layer, p = sigmoid(logit), and a
    uniform number u for each sample and feature,

    ```
    z = sigmoid((log p - log(1 - p) + log u - log(1 - u)) / t)
    y = x ⊙ (1 - z) / (1 - p)
    ```

    z is the concrete relaxation of a drop mask: a differentiable function of
    p, above 1/2 with probability p, and nearer to 0 or 1 the smaller the
    temperature t. In inference the layer is the identity, the usual weight
    scaling; the paper averages over masks there too
    (`keras_dropx.models.monte_carlo_predict`).

    The layer adds to the loss

    ```
    weight_regularizer · ‖W‖² / (1 - p)
    + dropout_regularizer · K · (p log p + (1 - p) log(1 - p))
    ```

    for K input features and the kernel W of the linear layer behind. Which
    that is, `link_kernels` has to tell, after the model is built and again
    after it is loaded; fitting and evaluating a model without is refused.

    The two factors are the prior's and say how large the training set is. For
    a mean log-likelihood loss such as cross-entropy, N training samples and
    a prior length scale l, KL/N, the paper's objective, gives

    ```
    weight_regularizer  = l² / (2N)
    dropout_regularizer = 1 / N
    ```

    and for a mean squared error, of precision τ, both 2/τ times that.

    The words of u are those of the masking layers: of one seed, z > 1/2 where
    `AugmentedDropout` of the rate p drops.

    With more than two axes the axes between are positions: a feature is
    dropped at all of them, as in the authors' layers for convolutions.

    Args:
        weight_regularizer: Float, not negative; 0 needs no `link_kernels`.
        dropout_regularizer: Float, not negative.
        rate: Float between 0 and 1, both excluded: p before training.
            Defaults to 0.1.
        temperature: Positive float t. Defaults to 0.1, the paper's.
        seed: Integer, or None to follow `keras.utils.set_random_seed`.
        **kwargs: `name`, `dtype`, and what else `keras.layers.Layer` takes.

    Call arguments:
        inputs: Float tensor of rank 2 or more.
        training: Whether to apply the noise.

    Input shape:
        `(batch, …, features)`.

    Output shape:
        The input's; the dtype is the layer's compute dtype.

    Raises:
        ValueError: If an argument is out of its range; in `fit` and
            `evaluate`, if no kernel is linked.

    Reference:
        Gal, Hron, Kendall, 2017: Concrete Dropout, NIPS.
    """

    checks = {
        "weight_regularizer": errors.check_not_negative,
        "dropout_regularizer": errors.check_not_negative,
        "rate": lambda name, value: _check_rate(name, value),
        "temperature": errors.check_positive,
    }

    def __init__(
        self,
        weight_regularizer,
        dropout_regularizer,
        rate=0.1,
        temperature=0.1,
        seed=None,
        **kwargs,
    ):
        # A subclass, so that what knows Keras' Dropout finds this one too.
        super().__init__(_check_rate("rate", rate), seed=seed, **kwargs)
        self.weight_regularizer = weight_regularizer
        self.dropout_regularizer = dropout_regularizer
        self.temperature = temperature
        self.penalty = _Penalty(self)

    def build(self, input_shape):
        self.penalty.features = input_shape[-1]
        logit = math.log(self.rate) - math.log1p(-self.rate)
        self.logit = self.add_weight(
            name="logit",
            shape=(),
            initializer=keras.initializers.Constant(logit),
            dtype="float32",
            autocast=False,
            regularizer=self.penalty,
        )
        self.built = True

    @property
    def learned_rate(self):
        """The rate p as it is now, a float32 tensor."""
        return ops.sigmoid(self.logit)

    def call(self, inputs, training=False):
        if not training:
            return inputs
        batch, *positions, features = ops.shape(inputs)
        words = random.words(
            random.next_seed(self.seed_generator),
            (batch, *[1] * len(positions), features),
            extended=True,
        )
        # 1 - u, in 22 bits and a half step: exact in float32, never 0 or 1.
        low = ops.floor(ops.cast(words.low, "float32") * 2.0**-10)
        v = ops.cast(words.high, "float32") * 2.0**-16
        v = v + low * 2.0**-22 + 2.0**-23
        noise = ops.log1p(-v) - ops.log(v)
        kept = ops.sigmoid(-(self.logit + noise) / self.temperature)
        # 1 / (1 - p) = 1 + exp(logit)
        return inputs * ops.cast(
            kept * (1.0 + ops.exp(self.logit)), inputs.dtype
        )

    def get_config(self):
        config = super().get_config()
        del config["noise_shape"]
        return {
            **config,
            "weight_regularizer": self.weight_regularizer,
            "dropout_regularizer": self.dropout_regularizer,
            "temperature": self.temperature,
        }


def _check_rate(name, value):
    return errors.check_number(
        name,
        value,
        "a float value between 0 and 1 (both excluded)",
        lambda rate: 0 < rate < 1,
    )


class _Penalty:
    """The regulariser of the logit, which reads the kernel behind as well.

    The kernel is kept here because a layer would take it for its own.
    """

    def __init__(self, layer):
        self.layer = layer
        self.features = None
        self.kernel = None

    def __call__(self, logit):
        log_p, log_kept = -ops.softplus(-logit), -ops.softplus(logit)
        p = ops.exp(log_p)
        negative_entropy = p * log_p + ops.exp(log_kept) * log_kept
        factor = self.layer.dropout_regularizer * self.features
        penalty = factor * negative_entropy
        if self.layer.weight_regularizer == 0:
            return penalty
        if self.kernel is None:
            raise ValueError(
                f"ConcreteDropout {self.layer.name!r} does not know the kernel "
                "of the linear layer behind it. Call `link_kernels(model)` "
                "when the model is built, and again when it is loaded, or "
                "pass `weight_regularizer=0`."
            )
        square = ops.sum(ops.square(ops.cast(self.kernel, "float32")))
        factor = self.layer.weight_regularizer * (1.0 + ops.exp(logit))
        return penalty + factor * square
