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
import sys
import traceback

import keras_tuner
import numpy as np

ENDED = ("COMPLETED", "FAILED")


class _Durable:
    """A mixin for `keras_tuner.Oracle`."""

    def create_trial(self, tuner_id):
        with _end_a_chief_that_fails():
            return super().create_trial(tuner_id)

    def update_trial(self, trial_id, metrics, step=0):
        with _end_a_chief_that_fails():
            return super().update_trial(trial_id, metrics, step)

    def end_trial(self, trial):
        with _end_a_chief_that_fails():
            super().end_trial(trial)

    def save(self):
        _write(self._get_oracle_fname(), self.get_state())

    def _save_trial(self, trial):
        folder = self._get_trial_dir(trial.trial_id)
        _write(os.path.join(folder, "trial.json"), trial.get_state())

    def reload(self):
        super().reload()
        # A trial that the oracle has not noted is proposed again; one that
        # ended has ended, noted or not; any other one runs again.
        self.trials = {key: self.trials[key] for key in self.start_order}
        self._retry_queue = []
        for key in self.start_order:
            trial = self.trials[key]
            if trial.status not in ENDED:
                trial.metrics = type(trial.metrics)()
                self._retry_queue.append(key)
            elif key not in self.end_order:
                self.end_order.append(key)


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
        super().__init__(**kwargs)
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


def make_oracle(kind, objective, direction, trials, epochs, seed):
    """Returns an oracle that a kill at any moment does not hurt.

    It prints nothing. Failed trials do not end the search, however many.

    Args:
        kind: "random", "bayesian", "hyperband" or "grid".
        objective: String, key of the metric.
        direction: "max" or "min".
        trials: Integer, how many at most.
        epochs: Integer, the most that Hyperband gives a trial.
        seed: Integer of at least 0.
    """
    arguments = {
        "objective": keras_tuner.Objective(objective, direction),
        # KerasTuner takes 0 for none.
        "seed": seed + 1,
        "max_consecutive_failed_trials": float("inf"),
    }
    if kind == "hyperband":
        oracle = HyperbandOracle(
            max_trials=trials,
            max_epochs=epochs,
            hyperband_iterations=trials,
            **arguments,
        )
    else:
        kinds = {
            "random": RandomSearchOracle,
            "bayesian": BayesianOptimizationOracle,
            "grid": GridSearchOracle,
        }
        oracle = kinds[kind](max_trials=trials, **arguments)
    oracle.verbose = 0
    return oracle


@contextlib.contextmanager
def _end_a_chief_that_fails():
    """Ends the process of a chief in which an error occurs.

    KerasTuner does not release its lock then, and the chief would hang.
    """
    try:
        yield
    except Exception:
        if "chief" not in os.environ.get("KERASTUNER_TUNER_ID", ""):
            raise
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _write(path, state):
    """Writes JSON so that the file is the old one or the new one."""
    with open(f"{path}.new", "w") as file:
        json.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.new", path)
