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

import numpy as np
import pytest

import dropx as program
from keras_dropx.errors import ProcessError, UserError
from keras_dropx.experiments import data, run, train
from keras_dropx.experiments.data import open_data
from keras_dropx.experiments.papers import ours
from keras_dropx.experiments.records import locked
from keras_dropx.experiments.search import (
    folder,
    notes,
    processes,
    trials_report,
    tune,
)
from keras_dropx.experiments.search import trials as trials_module

BACKEND = {"backend": "tensorflow", "precision": "float32", "jit": False}
FAST = ["--epochs", "2", "--executions", "1", "--seeds", "2"]
SMALL = ["--trials", 1, "--executions", 1, "--seeds", 1, "--epochs", 1]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("data"))
    data.load("digits", folder)
    return folder


@pytest.fixture
def dropx(data_dir, capsys):
    """Returns a function that runs `dropx tune` and returns what it printed."""

    def run(*arguments, code=0):
        arguments = ["tune", "--data-dir", data_dir, *map(str, arguments)]
        assert program.main(arguments) == code
        printed = capsys.readouterr()
        if code:
            assert printed.err.count("\n") == 1
            assert "Traceback" not in printed.err
            return printed.err
        return printed.out

    return run


def command(data_dir, *arguments):
    fixed = [sys.executable, "-m", "dropx", "tune"]
    return [*fixed, "--data-dir", data_dir, *map(str, arguments)]


def trials(folder):
    return notes.read_trials(folder)


def outcome(folder):
    return {
        trial.trial_id: (trial.hyperparameters.values, trial.score)
        for trial in trials(folder)
    }


def test_a_search_ends_in_tables_a_comparison_and_a_picture(tmp_path, dropx):
    output = tmp_path / "out"
    arguments = [*FAST, "--trials", 2, "--executions", 2]
    printed = dropx(*arguments, "--output", output)
    assert "any: the best 2 of 2 trials" in printed
    assert "dropout: the best 2 of 2 trials" in printed
    assert "winner - dropout" in printed
    assert (output / "tune.png").stat().st_size > 10_000
    found = {}
    for method in ("any", "dropout"):
        for trial in trials(output / method):
            assert trial.status == "COMPLETED"
            values = notes.executions(trial)
            assert len(values) == 2
            assert trial.score == pytest.approx(np.mean(values))
            found.setdefault(method, []).append(trial)
    top = max(found["any"], key=lambda trial: trial.score)
    values = 100 * np.array(notes.executions(top))
    error = values.std(ddof=1) / np.sqrt(2)
    assert f"{values.mean():.2f} ± {error:.2f}" in printed
    # The same budget, and fresh seeds.
    assert len(found["dropout"]) == len(found["any"])
    records = [
        json.loads(line)
        for line in (output / "runs.jsonl").read_text().splitlines()
    ]
    names = {"plain", "dropout", "winner", "dropout-remasked"}
    assert {r["method"] for r in records} == names
    for key, value in BACKEND.items():
        assert {r[key] for r in records} == {value}
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

    # Other settings in the same folder are refused.
    other = [*arguments, "--output", output, "--method", "jumpout"]
    assert "holds a search with method='any'" in dropx(*other, code=2)
    assert (output / "runs.jsonl").read_text() == before


@pytest.mark.full
def test_overwrite_starts_afresh(tmp_path, dropx):
    dropx(*SMALL, "--output", tmp_path)
    before = (tmp_path / "runs.jsonl").read_text()
    other = [*SMALL, "--output", tmp_path, "--method", "jumpout"]
    assert "holds a search with method='any'" in dropx(*other, code=2)
    printed = dropx(*other, "--overwrite")
    assert "jumpout: the best 1 of 1 trials" in printed
    assert not (tmp_path / "any").exists()
    assert not set(before.splitlines()) & set(
        (tmp_path / "runs.jsonl").read_text().splitlines()
    )


