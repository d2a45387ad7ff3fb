"""`dropx tune`, tried as a user would, on the embedded digits."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import types

import keras_tuner
import numpy as np
import pytest

from keras_dropx import cli
from keras_dropx.experiments import (
    arm_runner,
    datasets,
    search,
    session,
    trials_report,
    tune,
)

FAST = ["--epochs", "2", "--executions", "1", "--seeds", "2"]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("data"))
    datasets.load("digits", folder)
    return folder


@pytest.fixture
def dropx(data_dir, capsys):
    """Returns a function that runs `dropx tune` and returns what it printed."""

    def run(*arguments, code=0):
        arguments = ["tune", "--data-dir", data_dir, *map(str, arguments)]
        assert cli.main(arguments) == code
        printed = capsys.readouterr()
        if code:
            assert printed.err.count("\n") == 1
            assert "Traceback" not in printed.err
            return printed.err
        return printed.out

    return run


def command(data_dir, *arguments):
    fixed = [sys.executable, "-m", "keras_dropx.cli", "tune"]
    return [*fixed, "--data-dir", data_dir, *map(str, arguments)]


def trials(folder):
    return trials_report.read(folder)


def outcome(folder):
    return {
        trial.trial_id: (trial.hyperparameters.values, trial.score)
        for trial in trials(folder)
    }


def test_a_search_ends_in_tables_a_comparison_and_a_picture(tmp_path, dropx):
    output = tmp_path / "out"
    arguments = [*FAST[2:], "--epochs", 3, "--trials", 3, "--executions", 2]
    printed = dropx(*arguments, "--output", output)
    assert "any: the best 3 of 3 trials" in printed
    assert "dropout: the best 3 of 3 trials" in printed
    assert "winner - dropout" in printed
    assert (output / "tune.png").stat().st_size > 10_000
    found = {}
    for method in ("any", "dropout"):
        for trial in trials(output / method):
            assert trial.status == "COMPLETED"
            values = trials_report.executions(trial)
            assert len(values) == 2
            assert trial.score == pytest.approx(values.mean())
            found.setdefault(method, []).append(trial)
    top = max(found["any"], key=lambda trial: trial.score)
    values = 100 * trials_report.executions(top)
    assert f"{values.mean():.2f} ± {values.std(ddof=1):.2f}" in printed
    # The same budget, and fresh seeds.
    assert len(found["dropout"]) == len(found["any"])
    records = [
        json.loads(line)
        for line in (output / "runs.jsonl").read_text().splitlines()
    ]
    arms = {"plain", "dropout", "winner", "dropout-remasked"}
    assert {r["arm"] for r in records} == arms
    assert {r["seed"] for r in records} == {1000, 1001}
    winner = records[0]["hyperparameters"]["any"]
    assert winner == top.hyperparameters.values

    # Once more: nothing is run again, the same is printed.
    before = (output / "runs.jsonl").read_text()
    again = dropx(*arguments, "--output", output)
    assert (output / "runs.jsonl").read_text() == before
    assert (
        again[again.index("any: the best") :].split("comparison")[0]
        == (printed[printed.index("any: the best") :].split("comparison")[0])
    )

    # Other settings in the same folder are refused, --overwrite starts afresh.
    other = [*arguments, "--output", output, "--method", "jumpout"]
    assert "holds a search with method='any'" in dropx(*other, code=2)
    assert (output / "runs.jsonl").read_text() == before
    printed = dropx(*other, "--overwrite")
    assert "jumpout: the best 3 of 3 trials" in printed
    assert not (output / "any").exists()


def test_two_searches_of_one_seed_are_the_same(tmp_path, dropx):
    for name in ("a", "b"):
        dropx(*FAST, "--trials", 2, "--output", tmp_path / name, "--seed", 5)
    assert outcome(tmp_path / "a" / "any") == outcome(tmp_path / "b" / "any")


@pytest.mark.filterwarnings("ignore:The optimal value found for dimension")
@pytest.mark.parametrize("kind", ["bayesian", "hyperband", "grid"])
def test_the_other_tuners(tmp_path, dropx, kind):
    arguments = ["--tuner", kind, "--method", "dropout", "--epochs", 4]
    arguments += ["--executions", 1, "--seeds", 2, "--trials", 7]
    printed = dropx(*arguments, "--output", tmp_path)
    assert "dropout: the best 7 of 7 trials" in " ".join(printed.split())
    found = trials(tmp_path / "dropout")
    assert [trial.status for trial in found] == ["COMPLETED"] * 7
    if kind == "hyperband":
        values = [trial.hyperparameters.values for trial in found]
        assert {v["tuner/epochs"] for v in values} == {2, 4}
        later = [v for v in values if v["tuner/epochs"] == 4]
        assert all("tuner/trial_id" in v for v in later)


def test_the_search_never_sees_a_test_image(tmp_path, dropx, monkeypatch):
    seen = {"search": [], "comparison": [], "test": []}
    original = search.Search.__init__

    def init(self, settings, method, subsets, *args):
        for part in (subsets.train, subsets.validation):
            seen["search"].extend(image.tobytes() for image in part[0])
        original(self, settings, method, subsets._replace(test=None), *args)

    monkeypatch.setattr(search.Search, "__init__", init)
    run = arm_runner.ArmRunner.run

    def compare(self, seed, data, *args):
        seen["comparison"].extend(image.tobytes() for image in data.train[0])
        seen["test"].extend(image.tobytes() for image in data.test[0])
        return run(self, seed, data, *args)

    monkeypatch.setattr(arm_runner.ArmRunner, "run", compare)
    dropx(*FAST, "--trials", 1, "--method", "dropout", "--output", tmp_path)
    assert len(set(seen["search"])) >= 490
    assert set(seen["comparison"]) <= set(seen["search"])
    # A few of the digits' images are equal to the bit.
    assert len(set(seen["test"]) & set(seen["search"])) < 3
    assert len(seen["test"]) == 1297 * 2 * 3


class FailingSearch(search.Search):
    def _execute(self, trial, execution):
        if trial.trial_id == "1":
            raise MemoryError("no room for it")
        return super()._execute(trial, execution)


def test_a_trial_that_fails_is_recorded_and_the_search_goes_on(
    tmp_path, dropx, monkeypatch
):
    monkeypatch.setattr(tune.search, "Search", FailingSearch)
    arguments = [*FAST, "--trials", 3, "--method", "dropout"]
    printed = dropx(*arguments, "--output", tmp_path)
    status = [trial.status for trial in trials(tmp_path / "dropout")]
    assert status == ["COMPLETED", "FAILED", "COMPLETED"]
    assert "Trial 1 failed: MemoryError: no room for it" in printed
    # The service between a worker and its chief does not carry the message.
    path = tmp_path / "dropout" / "trial_1" / "trial.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text()), "message": None})
    )
    printed = dropx(*arguments, "--output", tmp_path)
    assert "Trial 1 failed: MemoryError: no room for it" in printed


def test_hyperband_s_winner_is_one_of_the_longest_trainings(tmp_path):
    def trial(score, epochs):
        return types.SimpleNamespace(
            status="COMPLETED",
            score=score,
            hyperparameters=types.SimpleNamespace(
                values={"tuner/epochs": epochs}
            ),
        )

    found = [trial(0.9, 2), trial(0.7, 4), trial(0.8, 4), trial(0.95, 3)]
    assert trials_report.best(found, settings_of()).score == 0.8
    assert trials_report.best([], settings_of()) is None


def test_another_search_in_the_folder_ends_a_worker(tmp_path, data_dir):
    splits, _ = datasets.splits("digits", 300, data_dir)
    searched = search.Search(
        settings_of(epochs=1),
        "any",
        splits(0),
        10,
        2,
        tmp_path,
        current=lambda: len(trials(tmp_path / "any")) < 1,
    )
    with pytest.raises(keras_tuner.errors.FatalError, match="another search"):
        searched.search()
    (found,) = trials(tmp_path / "any")
    assert found.status == "RUNNING"


def test_an_overwrite_that_was_killed_leaves_nothing_to_go_on_with(
    tmp_path, dropx
):
    arguments = [*FAST, "--trials", 1, "--method", "dropout"]
    dropx(*arguments, "--output", tmp_path)
    (tmp_path / "search.json").unlink()
    (tmp_path / "dropout" / "trial_0" / "trial.json").unlink()
    printed = dropx(*arguments, "--output", tmp_path)
    assert "dropout: the best 1 of 1 trials" in " ".join(printed.split())


def test_a_trial_that_kills_its_process_thrice_is_given_up(tmp_path, data_dir):
    splits, source = datasets.splits("digits", 300, data_dir)
    settings = settings_of(method="dropout", epochs=1)
    folder = tmp_path / "dropout" / "trial_0"
    folder.mkdir(parents=True)
    search.attempts_file(folder).write_text("3")
    searched = search.Search(settings, "dropout", splits(0), 10, 2, tmp_path)
    searched.search()
    first, second = trials(tmp_path / "dropout")
    assert (first.status, second.status) == ("FAILED", "COMPLETED")
    assert "died 3 times" in trials_report.failures([first])[0]


def settings_of(**changes):
    settings = search.Settings(
        dataset="digits",
        train_size=300,
        network="mlp",
        method="any",
        tuner="random",
        executions=1,
        epochs=2,
        objective="val_accuracy",
        seed=0,
        rate=(0.0, 0.5),
        backward_rate=(1e-5, 1e-2),
        sigma=(0.05, 0.5),
    )
    return settings._replace(**changes)


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def processes_of(output):
    """Returns the numbers of the processes with this folder as argument."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as file:
                arguments = file.read().split("\0")
        except OSError:
            continue
        if str(output) in arguments:
            found.append((int(pid), arguments))
    return found


