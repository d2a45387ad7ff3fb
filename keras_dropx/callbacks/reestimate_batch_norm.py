import keras

from keras_dropx.models.arguments import check_inputs, check_integer
from keras_dropx.models.batch_norm import StatisticsEstimator


class ReestimateBatchNorm(keras.callbacks.Callback):
    """Evaluates a model with statistics of clean data while it trains.

    The moving statistics of batch normalisation lag behind the weights, and
    dropout before them, averaged weights (`use_ema`) and small batches shift
    them. This callback puts the re-estimated ones of
    `keras_dropx.models.reestimate_batch_norm` in their place

    - before each validation, so that `val_*` is what the model is worth;
    - at the end of each epoch, with or without a validation, so that the
      callbacks after this one (`EarlyStopping`, `ModelCheckpoint`) store them;
    - after the last step, for good, from the weights as they are then.

    When the training goes on, they are taken out again. The training itself
    never sees them: losses, metrics of training and, at the end, all weights
    but the moving statistics are to the bit those of a training without the
    callback. (Without it, and with `restore_best_weights`, another epoch may
    be the best one.)

    List it before `EarlyStopping` and `ModelCheckpoint`, and after callbacks
    that change the weights before a validation (`SwapEMAWeights`).

    Args:
        x: Training inputs, at least two samples: what `model.predict` takes,
            with an end. It is read through once for each validation.
        batch_size: Positive integer, in samples, for arrays. Defaults to 32.
        frequency: "epoch"; or N, after every N training steps besides, for
            callbacks that look at the model there (`save_freq`). Defaults to
            "epoch".

    Raises:
        ValueError: If an argument is out of its range; when the training
            begins, as `reestimate_batch_norm`.

    Example:

    >>> callback = keras_dropx.callbacks.ReestimateBatchNorm(np.ones((8, 3)))

    Reference:
        Izmailov et al., 2018: Averaging Weights Leads to Wider Optima and
        Better Generalization, UAI, section 3.2.
    """

    def __init__(self, x, batch_size=32, frequency="epoch"):
        super().__init__()
        self.x = x
        self.batch_size = check_integer("batch_size", batch_size)
        if not isinstance(frequency, str) or frequency != "epoch":
            frequency = check_integer(
                "frequency", frequency, "'epoch' or a positive integer"
            )
        self.frequency = frequency
        self._stop()

    def on_train_begin(self, logs=None):
        self._stop()
        self._training = True
        self._prepare()

    def on_epoch_begin(self, epoch, logs=None):
        self._take_out()

    def on_train_batch_begin(self, batch, logs=None):
        self._take_out()
        self._first = batch

    def on_train_batch_end(self, batch, logs=None):
        # Several steps may be one execution.
        self._steps += batch - self._first + 1
        if self.frequency == "epoch":
            return
        if self._steps - self._last >= self.frequency:
            self._last = self._steps
            self._put_in()

    def on_test_begin(self, logs=None):
        if self._estimator is None:  # `evaluate` on its own
            self._prepare()
        self._put_in()

    def on_test_end(self, logs=None):
        if not self._training:
            self._take_out()
            self._stop()

    def on_epoch_end(self, epoch, logs=None):
        if not self._trained:
            self._put_in()

    def on_train_end(self, logs=None):
        # From the last weights: averaged ones come in after the last epoch.
        self._put_in()
        self._stop()

    def _prepare(self):
        check_inputs(self.model, self.x)
        self._estimator = StatisticsEstimator(self.model)

    def _put_in(self):
        _ = self.model  # On JAX this brings its variables up to date.
        self._take_out()
        pairs = self._estimator.statistics(self.x, self.batch_size)
        for variable, value in pairs:
            self._trained.append((variable, keras.ops.copy(variable.value)))
            variable.assign(value)

    def _take_out(self):
        for variable, value in self._trained:
            variable.assign(value)
        self._trained = []

    def _stop(self):
        # Compiled functions cannot be copied, and hold the model.
        self._estimator = None
        self._training = False
        self._trained = []
        self._steps = self._last = self._first = 0
