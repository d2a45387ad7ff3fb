import json
import os
import pathlib
import subprocess
import sys

import keras_tuner
import pytest

from keras_dropx.tuner import any_dropout
from keras_dropx.tuner.oracles import make_oracle

KINDS = ("random", "bayesian", "hyperband", "grid")


class Killed(BaseException):
    """Stands for SIGKILL: nothing that KerasTuner catches."""


class Search(keras_tuner.Tuner):
    """Scores a trial without training; dies where it is told to."""

    def __init__(self, folder, kind, trials=14, die=lambda place: None):
        self.die = die
        self.ran = []
        oracle = make_oracle(kind, "score", "max", trials, 4, 3)
        saved, trial_saved = oracle.save, oracle._save_trial

        def save():
            die("before oracle")
            saved()
            die("after oracle")

        def save_trial(trial):
            die("before trial")
            trial_saved(trial)
            die("after trial")

        oracle.save, oracle._save_trial = save, save_trial
        if (folder / "p" / "oracle.json").exists():
            (folder / "p" / "tuner0.json").write_text("{}")
        super().__init__(
            oracle,
            lambda hp: any_dropout(hp),
            directory=folder,
            project_name="p",
        )

    def _populate_initial_space(self):
        hp = self.oracle.get_space()
        any_dropout(hp)
        self.oracle.update_space(hp)

    def run_trial(self, trial):
        self.die("in trial")
        values = trial.hyperparameters.values
        self.ran.append(trial.trial_id)
        rate = values.get("dropout_rate", values.get("dropout_sigma"))
        return {"score": 1 - (rate - 0.2) ** 2}


def state(search):
    return {
        key: (trial.hyperparameters.values, trial.score, trial.status)
        for key, trial in search.oracle.trials.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_killed_anywhere_a_search_ends_as_if_it_never_was(kind, tmp_path):
    """A death at each place where something is written, one after another."""
    whole = Search(tmp_path / "whole", kind)
    whole.search()
    expected = state(whole)
    assert len(expected) == 14
    assert {status for *_, status in expected.values()} == {"COMPLETED"}

    deaths = 0
    for at in range(1, 10_000):
        count = 0
        kept = {
            path.parent.name
            for path in (tmp_path / "killed" / "p").glob("*/trial.json")
            if '"COMPLETED"' in path.read_text()
        }

        def die(place, at=at):
            nonlocal count
            count += 1
            # A trial writes 12 times, a resumed one 10 times.
            if count == 1 + 7 * at % 23:
                raise Killed(place)

        search = Search(tmp_path / "killed", kind, die=die)
        try:
            search.search()
        except Killed:
            deaths += 1
        else:
            break
        finally:
            assert not kept & {f"trial_{key}" for key in search.ran}
    assert deaths > 8
    assert state(search) == expected
    assert sorted(search.oracle.end_order) == sorted(expected)
    assert search.oracle.start_order == list(expected)
    assert search.oracle.ongoing_trials == {}


@pytest.mark.parametrize("kind", KINDS)
def test_more_trials_go_on_where_fewer_ended(kind, tmp_path):
    first = Search(tmp_path / "steps", kind, trials=5)
    first.search()
    steps = Search(tmp_path / "steps", kind, trials=9)
    steps.search()
    assert steps.ran == ["5", "6", "7", "8"]
    assert {key: state(steps)[key] for key in state(first)} == state(first)
    # Hyperband's first bracket hangs on the number of trials.
    if kind != "hyperband":
        whole = Search(tmp_path / "whole", kind, trials=9)
        whole.search()
        assert state(steps) == state(whole)


def test_a_file_is_the_old_one_or_the_new_one(tmp_path, monkeypatch):
    search = Search(tmp_path, "random", trials=2)
    search.search()
    path = tmp_path / "p" / "oracle.json"
    before = path.read_text()

    def fail(*args):
        raise Killed

    monkeypatch.setattr(os, "fsync", fail)
    search.oracle.seed = 99
    with pytest.raises(Killed):
        search.oracle.save()
    assert path.read_text() == before
    assert json.loads(before)["seed"] == 4


def test_hyperband_begins_with_a_bracket_that_fits(tmp_path):
    def brackets(trials):
        oracle = make_oracle("hyperband", "a", "max", trials, 100, 0)
        bracket = oracle._current_bracket
        return bracket, [
            (oracle._get_size(bracket, k), oracle._get_epochs(bracket, k))
            for k in range(bracket + 1)
        ]

    assert brackets(200)[0] == 4
    bracket, rounds = brackets(20)
    assert 0 < bracket < 4
    assert sum(size for size, _ in rounds) <= 20
    assert rounds[-1][1] == 100  # The last round has all the epochs.
    assert brackets(2) == (0, [(6, 100)])


CHIEF = """
import keras_tuner, os, sys
from keras_dropx.tuner.oracles import make_oracle
os.environ["KERASTUNER_TUNER_ID"] = "chief-x"
oracle = make_oracle("random", "a", "max", 3, 1, 0)
oracle.update_trial("99", {"a": 1.0})
"""


def test_a_chief_that_fails_ends_and_does_not_hang():
    done = subprocess.run(
        [sys.executable, "-c", CHIEF],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "KeyError" in done.stderr


def test_failures_do_not_end_a_search(tmp_path):
    class Failing(Search):
        def run_trial(self, trial):
            raise keras_tuner.errors.FailedTrialError("no luck")

    search = Failing(tmp_path, "random", trials=6)
    search.search()
    trials = search.oracle.trials.values()
    assert [trial.status for trial in trials] == ["FAILED"] * 6
    assert "no luck" in next(iter(trials)).message


def test_seed_0_is_a_seed(tmp_path):
    seeds = [make_oracle("random", "a", "max", 3, 1, 0).seed for _ in range(3)]
    assert seeds == [1, 1, 1]


def test_the_folder_of_a_trial_is_where_keras_tuner_has_it(tmp_path):
    search = Search(tmp_path, "random", trials=1)
    search.search()
    path = pathlib.Path(search.get_trial_dir("0")) / "trial.json"
    assert json.loads(path.read_text())["status"] == "COMPLETED"