def test_a_chief_and_two_workers_one_killed_in_mid_trial(tmp_path, data_dir):
    output = tmp_path / "out"
    arguments = ["--method", "dropout", "--trials", 6, "--executions", 1]
    arguments += ["--epochs", 150, "--seeds", 2, "--output", output]
    folder = output / "dropout"
    with open(tmp_path / "printed", "w+") as printed:
        process = subprocess.Popen(
            command(data_dir, *arguments, "--workers", 2),
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        try:

            def running():
                # The trial whose attempt is noted has begun.
                return [
                    path
                    for path in folder.glob("trial_*/attempts")
                    if '"RUNNING"' in (path.parent / "trial.json").read_text()
                ]

            wait_for(lambda: len(running()) == 2, 120)
            (victim,) = (
                pid
                for pid, words in processes_of(output)
                if "worker-1" in words
            )
            os.kill(victim, signal.SIGKILL)
            ended = ("COMPLETED", "FAILED")
            wait_for(
                lambda: (
                    len(trials(folder)) == 6
                    and all(t.status in ended for t in trials(folder))
                ),
                240,
            )
            last = time.monotonic()
            wait_for(
                lambda: (
                    not any(
                        "--worker-id" in words
                        for _, words in processes_of(output)
                    )
                ),
                60,
            )
            assert time.monotonic() - last < 60
            assert process.wait(120) == 0
        finally:
            process.kill()
            process.wait()
        printed.seek(0)
        text = printed.read()
    found = trials(folder)
    assert [trial.status for trial in found] == ["COMPLETED"] * 6
    values = [str(trial.hyperparameters.values) for trial in found]
    assert len(set(values)) == 6
    assert "dropout: the best 6 of 6 trials" in text
    assert len(list((output / "logs").glob("worker-*.log"))) == 2

    attempts = [path.read_text() for path in folder.glob("*/attempts")]
    assert sorted(attempts) == ["1"] * 5 + ["2"]

    # Who comes too late is told so, and does not wait.
    late = command(data_dir, *arguments, "--worker-id", "late")
    late += ["--chief", "127.0.0.1:9"]
    done = subprocess.run(late, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert "The search of dropout is over." in done.stdout


def test_killed_at_five_random_moments_it_ends_as_if_it_never_was(
    tmp_path, data_dir, dropx
):
    arguments = ["--method", "dropout", "--trials", 7, *FAST]
    dropx(*arguments, "--output", tmp_path / "whole")
    expected = outcome(tmp_path / "whole" / "dropout")
    output = tmp_path / "killed"
    moments = random.Random(0)
    kills = 0
    while kills < 5:
        process = subprocess.Popen(
            command(data_dir, *arguments, "--output", output),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # From the first trial on; the start-up takes longer than a trial.
        before = len(outcome(output / "dropout"))
        log = output / "search.log"
        size = log.stat().st_size if log.exists() else 0
        wait_for(
            lambda b=before, log=log, size=size: (
                len(outcome(output / "dropout")) > b
                or (log.exists() and log.stat().st_size > size)
            ),
            90,
        )
        time.sleep(moments.uniform(0, 1.5))
        process.kill()
        process.wait()
        kills += 1
    kept = {
        t.trial_id: t.score
        for t in trials(output / "dropout")
        if t.status == "COMPLETED"
    }
    dropx(*arguments, "--output", output)
    assert outcome(output / "dropout") == expected
    assert all(expected[key][1] == score for key, score in kept.items())


MEMORY = """
import os, sys
from keras_dropx.experiments import datasets, search

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

class Measured(search.Search):
    def on_trial_end(self, trial):
        super().on_trial_end(trial)
        print("MiB", resident(), flush=True)

data_dir, output = sys.argv[1:]
settings = search.Settings(
    "digits", 300, "mlp", "any", "random", 1, 1, "val_accuracy", 0,
    (0.0, 0.5), (1e-5, 1e-2), (0.05, 0.5),
)
splits, _ = datasets.splits("digits", 300, data_dir)
Measured(settings, "any", splits(0), 10, 50, output).search()
"""


def test_memory_does_not_grow_over_50_trials(tmp_path, data_dir):
    """In a process of its own, whose memory holds nothing else."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, data_dir, tmp_path],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    sizes = [float(x.split()[1]) for x in lines if x.startswith("MiB")]
    assert len(sizes) == 50
    # The first trials fill caches; 25 that each left a model's graphs behind
    # would take 150 MiB.
    grown = np.mean(sizes[45:]) - np.mean(sizes[20:25])
    assert grown < 20, sizes


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--rate", "0.3", "0.3"], "argument `rate`. Expected a pair"),
        (["--sigma", "0.5", "0.1"], "argument `sigma`. Expected a pair"),
        (["--rate", "0.1", "1"], r"0 <= low < high < 1. Received: rate="),
        (["--backward-rate", "0", "0.1"], "argument `backward_rate`"),
        (["--train-size", "1790"], "cannot be split"),
        (["--dataset", "no_such_set"], "no_such_set"),
        (["--worker-id", "a"], "give its --chief too"),
        (["--chief", "127.0.0.1:8000"], "--chief needs --workers N"),
        (
            ["--chief", "127.0.0.1:8000", "--worker-id", "a"],
            "holds no search to join",
        ),
        (
            ["--chief", "127.0.0.1:8000", "--worker-id", "my-chief"],
            "no 'chief' in it",
        ),
        (
            ["--chief", "127.0.0.1:8000", "--worker-id", "oracle"],
            "not 'oracle'",
        ),
        (
            ["--chief", "127.0.0.1:8000", "--worker-id", "../a"],
            "expected letters",
        ),
        (
            ["--workers", "1", "--chief", "192.0.2.1:8000"],
            "cannot listen at 192.0.2.1",
        ),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    tmp_path, dropx, arguments, message
):
    output = tmp_path / "out"
    printed = dropx(*FAST, *arguments, "--output", output, code=2)
    assert message in printed
    assert not output.exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--method", "dropot"], "invalid choice: 'dropot'"),
        (["--objective", "test_accuracy"], "invalid choice: 'test_accuracy'"),
        (["--tuner", "magic"], "invalid choice: 'magic'"),
        (["--trials", "0"], "expected a positive integer"),
        (["--workers", "-1"], "expected how many processes"),
        (["--chief", "8000"], "expected ADDRESS:PORT"),
        (["--seed", "x"], "expected an integer from 0"),
    ],
)
def test_mistakes_of_the_command_line(capsys, arguments, message):
    with pytest.raises(SystemExit) as error:
        cli.main(["tune", *arguments])
    assert error.value.code == 2
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1


def test_a_port_in_use_is_named(tmp_path, dropx):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        printed = dropx(
            *FAST,
            *("--workers", 1, "--chief", f"127.0.0.1:{port}"),
            *("--output", tmp_path / "out"),
            code=2,
        )
    assert f"port {port} of 127.0.0.1 is in use" in printed
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path, dropx):
    file = tmp_path / "file"
    file.write_text("")
    printed = dropx(*FAST, "--output", file / "out", code=2)
    assert str(file) in printed and "Not a directory" in printed


def test_a_second_command_in_one_folder_is_refused(tmp_path, dropx):
    with session.locked(tmp_path, "dropx tune"):
        printed = dropx(*FAST, "--output", tmp_path, code=2)
    assert "another dropx tune works in" in printed


def test_help_says_that_the_service_has_no_authentication(capsys):
    with pytest.raises(SystemExit) as error:
        cli.main(["tune", "--help"])
    assert error.value.code == 0
    printed = capsys.readouterr().out
    assert "no authentication" in printed
    assert "dropx tune --chief 10.0.0.5:8000 --worker-id" in printed
