"""KerasTuner's oracles, made safe against a kill at any moment.

KerasTuner 1.4 notes a trial in two files, one after the other, and truncates
a file before it writes it. What a SIGKILL leaves in between would be a trial
that never ends, or a file that cannot be read. Grid search forgets on a
restart which combinations come next, and Bayesian optimisation where its
random numbers were.
"""

import contextlib
import functools
import json
import os
import re
import sys
import traceback
from pathlib import Path

import keras_tuner
import numpy as np

from keras_dropx.errors import UserError
from keras_dropx.experiments.records import write_atomically
from keras_dropx.experiments.search import notes


class WrongMessage(ValueError):
    """What a client of the chief must not send; the chief goes on."""


class _Durable:
    """A mixin for `keras_tuner.Oracle`."""

    def create_trial(self, tuner_id):
        if not re.fullmatch(r"[\w.-]+", tuner_id):
            raise WrongMessage(f"a worker of the name {tuner_id!r}")
        with _end_a_chief_that_fails():
            return super().create_trial(tuner_id)

    def update_trial(self, trial_id, metrics, step=0):
        self._check_running(trial_id)
        if self.objective.name not in metrics:
            raise WrongMessage(f"metrics without {self.objective.name}")
        with _end_a_chief_that_fails():
            return super().update_trial(trial_id, metrics, step)

    def end_trial(self, trial):
        self._check_running(trial.trial_id)
        own = self.trials[trial.trial_id]
        if trial.status not in (*notes.ENDED, "INVALID"):
            raise WrongMessage(f"a trial that ends as {trial.status}")
        if trial.status == "COMPLETED" and not own.metrics.exists(
            self.objective.name
        ):
            raise WrongMessage("a trial that ends without its metrics")
        given = trial.hyperparameters
        if not own.hyperparameters.values.keys() <= given.values.keys() or (
            self._new_entries(given)
        ):
            raise WrongMessage("a trial of other hyperparameters")
        with _end_a_chief_that_fails():
            super().end_trial(trial)

    def update_space(self, hyperparameters):
        # Once a trial has begun, all are known.
        if self.trials and self._new_entries(hyperparameters):
            raise WrongMessage("other hyperparameters")
        super().update_space(hyperparameters)

    def save(self):
        write_atomically(self._get_oracle_fname(), json.dumps(self.get_state()))

    def _save_trial(self, trial):
        path = Path(self._get_trial_dir(trial.trial_id)) / "trial.json"
        write_atomically(path, json.dumps(trial.get_state()))

    def reload(self):
        path = Path(self._get_oracle_fname())
        fresh = self.get_state()
        self.trials = {
            trial.trial_id: trial for trial in notes.read_trials(path.parent)
        }
        with notes.reading(path):
            state = json.loads(path.read_bytes())
            notes.check_oracle(state, fresh, self.trials)
            self.set_state(state)
        # A trial that the oracle has not noted is proposed again; one that
        # ended has ended, noted or not; any other one runs again.
        self.trials = {key: self.trials[key] for key in self.start_order}
        self.ongoing_trials = {}
        self._retry_queue = []
        for key, trial in self.trials.items():
            if trial.status not in notes.ENDED:
                trial.metrics = type(trial.metrics)()
                self._retry_queue.append(key)
            elif key not in self.end_order:
                self.end_order.append(key)

    def _check_running(self, trial_id):
        running = {trial.trial_id for trial in self.ongoing_trials.values()}
        if trial_id not in running:
            raise WrongMessage(f"a trial {trial_id!r} that does not run")

    def _new_entries(self, hyperparameters):
        known = {entry.name for entry in self.hyperparameters.space}
        return {entry.name for entry in hyperparameters.space} - known


class RandomSearchOracle(_Durable, keras_tuner.oracles.RandomSearchOracle):
    """Draws hyperparameters at random."""


class BayesianOptimizationOracle(
    _Durable, keras_tuner.oracles.BayesianOptimizationOracle
):
    """Draws hyperparameters by a Gaussian process."""

    def populate_space(self, trial_id):
        # The numbers of a trial do not depend on what ran before it.
        self._random_state = np.random.RandomState((self.seed, int(trial_id)))
        return super().populate_space(trial_id)


class HyperbandOracle(_Durable, keras_tuner.oracles.HyperbandOracle):
    """Gives many trials few epochs, and the best of them more.

    It begins with the largest bracket that fits into the number of trials:
    KerasTuner's largest would be cut off before any trial got more epochs.
    """

    def __init__(self, max_trials, **kwargs):
        super().__init__(hyperband_iterations=max_trials, **kwargs)
        self.max_trials = max_trials
        while self._current_bracket > 0 and max_trials < sum(
            self._get_size(self._current_bracket, number)
            for number in range(self._current_bracket + 1)
        ):
            self._current_bracket -= 1
        self._brackets = []
        self._start_new_bracket()


class GridSearchOracle(_Durable, keras_tuner.oracles.GridSearchOracle):
    """Takes the combinations in order, ten values a parameter."""

    def reload(self):
        super().reload()

        def compare(one, other):
            return self._compare(
                self.trials[one].hyperparameters.values,
                self.trials[other].hyperparameters.values,
            )

        ordered = sorted(self.trials, key=functools.cmp_to_key(compare))
        for key in ordered:
            self._ordered_ids.insert(key)
        self._populate_next = ordered


KINDS = {
    "random": RandomSearchOracle,
    "bayesian": BayesianOptimizationOracle,
    "hyperband": HyperbandOracle,
    "grid": GridSearchOracle,
}


def oracle_of(settings, trials):
    """Returns the oracle of a search, which no kill at any moment hurts.

    It prints nothing. Failed trials do not end the search, however many.
    """
    extra = {}
    if settings.tuner == "hyperband":
        extra = {"max_epochs": settings.epochs}
    oracle = KINDS[settings.tuner](
        max_trials=trials,
        objective=keras_tuner.Objective(settings.objective, settings.direction),
        # KerasTuner takes 0 for none.
        seed=settings.seed + 1,
        max_consecutive_failed_trials=float("inf"),
        **extra,
    )
    oracle.verbose = 0
    return oracle


def check(settings, trials, output):
    """Refuses searches that cannot go on from what they have noted.

    Raises:
        UserError: If a file is damaged or missing.
    """
    for method in settings.methods:
        path = output / method / "oracle.json"
        if path.exists():
            oracle = oracle_of(settings, trials)
            oracle._set_project_dir(output, method)
            oracle.reload()
        elif any(
            trial.status in notes.ENDED
            for trial in notes.read_trials(path.parent)
        ):
            raise UserError(f"{path} is missing: {notes.REMEDY}")


@contextlib.contextmanager
def _end_a_chief_that_fails():
    """Ends the process of a chief in which an error occurs.

    KerasTuner does not release its lock then, and the chief would hang. What
    a client did wrong was refused before.
    """
    try:
        yield
    except Exception as error:
        if "chief" not in os.environ.get("KERASTUNER_TUNER_ID", ""):
            raise
        traceback.print_exc()
        place = getattr(error, "filename", None)
        print(f"{place}: {error.strerror}" if place else error, file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)