@pytest.mark.full
def test_two_searches_of_one_seed_are_the_same(tmp_path, dropx):
    for name in ("a", "b"):
        dropx(*FAST, "--trials", 2, "--output", tmp_path / name, "--seed", 5)
    assert outcome(tmp_path / "a" / "any") == outcome(tmp_path / "b" / "any")


@pytest.mark.full
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


@pytest.mark.full
def test_the_search_never_sees_a_test_image(tmp_path, dropx, monkeypatch):
    seen = {"search": [], "comparison": [], "test": []}
    original = tune.Search.__init__

    def init(self, settings, method, subsets, **others):
        for part in (subsets.train, subsets.validation):
            seen["search"].extend(image.tobytes() for image in part[0])
        original(self, settings, method, subsets._replace(test=None), **others)

    monkeypatch.setattr(tune.Search, "__init__", init)
    run = train.Trainer.run

    def compare(self, seed, data, *args):
        seen["comparison"].extend(image.tobytes() for image in data.train[0])
        seen["test"].extend(image.tobytes() for image in data.test[0])
        return run(self, seed, data, *args)

    monkeypatch.setattr(train.Trainer, "run", compare)
    dropx(*FAST, "--trials", 1, "--method", "dropout", "--output", tmp_path)
    assert len(set(seen["search"])) >= 490
    assert set(seen["comparison"]) <= set(seen["search"])
    # A few of the digits' images are equal to the bit.
    assert len(set(seen["test"]) & set(seen["search"])) < 3
    assert len(seen["test"]) == 1297 * 2 * 3


class FailingSearch(trials_module.Search):
    def _train(self, trial, execution):
        if trial.trial_id == "1":
            raise MemoryError("no room for it")
        return super()._train(trial, execution)


@pytest.mark.full
def test_a_trial_that_fails_is_recorded_and_the_search_goes_on(
    tmp_path, dropx, monkeypatch
):
    monkeypatch.setattr(tune, "Search", FailingSearch)
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


def test_hyperband_s_winner_is_one_of_the_longest_trainings(settings):
    def trial(score, epochs):
        return types.SimpleNamespace(
            status="COMPLETED",
            score=score,
            hyperparameters=types.SimpleNamespace(
                values={"tuner/epochs": epochs}
            ),
        )

    found = [trial(0.9, 2), trial(0.7, 4), trial(0.8, 4), trial(0.95, 3)]
    assert trials_report.best(found, settings).score == 0.8
    assert trials_report.best([], settings) is None


def test_another_search_in_the_folder_ends_a_worker(
    tmp_path, data_dir, settings, monkeypatch
):
    """One of the same settings, which begins while a trial is trained."""
    folder.begin(settings, tmp_path, overwrite=False)
    splits, _ = open_data(ours.MASKS, 300, data_dir)

    class Overtaken(trials_module.Search):
        def _train(self, trial, execution):
            folder.begin(settings, tmp_path, overwrite=True)
            return 0.5

    def make_search(method, **watch):
        processes.leave()  # Else it would ask a chief.
        return Overtaken(
            settings, method, splits(0), 10, trials=2, output=tmp_path, **watch
        )

    monkeypatch.setattr(processes, "_wait_for_chief", lambda *given: True)
    with pytest.raises(ProcessError, match="another search"):
        processes.join(settings, tmp_path, 2, make_search, ("", 9), "node")
    assert trials(tmp_path / "any") == []


def test_a_trial_that_kills_its_process_thrice_is_given_up(
    tmp_path, data_dir, settings, changed
):
    splits, source = open_data(ours.MASKS, 300, data_dir)
    settings = changed(settings, method="dropout", epochs=1)
    folder = tmp_path / "dropout" / "trial_0"
    folder.mkdir(parents=True)
    (folder / trials_module.BEGUN).write_text("3")
    searched = trials_module.Search(
        settings, "dropout", splits(0), 10, trials=2, output=tmp_path
    )
    searched.search()
    first, second = trials(tmp_path / "dropout")
    assert (first.status, second.status) == ("FAILED", "COMPLETED")
    assert "died 3 times" in trials_report.failures([first])[0]


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
        if any(word.endswith(str(output)) for word in arguments):
            found.append((int(pid), arguments))
    return found


