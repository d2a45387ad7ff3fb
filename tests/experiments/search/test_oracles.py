import json
import os
import pathlib
import subprocess
import sys
import types
from concurrent import futures

import grpc
import keras_tuner
import pytest
from keras_tuner.src import protos
from keras_tuner.src.distribute import oracle_chief

from keras_dropx.experiments.search.oracles import WrongMessage, oracle_of
from keras_dropx.tuner import any_dropout

KINDS = ("random", "bayesian", "hyperband", "grid")


def make_oracle(kind, objective, trials, epochs, seed):
    settings = types.SimpleNamespace(
        tuner=kind,
        objective=objective,
        direction="max",
        epochs=epochs,
        seed=seed,
    )
    return oracle_of(settings, trials)


class Killed(BaseException):
    """Stands for SIGKILL: nothing that KerasTuner catches."""


class Search(keras_tuner.Tuner):
    """Scores a trial without training; dies where it is told to."""

    def __init__(self, folder, kind, trials=14, die=lambda place: None):
        self.die = die
        self.ran = []
        oracle = make_oracle(kind, "score", trials, 4, 3)
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
        rate = values.get("dropout_rate", values.get("dropout_sigma", 0.0))
        score = 1 - (rate - 0.2) ** 2
        return {"score": score, "execution_0": score}


def state(search):
    return {
        key: (trial.hyperparameters.values, trial.score, trial.status)
        for key, trial in search.oracle.trials.items()
    }


@pytest.mark.few(1)
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
        oracle = make_oracle("hyperband", "a", trials, 100, 0)
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
import os, sys
from keras_tuner import Objective
from keras_dropx.experiments.search import oracles
os.environ["KERASTUNER_TUNER_ID"] = "chief-x"
oracle = oracles.RandomSearchOracle(Objective("a", "max"), 3)
oracle._set_project_dir(sys.argv[1], "p")
def fail(path, text):
    raise OSError(28, "No space left on device", str(path))
oracles.write_atomically = fail
oracle.create_trial("w")
"""


@pytest.mark.full
def test_a_chief_that_fails_ends_and_does_not_hang(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CHIEF, tmp_path],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    # The launcher shows the last line.
    last = done.stderr.splitlines()[-1]
    assert last.endswith("trial.json: No space left on device")


def running(folder):
    """An oracle that has one trial running."""
    search = Search(folder, "random", trials=3)
    return search.oracle, search.oracle.create_trial("one")


def test_a_wrong_message_changes_nothing(tmp_path, monkeypatch):
    """As the service has it: what fails is the message, not the chief."""
    monkeypatch.setattr(os, "_exit", pytest.fail)
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief-any")
    oracle, trial = running(tmp_path)
    before = json.dumps([oracle.get_state(), trial.get_state()])
    other = keras_tuner.HyperParameters()
    other.Float("learning_rate", 0, 1)

    def wrong(**changes):
        state = {**trial.get_state(), "status": "COMPLETED", **changes}
        return type(trial).from_state(state)

    for call, arguments in (
        ("create_trial", ("",)),
        ("create_trial", ("a/b",)),
        ("update_trial", ("99", {"score": 1.0})),
        ("update_trial", ("0", {"other": 1.0})),
        ("update_trial", ("0", {})),
        ("end_trial", (wrong(trial_id="99"),)),
        ("end_trial", (wrong(),)),
        ("end_trial", (wrong(status="RUNNING"),)),
        ("end_trial", (wrong(status=None),)),
        ("end_trial", (wrong(hyperparameters=other.get_config()),)),
        ("end_trial", (wrong(trial_id="", status="STOPPED"),)),
        ("update_space", (other,)),
    ):
        with pytest.raises(WrongMessage):
            getattr(oracle, call)(*arguments)
    assert json.dumps([oracle.get_state(), trial.get_state()]) == before
    oracle.update_trial("0", {"score": 1.0})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)
    assert oracle.trials["0"].score == 1.0
    # Twice is once too often.
    with pytest.raises(WrongMessage, match="'0' that does not run"):
        oracle.update_trial("0", {"score": 2.0})
    with pytest.raises(WrongMessage, match="'0' that does not run"):
        oracle.end_trial(trial)
    assert oracle.end_order == ["0"] and oracle.trials["0"].score == 1.0


def test_the_service_outlives_wrong_messages(tmp_path):
    """Over the wire, where KerasTuner answers."""
    oracle, _ = running(tmp_path)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    grpc_protos, messages = protos.get_service_grpc(), protos.get_service()
    servicer = oracle_chief.OracleServicer(oracle)
    grpc_protos.add_OracleServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = grpc_protos.OracleStub(channel)
        for call, request in (
            ("UpdateTrial", messages.UpdateTrialRequest(trial_id="9")),
            ("GetTrial", messages.GetTrialRequest(trial_id="9")),
            ("EndTrial", messages.EndTrialRequest()),
            ("CreateTrial", messages.CreateTrialRequest()),
        ):
            with pytest.raises(grpc.RpcError):
                getattr(stub, call)(request, timeout=20)
        raw = channel.unary_unary("/keras_tuner.Oracle/UpdateTrial")
        for method in ("UpdateTrial", "CreateTrial", "None"):
            raw = channel.unary_unary(f"/keras_tuner.Oracle/{method}")
            with pytest.raises(grpc.RpcError):
                raw(b"\xff\xff\xff", timeout=20)
        good = messages.CreateTrialRequest(tuner_id="two")
        assert stub.CreateTrial(good, timeout=20).trial.trial_id == "1"
    server.stop(None)


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
    seeds = [make_oracle("random", "a", 3, 1, 0).seed for _ in range(3)]
    assert seeds == [1, 1, 1]


def test_the_folder_of_a_trial_is_where_keras_tuner_has_it(tmp_path):
    search = Search(tmp_path, "random", trials=1)
    search.search()
    path = pathlib.Path(search.get_trial_dir("0")) / "trial.json"
    assert json.loads(path.read_text())["status"] == "COMPLETED"
