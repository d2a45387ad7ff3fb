"""Reads what a search has noted; a damaged note is one line that names it."""

import contextlib
import itertools
import json
import math

import keras_tuner
from keras_tuner.engine.trial import Trial

from keras_dropx.errors import UserError

STATUS = ("RUNNING", "INVALID", "COMPLETED", "FAILED")
ENDED = ("COMPLETED", "FAILED")
# What only grows of an oracle's state.
COUNTS = {"seed_state", "hyperband_iterations", "current_bracket"}
COUNTS |= {"current_iteration"}
REMEDY = "put a copy of it back, or start afresh with --overwrite"


@contextlib.contextmanager
def reading(path, remedy=REMEDY):
    """Turns whatever the body stumbles over, but an `OSError`, into one line.

    Raises:
        UserError: It names the file, and what the user can do.
    """
    try:
        yield
    except (OSError, UserError):
        raise
    except Exception as error:
        raise UserError(f"{path} is damaged: {remedy}") from error


def read_number(path, remedy):
    """Returns the number that is all of a file, or 0 without the file.

    Raises:
        UserError: If it holds anything else.
    """
    if not path.exists():
        return 0
    with reading(path, remedy):
        return int(path.read_bytes())


def read_trials(folder):
    """Returns the trials in a search's folder, in the order of their ids.

    The folder need not exist yet.
    """
    trials = [
        read_trial(path)
        for path in folder.glob("trial_*/trial.json")
        # A copy that someone keeps beside it is no trial.
        if path.parent.name.removeprefix("trial_").isdecimal()
    ]
    return sorted(trials, key=lambda trial: int(trial.trial_id))


def read_trial(path):
    """Returns the trial in a `trial.json`, with the reason if it failed."""
    with reading(path):
        trial = Trial.from_state(json.loads(path.read_bytes()))
        _check_trial(trial, path.parent.name.removeprefix("trial_"))
    reason = path.parent / "reason"
    if trial.status == "FAILED" and reason.exists():
        trial.message = reason.read_text(errors="replace")
    return trial


def executions(trial):
    """Returns the objective of each training of a trial, a list."""
    count = sum(key.startswith("execution_") for key in trial.metrics.metrics)
    return [
        trial.metrics.get_history(f"execution_{k}")[-1].value[0]
        for k in range(count)
    ]


def check_oracle(state, fresh, trials):
    """Raises whatever it does if `state` cannot be the state of an oracle.

    `fresh` is that of such an oracle that has not begun; `trials` are by id.
    """
    for key, value in fresh.items():
        if key in COUNTS:
            _check(type(state[key]) is int and state[key] >= 0)
        elif isinstance(value, (dict, list)):
            # Of a default dict JSON makes a dict.
            kind = dict if isinstance(value, dict) else list
            _check(isinstance(state[key], kind))
        else:
            _check(state[key] == value)
    _check(state["hyperparameters"]["space"])
    ids = {*state["ongoing_trials"].values(), *state["end_order"]}
    ids.update(state["retry_queue"], state["run_times"], state["id_to_hash"])
    for bracket in state.get("brackets", ()):
        _check(type(bracket["bracket_num"]) is int)
        _check(len(bracket["rounds"]) == bracket["bracket_num"] + 1)
        for pair in itertools.chain(*bracket["rounds"]):
            ids |= {pair["id"], pair["past_id"]} - {None}
    _check(ids <= set(state["start_order"]) <= set(trials))
    _check(all(type(n) is int for n in state["run_times"].values()))
    _check(all(isinstance(x, str) for x in state["tried_so_far"]))


def _check_trial(trial, number):
    _check(trial.trial_id == number and trial.status in STATUS)
    _check(trial.message is None or isinstance(trial.message, str))
    hp = trial.hyperparameters
    _check(hp.space)
    for parameter in hp.space:
        if not hp.is_active(parameter):
            continue
        value = hp.values[parameter.name]
        if isinstance(parameter, keras_tuner.engine.hyperparameters.Float):
            low, high = parameter.min_value, parameter.max_value
            _check(_is_number(value) and low <= value <= high)
        else:
            _check(value in parameter.values)
    if trial.status == "COMPLETED":
        values = executions(trial)
        _check(values and all(map(_is_number, values)))
        _check(_is_number(trial.score))


def _is_number(value):
    return type(value) in (int, float) and math.isfinite(value)


def _check(holds):
    if not holds:
        raise ValueError
