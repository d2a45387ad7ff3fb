"""One search of `dropx tune`: its space, its trials, its worker's loop."""

import gc
import os
import time
from pathlib import Path
from typing import NamedTuple

import keras
import keras_tuner
import numpy as np

from keras_dropx.experiments.batches import training_batches
from keras_dropx.experiments.panels import BATCHNORM, MASKS
from keras_dropx.experiments.training import compile_model
from keras_dropx.tuner import DropoutHyperModel
from keras_dropx.tuner.oracles import make_oracle
from keras_dropx.tuner.search_spaces import METHODS

# Each network is trained as in the panel it comes from.
NETWORKS = {"mlp": MASKS, "convnet_bn": BATCHNORM}
OBJECTIVES = {"val_accuracy": "max", "val_loss": "min"}
# A process that dies so often in one trial is not given it again.
ATTEMPTS = 3


class Settings(NamedTuple):
    """What makes a search; two runs that differ in it are two searches.

    Attributes:
        dataset: TFDS name.
        train_size: Integer, training images.
        network: Key of `NETWORKS`.
        method: "any" or a method of `any_dropout`.
        tuner: "random", "bayesian", "hyperband" or "grid".
        executions: Integer, trainings a trial.
        epochs: Integer, epochs of each training.
        objective: Key of `OBJECTIVES`, on the validation images.
        seed: Integer of the split, the proposals and the trainings.
        rate: Pair, the range of the drop rates.
        backward_rate: Pair, the range of the backward ratio.
        sigma: Pair, the range of σ.
    """

    dataset: str
    train_size: int
    network: str
    method: str
    tuner: str
    executions: int
    epochs: int
    objective: str
    seed: int
    rate: tuple
    backward_rate: tuple
    sigma: tuple

    @property
    def panel(self):
        """The panel whose network and optimizer are used."""
        return NETWORKS[self.network]

    @property
    def methods(self):
        """The searches: the method's, and plain dropout's beside it."""
        return tuple(dict.fromkeys((self.method, "dropout")))


