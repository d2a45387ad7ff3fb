"""The trials of one search of `dropx tune`: how each is trained and scored."""

import copy
import gc
import os
import time
from pathlib import Path

import keras
import keras_tuner
import numpy as np

from keras_dropx.errors import ProcessError, UserError, naming
from keras_dropx.experiments.build import (
    CROSS_ENTROPY,
    batches,
    compile_model,
    cross_entropy,
    decay,
)
from keras_dropx.experiments.records import write_atomically
from keras_dropx.experiments.search import notes
from keras_dropx.experiments.search.oracles import oracle_of
from keras_dropx.experiments.search.settings import make_plan, space
from keras_dropx.tuner import DropoutHyperModel
from keras_dropx.tuner.memory import forgotten_gradients

# A process that dies so often in one trial is not given it again.
ATTEMPTS = 3
# The note of how often a trial was begun, in its folder.
BEGUN = "attempts"


class Trials(keras_tuner.Tuner):
    """Runs the trials of one search; a subclass trains them, in `_train`.

    A trial's metrics are the objective at the last epoch, averaged over the
    executions, and each execution's, `execution_0`, …. A trial in which the
    process died three times is recorded as failed. A file that cannot be read
    or written is no fault of a trial: it ends the search.

    Args:
        build: Function of `dropout` that returns the compiled model.
        space: Dict, the arguments of `any_dropout` but for the methods.
        watch: Function without arguments, called before and after a trial is
            proposed and when it has been trained; what it raises of the
            errors of a command ends the search.

    Raises:
        UserError: If a file of the search is damaged.
    """

    def __init__(
        self,
        settings,
        method,
        build,
        space,
        trials,
        output,
        watch=lambda: None,
    ):
        self.settings = settings
        folder = Path(output) / method
        tuner_id = os.environ.get("KERASTUNER_TUNER_ID", "tuner0")
        if (folder / "oracle.json").exists():
            # KerasTuner takes up a search again if this tuner took part in
            # it; so does any other that comes later.
            write_atomically(folder / f"{tuner_id}.json", "{}")
        self.watch = watch
        super().__init__(
            oracle=oracle_of(settings, trials),
            hypermodel=DropoutHyperModel(
                build, method, seed=settings.seed, **space
            ),
            directory=str(output),
            project_name=method,
            executions_per_trial=settings.executions,
        )

    def search(self):
        """Runs all trials.

        Raises:
            UserError: If a file of the search is damaged.
            OSError: If one cannot be written.
            ProcessError: As `watch` raises it.
        """
        try:
            super().search()
        except keras_tuner.errors.FatalError as error:
            raise error.args[0] from None

    def run_trial(self, trial):
        """Trains a trial; KerasTuner calls it."""
        values = []
        try:
            self.watch()
            self._count_attempt(trial)
            for execution in range(self.executions_per_trial):
                gc.collect()
                with forgotten_gradients():
                    values.append(self._train(trial, execution))
            self.watch()
        except (OSError, UserError, ProcessError) as error:
            # Of all errors KerasTuner lets this one pass.
            raise keras_tuner.errors.FatalError(error) from None
        return {
            self.oracle.objective.name: float(np.mean(values)),
            **{f"execution_{k}": value for k, value in enumerate(values)},
        }

    def on_trial_end(self, trial):
        if trial.message:
            # The service does not carry it to the chief.
            folder = Path(self.get_trial_dir(trial.trial_id))
            write_atomically(folder / "reason", trial.message)
        super().on_trial_end(trial)

    def pre_create_trial(self):
        self.watch()
        # KerasTuner asks again at once when there is nothing to do yet.
        if self._is_worker():
            time.sleep(0.05)

    def save(self):
        # KerasTuner would write a tuner's own, empty state too, in place.
        if not self._is_worker():
            self.oracle.save()

    def _fit(self, trial, execution, model, callbacks=(), **arguments):
        """Trains a model, which goes on where Hyperband stopped a trial."""
        hp = trial.hyperparameters
        # By it the hypermodel knows the trial.
        told = keras.callbacks.Callback()
        told.trial = trial
        past = hp.values.get("tuner/trial_id")
        if past is not None:
            # With its variables there, the momentum is loaded too.
            model.optimizer.build(model.trainable_variables)
            path = self._weights(past, execution)
            with notes.reading(path), naming(path):
                model.load_weights(path)
        history = self.hypermodel.fit(
            hp,
            model,
            **arguments,
            epochs=hp.values.get("tuner/epochs", self.settings.epochs),
            initial_epoch=hp.values.get("tuner/initial_epoch", 0),
            callbacks=[*copy.deepcopy(callbacks), told],
            verbose=0,
        )
        if "tuner/epochs" in hp.values:
            path = self._weights(trial.trial_id, execution)
            with naming(path):
                model.save_weights(path)
        return history

    def _weights(self, trial_id, execution):
        folder = Path(self.get_trial_dir(trial_id))
        return str(folder / f"execution_{execution}.weights.h5")

    def _count_attempt(self, trial):
        path = Path(self.get_trial_dir(trial.trial_id)) / BEGUN
        attempt = notes.read_number(path, "remove it")
        if attempt >= ATTEMPTS:
            raise keras_tuner.errors.FailedTrialError(
                f"the process died {attempt} times in this trial (out of "
                "memory?)"
            )
        write_atomically(path, str(attempt + 1))


class Search(Trials):
    """Trains the trials of one search on a plan.

    Args:
        subsets: `datasets.Subsets`; the test part is not touched.
        num_classes: Integer.
        **others: As in `Trials`.
    """

    def __init__(self, settings, method, subsets, num_classes, **others):
        self.plan = make_plan(settings)
        self.steps = -(-settings.train_size // self.plan.batch_size)
        self.subsets = subsets
        input_shape = subsets.train[0].shape[1:]
        self.measured, metrics = settings.objective, ["accuracy"]
        if settings.objective == "val_loss" and self.plan.weight_decay:
            # The loss itself holds it.
            self.measured = f"val_{CROSS_ENTROPY}"
            metrics = [cross_entropy()]

        def build(dropout):
            model = self.plan.network(
                input_shape, num_classes, dropout, **self.plan.options
            )
            decay(model, self.plan.weight_decay)
            compile_model(model, self.plan, self.steps, metrics=metrics)
            return model

        arguments = space(settings, input_shape, num_classes)
        super().__init__(settings, method, build, arguments, **others)

    def _train(self, trial, execution):
        # Else the graphs of all trials stay in memory.
        keras.backend.clear_session()
        # That forgets the policy too.
        keras.config.set_dtype_policy(self.settings.precision)
        # The order of the batches hangs on the global seed too; it is an
        # execution's, the same for all trials.
        order = self.settings.seed + execution
        keras.utils.set_random_seed(order)
        values = trial.hyperparameters.values
        history = self._fit(
            trial,
            execution,
            self.hypermodel.build(trial.hyperparameters),
            x=batches(self.plan, self.subsets.train, order, 0),
            steps_per_epoch=self.steps,
            validation_data=self.subsets.validation,
            validation_batch_size=len(self.subsets.validation[0]),
            validation_freq=values.get("tuner/epochs", self.settings.epochs),
            shuffle=False,
        )
        return history.history[self.measured][-1]
