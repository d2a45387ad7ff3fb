import contextlib

import keras
import numpy as np
from keras import ops

from keras_dropx.layers.dropout_family import (
    drops,
    in_training,
    seed_generators,
)
from keras_dropx.layers.stand_in import stand_in
from keras_dropx.models.copying import copy_model


def distill(
    model, x, epochs, batch_size, learning_rate, seed, from_logits=False
):
    """Trains a network to predict at once what dropout predicts on average.

    The student starts at the weights of `model`, the teacher. Each step
    lowers

    ```
    mean_i KL(teacher(x_i; mask) ‖ student(x_i))
    ```

    with new masks, by SGD with momentum 0.9 (our choice of optimizer). What
    does not depend on the student apart, its expectation over the masks is
    KL(E_mask[teacher(x; mask)] ‖ student(x)): the student learns the Monte
    Carlo average. It needs no labels. Student and teacher are in inference
    mode but for the teacher's dropout (as in `monte_carlo_predict`), so batch
    normalisation keeps its moving statistics. The step is compiled with XLA
    or without as the model is.

    Args:
        model: Built Sequential or Functional `keras.Model` with dropout and
            one output, class probabilities along the last axis. It is not
            changed.
        x: Array of inputs, unlabelled ones too.
        epochs: Positive integer, passes over `x`.
        batch_size: Positive integer, in samples.
        learning_rate: Positive float or schedule, of SGD.
        seed: Integer; fixes the masks and the order of the batches.
        from_logits: Whether the output holds logits. Defaults to False.

    Returns:
        The student, a `keras.Model` of the class and layers of `model`, with
        its dropout layers, not compiled. Its prediction is the deterministic
        one.

    Raises:
        ValueError: If the model has no dropout, or cannot be copied as it is:
            a copy forgets what was replaced in place.

    Reference:
        Bulò, Porzi, Kontschieder, 2016: Dropout Distillation, ICML.
    """
    if not any(drops(layer) for layer in model._flatten_layers()):
        raise ValueError(
            "Expected a model with dropout. Without, there is nothing to "
            f"average over. Received: model {model.name!r}"
        )
    for layer in model._flatten_layers():
        if stand_in(layer):
            raise ValueError(
                "Expected a model whose dropout was not replaced in place, "
                "which a copy would forget. Received: model "
                f"{model.name!r}, in which {type(stand_in(layer)).__name__} "
                f"stands in for layer {layer.name!r}"
            )
    teacher = copy_model(model, lambda layer: None)
    student = copy_model(model, lambda layer: None)
    generators = {
        id(generator): generator
        for layer in teacher._flatten_layers()
        for generator in seed_generators(layer)
    }
    for index, generator in enumerate(generators.values()):
        entropy = np.random.SeedSequence((seed, index))
        word = int(entropy.generate_state(1)[0]) // 2  # torch: 31 bits
        generator.state.assign([word, 0])
    pair = _Pair(teacher, student, from_logits)
    pair.compile(
        keras.optimizers.SGD(learning_rate, momentum=0.9),
        jit_compile=model.jit_compile if model.compiled else "auto",
    )
    # Keras shuffles these by the global seed.
    batches = _Batches(x, batch_size, seed)
    pair.fit(batches, epochs=epochs, shuffle=False, verbose=0)
    return student


class _Pair(keras.Model):
    """The student, whose loss is its distance to the teacher."""

    def __init__(self, teacher, student, from_logits):
        super().__init__(name="distillation", autocast=False)
        teacher.trainable = False
        self.teacher = teacher
        self.student = student
        self.from_logits = from_logits

    def call(self, inputs):
        return self.student(inputs, training=False)

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        with contextlib.ExitStack() as stack:
            for layer in self.teacher._flatten_layers():
                if drops(layer):
                    stack.enter_context(in_training(layer))
            target = self._log(self.teacher(x, training=False))
        difference = target - self._log(y_pred)
        return ops.mean(ops.sum(ops.exp(target) * difference, axis=-1))

    def _log(self, outputs):
        outputs = ops.cast(outputs, "float32")
        if self.from_logits:
            return ops.log_softmax(outputs)
        return ops.log(ops.maximum(outputs, keras.config.epsilon()))


class _Batches(keras.utils.PyDataset):
    """The samples in batches, in another order each epoch."""

    def __init__(self, x, batch_size, seed):
        super().__init__()
        self.x = np.asarray(x)
        self.batch_size = batch_size
        self.random = np.random.default_rng(seed)
        self.on_epoch_end()

    def on_epoch_end(self):
        self.order = self.random.permutation(len(self.x))

    def __len__(self):
        return -(-len(self.x) // self.batch_size)

    def __getitem__(self, index):
        start = index * self.batch_size
        return (self.x[self.order[start : start + self.batch_size]],)