def steps_per_epoch(settings):
    """Returns the training steps of an epoch, the last batch filled up."""
    return -(-settings.train_size // settings.panel.batch_size)


def space(settings, method):
    """Returns the arguments of `any_dropout` for a search.

    Args:
        settings: `Settings`.
        method: "any" or a method.
    """
    return {
        "methods": METHODS if method == "any" else (method,),
        "rate": settings.rate,
        "backward_rate": settings.backward_rate,
        "sigma": settings.sigma,
        # Jumpout's own rescale is for a batch normalisation that follows.
        "rescale": None if settings.network == "convnet_bn" else "mean",
    }


class Search(keras_tuner.Tuner):
    """Trains the trials of one search.

    A trial's metrics are the objective at the last epoch, averaged over the
    executions, and each execution's, `execution_0`, …. A trial in which the
    process died three times is recorded as failed.

    Args:
        settings: `Settings`.
        method: "any" or a method.
        subsets: `datasets.Subsets`; the test part is not touched.
        num_classes: Integer.
        trials: Integer, how many at most.
        output: Folder; the search is in its subfolder `method`.
        on_epoch: Function without arguments, called after each epoch.
        current: Function that returns whether the folder still holds this
            search.
    """

    def __init__(
        self,
        settings,
        method,
        subsets,
        num_classes,
        trials,
        output,
        on_epoch=lambda: None,
        current=lambda: True,
    ):
        folder = Path(output) / method
        tuner_id = os.environ.get("KERASTUNER_TUNER_ID", "tuner0")
        if (folder / "oracle.json").exists():
            # KerasTuner takes up a search again if this tuner took part in
            # it; so does any other that comes later.
            (folder / f"{tuner_id}.json").write_text("{}")
        self.settings = settings
        self.subsets = subsets
        self.on_epoch = on_epoch
        self.current = current
        input_shape = subsets.train[0].shape[1:]

        def build(dropout):
            model = settings.panel.network(input_shape, num_classes, dropout)
            compile_model(model, settings.panel, steps_per_epoch(settings))
            return model

        super().__init__(
            oracle=make_oracle(
                settings.tuner,
                settings.objective,
                OBJECTIVES[settings.objective],
                trials,
                settings.epochs,
                settings.seed,
            ),
            hypermodel=DropoutHyperModel(
                build, seed=settings.seed, **space(settings, method)
            ),
            directory=str(output),
            project_name=method,
            executions_per_trial=settings.executions,
        )

    def run_trial(self, trial):
        """Trains a trial; KerasTuner calls it."""
        self._count_attempt(trial)
        values = [
            self._execute(trial, execution)
            for execution in range(self.executions_per_trial)
        ]
        self._check_current()
        return {
            self.settings.objective: float(np.mean(values)),
            **{f"execution_{k}": value for k, value in enumerate(values)},
        }

    def on_trial_end(self, trial):
        if trial.message:
            # The service does not carry it to the chief.
            folder = Path(self.get_trial_dir(trial.trial_id))
            (folder / "reason").write_text(trial.message)
        super().on_trial_end(trial)

    def pre_create_trial(self):
        self._check_current()
        # KerasTuner asks again at once when there is nothing to do yet.
        if self._is_worker():
            time.sleep(0.05)

    def _check_current(self):
        if not self.current():
            raise keras_tuner.errors.FatalError(
                f"{self.directory} holds another search by now"
            )

    def _execute(self, trial, execution):
        # Else the graphs of all trials stay in memory.
        keras.backend.clear_session()
        gc.collect()
        # The order of the batches hangs on the global seed too; it is an
        # execution's, the same for all trials.
        order = self.settings.seed + execution
        keras.utils.set_random_seed(order)
        hp = trial.hyperparameters
        model = self.hypermodel.build(hp)
        epochs = hp.values.get("tuner/epochs", self.settings.epochs)
        past = hp.values.get("tuner/trial_id")
        if past is not None:
            # With its variables there, the momentum is loaded too.
            model.optimizer.build(model.trainable_variables)
            model.load_weights(self._weights(past, execution))
        x, y = self.subsets.train
        history = self.hypermodel.fit(
            hp,
            model,
            training_batches(x, y, self.settings.panel.batch_size, order),
            epochs=epochs,
            initial_epoch=hp.values.get("tuner/initial_epoch", 0),
            steps_per_epoch=steps_per_epoch(self.settings),
            validation_data=self.subsets.validation,
            validation_batch_size=len(self.subsets.validation[0]),
            validation_freq=epochs,
            callbacks=[_Watch(trial, self.on_epoch)],
            shuffle=False,
            verbose=0,
        )
        if self.settings.tuner == "hyperband":
            model.save_weights(self._weights(trial.trial_id, execution))
        return history.history[self.settings.objective][-1]

    def _weights(self, trial_id, execution):
        folder = Path(self.get_trial_dir(trial_id))
        return str(folder / f"execution_{execution}.weights.h5")

    def _count_attempt(self, trial):
        path = attempts_file(self.get_trial_dir(trial.trial_id))
        attempt = int(path.read_text()) if path.exists() else 0
        if attempt >= ATTEMPTS:
            raise keras_tuner.errors.FailedTrialError(
                f"the process died {attempt} times in this trial (out of "
                "memory?)"
            )
        path.write_text(str(attempt + 1))


def attempts_file(trial_folder):
    """Returns the path of the note of how often a trial was begun."""
    return Path(trial_folder) / "attempts"


class _Watch(keras.callbacks.Callback):
    """Tells the hypermodel the trial, and the progress bar the epochs."""

    def __init__(self, trial, on_epoch):
        super().__init__()
        self.trial = trial
        self.on_epoch = on_epoch

    def on_epoch_end(self, epoch, logs=None):
        self.on_epoch()