@pytest.mark.full
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


@pytest.mark.full
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
from keras_dropx.experiments.data import open_data
from keras_dropx.experiments.papers import ours
from keras_dropx.experiments.search import trials as trials_module
from keras_dropx.experiments.search.settings import Settings

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

class Measured(trials_module.Search):
    def on_trial_end(self, trial):
        super().on_trial_end(trial)
        print("MiB", resident(), flush=True)

data_dir, output = sys.argv[1:]
settings = Settings(
    "digits", 300, "mlp", "any", "random", 1, 1, "val_accuracy", 0,
    (0.0, 0.5), (1e-5, 1e-2), (0.05, 0.5), "float32", False, "tensorflow",
)
splits, _ = open_data(ours.MASKS, 300, data_dir)
Measured(settings, "any", splits(0), 10, trials=50, output=output).search()
"""


@pytest.mark.full
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
        (["--train-size", "1790"], "cannot be split"),
        (["--dataset", "no_such_set"], "no_such_set"),
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
        (
            ["--workers", "1", "--chief", f"{80 * 'ä'}:8000"],
            "it is no address",
        ),
        (["--network", "gaaf_vgg", "--dataset", "no_such"], "no_such"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    tmp_path, dropx, arguments, message
):
    output = tmp_path / "out"
    printed = dropx(*FAST, *arguments, "--output", output, code=2)
    assert message in printed
    assert not output.exists()


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


@pytest.mark.full
@pytest.mark.parametrize("name", ["x[/b]", "run[lr]", ":smile: [red]x"])
def test_the_name_of_a_folder_is_text(tmp_path, dropx, name):
    arguments = ["--epochs", 1, "--executions", 1, "--seeds", 1]
    arguments += ["--trials", 1, "--method", "dropout"]
    output = tmp_path / name
    printed = dropx(*arguments, "--output", output)
    assert f"Figure: {output}/tune.png\n" in printed
    assert f"Every run: {output}/runs.jsonl\n" in printed


def join(settings, output, name="node", chief=("localhost", 9)):
    processes.join(settings, output, 1, None, chief, name)


def test_a_second_worker_of_one_name_is_told(tmp_path, settings):
    folder.begin(settings, tmp_path, overwrite=False)
    with locked(tmp_path / "workers" / "node", "worker"):
        with pytest.raises(UserError, match="another worker of this name"):
            join(settings, tmp_path)


def test_a_chief_at_no_address_is_told(tmp_path, settings, monkeypatch):
    def fail(place, timeout):
        raise socket.gaierror(socket.EAI_NONAME, "Name not known")

    folder.begin(settings, tmp_path, overwrite=False)
    monkeypatch.setattr(socket, "create_connection", fail)
    with pytest.raises(UserError, match="there is no address localhost"):
        join(settings, tmp_path)


def test_a_second_command_in_one_folder_is_refused(tmp_path, dropx):
    with locked(tmp_path, "dropx tune"):
        printed = dropx(*FAST, "--output", tmp_path, code=2)
    assert "another dropx tune works in" in printed


def test_help_says_that_the_service_has_no_authentication(capsys):
    with pytest.raises(SystemExit) as error:
        program.main(["tune", "--help"])
    assert error.value.code == 0
    printed = capsys.readouterr().out
    assert "no authentication" in printed
    assert "dropx tune --chief 10.0.0.5:8000 --worker-id" in printed


@pytest.mark.full
def test_an_interrupted_search_ends_as_if_it_never_was(
    tmp_path, dropx, monkeypatch
):
    """Ctrl-C in the second trial of each search and in the comparison."""
    arguments = [*FAST, "--trials", 2, "--method", "dropout"]
    dropx(*arguments, "--output", tmp_path / "whole")
    output = tmp_path / "interrupted"

    def interrupted(original):
        calls = []

        def call(*args, **kwargs):
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return original(*args, **kwargs)

        return call

    for place, name in (
        (trials_module.Search, "_train"),
        (train.Trainer, "run"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, interrupted(getattr(place, name)))
            printed = dropx(*arguments, "--output", output, code=130)
            assert "interrupted; the same command goes on" in printed
    dropx(*arguments, "--output", output)
    assert outcome(output / "dropout") == outcome(
        tmp_path / "whole" / "dropout"
    )
    numbers = [
        [
            {k: r[k] for k in ("method", "seed", "test_loss", "train_loss")}
            for r in map(json.loads, path.read_text().splitlines())
        ]
        for path in (output / "runs.jsonl", tmp_path / "whole" / "runs.jsonl")
    ]
    assert numbers[0] == numbers[1]


@pytest.mark.full
@pytest.mark.parametrize(
    "network, objective",
    [
        ("lenet", "val_loss"),
        ("mlp", "val_accuracy"),
        ("convnet_bn", "val_accuracy"),
        ("resnet20", "val_accuracy"),
    ],
)
def test_each_kind_of_network_is_searched(network, objective, tmp_path, dropx):
    arguments = [*SMALL, "--network", network, "--method", "jumpout"]
    printed = dropx(*arguments, "--objective", objective, "--output", tmp_path)
    assert "winner - dropout" in printed and objective in printed
    (record, *_) = map(
        json.loads, (tmp_path / "runs.jsonl").read_text().splitlines()
    )
    assert record["network"] == network
    (trial,) = trials(tmp_path / "jumpout")
    assert trial.status == "COMPLETED"
    if objective == "val_loss":
        assert 0 < trial.score < 10


@pytest.mark.full
def test_precision_and_xla_are_those_of_the_trials(
    tmp_path, dropx, monkeypatch
):
    seen = set()
    original = trials_module.Search._train

    def look(self, trial, execution):
        built = self.hypermodel.build(trial.hyperparameters)
        seen.add((built.layers[-2].compute_dtype, built.jit_compile))
        return original(self, trial, execution)

    monkeypatch.setattr(trials_module.Search, "_train", look)
    arguments = [*SMALL, "--precision", "mixed_bfloat16", "--jit"]
    dropx(*arguments, "--output", tmp_path)
    assert seen == {("bfloat16", True)}
    records = (tmp_path / "runs.jsonl").read_text()
    assert '"precision": "mixed_bfloat16", "jit": true' in records
    refused = dropx(*SMALL, "--jit", "--output", tmp_path, code=2)
    assert "with precision='mixed_bfloat16', not 'float32'" in refused


@pytest.mark.full
def test_on_jax_it_is_another_search(tmp_path, dropx, data_dir):
    """And TensorFlow, which feeds the data, sees no GPU there."""
    dropx(*SMALL, "--method", "dropout", "--output", tmp_path / "a")
    for output, backend, code in (("a", "jax", 2), ("b", "jax", 0)):
        arguments = [*SMALL, "--method", "dropout", "--backend", backend]
        arguments += ["--output", tmp_path / output]
        done = subprocess.run(
            command(data_dir, *arguments), capture_output=True, text=True
        )
        assert done.returncode == code, done.stderr
        if code:
            assert "backend='tensorflow', not 'jax'" in done.stderr
            assert done.stderr.count("\n") == 1
    assert '"backend": "jax"' in (tmp_path / "b" / "runs.jsonl").read_text()
    assert json.loads((tmp_path / "b" / "search.json").read_text())[
        "backend"
    ] == ("jax")


def test_tensorflow_leaves_the_gpu_before_the_data_is_read(
    tmp_path, settings, monkeypatch
):
    """What set-up does with it is the set-up's own test."""
    order = []
    monkeypatch.setattr(run, "start", lambda *given: order.append(given) or {})

    def stop(*args):
        order.append("data")
        raise UserError("enough")

    monkeypatch.setattr(tune, "open_data", stop)
    with pytest.raises(UserError, match="enough"):
        tune.tune(settings, 1, 1, tmp_path / "out")
    assert order == [("float32", False), "data"]
