"""Damaged notes of a search: one line that names the file, or no harm."""

import copy
import errno
import json
import os
import pathlib
import shutil
import warnings

import pytest

import dropx
from keras_dropx.errors import UserError
from keras_dropx.experiments.progress import make_console
from keras_dropx.experiments.search import (
    folder,
    notes,
    oracles,
    processes,
    trials,
    trials_report,
    winner,
)

WRONG = (None, -1, "x", [], ["9"], {"a": 1}, [[]])
BYTES = (b"", b"{", b"\xff\x00", b"[]", b"{}", b"3", b"null", b'"x"', b"[1]")


@pytest.fixture(scope="module")
def search_of(make_search, settings, changed, tmp_path_factory):
    """Returns `search_of(kind)`: settings and folder of a search that ended."""
    made = {}

    def search(kind):
        if kind not in made:
            output = tmp_path_factory.mktemp(kind)
            made[kind] = changed(settings, tuner=kind, epochs=4), output
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # The scores are a line.
                make_search(*made[kind], 4)
        return made[kind]

    return search


@pytest.fixture
def searched(search_of):
    return search_of("random")


def resume(settings, output, count=4):
    """Does with a folder what the command does but training."""
    kept = folder.check(settings, output, overwrite=False)
    assert kept is not None
    oracles.check(settings, count, output)
    for method in settings.methods:
        found = notes.read_trials(output / method)
        trials_report.table(found, settings, method)
        trials_report.failures(found)
        trials_report.best(found, settings)
        oracle = oracles.oracle_of(settings, count)
        if (output / method / "oracle.json").exists():
            oracle._set_project_dir(output, method)
            oracle.reload()
        yield oracle


def damages(state, path=()):
    """Yields copies of JSON with one value removed or replaced."""
    if isinstance(state, dict):
        for key in state:
            without = {k: v for k, v in state.items() if k != key}
            yield without
            inner = damages(state[key], (*path, key)) if len(path) < 2 else ()
            for value in (*WRONG, *inner):
                yield {**state, key: value}
    elif isinstance(state, list) and state and len(path) < 3:
        for value in (*WRONG, *damages(state[0], (*path, 0))):
            yield [value, *state[1:]]
        yield state[1:]


@pytest.mark.full
@pytest.mark.parametrize(
    "kind, name",
    [
        ("random", "search.json"),
        ("random", "any/trial_1/trial.json"),
        ("random", "any/oracle.json"),
        ("hyperband", "any/oracle.json"),
        *(
            pytest.param(kind, "any/oracle.json", marks=pytest.mark.full)
            for kind in ("bayesian", "grid")
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:The optimal value found for dimension")
def test_a_damaged_file_is_named_or_does_no_harm(
    kind, name, search_of, tmp_path, tree, monkeypatch
):
    settings, output = search_of(kind)
    assert len(list(resume(settings, output))) == 2
    place = tmp_path / "copy"
    shutil.copytree(output, place)
    path = place / name
    whole = path.read_bytes()
    contents = [
        *BYTES,
        *(whole[:size] for size in (1, len(whole) // 2, len(whole) - 2)),
        *(json.dumps(x).encode() for x in damages(json.loads(whole))),
    ]
    assert len(contents) > 100
    before = tree(place)
    # What is taken is tried, without a word to the disk.
    monkeypatch.setattr(oracles, "write_atomically", lambda path, text: None)
    refused = 0
    for content in contents:
        path.write_bytes(content)
        try:
            (first, *_) = resume(settings, place, 5)
        except UserError as error:
            refused += 1
            line = str(error)
            assert str(path) in line or "holds a search with" in line
            assert "put a copy of it back" in line or "--output" in line
            assert "\n" not in line
        else:
            # What was taken is good enough to go on with.
            first.create_trial("worker")
    path.write_bytes(whole)
    shutil.rmtree(place / "any" / "trial_4", ignore_errors=True)
    assert tree(place) == before
    assert refused > 0.4 * len(contents)


def test_bytes_of_no_json_are_always_refused(searched, tmp_path):
    settings, output = searched
    place = tmp_path / "copy"
    shutil.copytree(output, place)
    for name in ("search.json", "any/oracle.json", "any/trial_1/trial.json"):
        path = place / name
        whole = path.read_bytes()
        for content in BYTES:
            path.write_bytes(content)
            with pytest.raises(UserError, match=f"{path} is damaged: put a"):
                list(resume(settings, place))
        path.write_bytes(whole)


def change(path, function):
    state = json.loads(path.read_text())
    path.write_text(json.dumps(function(copy.deepcopy(state)) or state))


@pytest.mark.parametrize(
    "damage",
    [
        lambda s: s | {"score": None},
        lambda s: s | {"score": "0.5"},
        lambda s: s | {"score": float("nan")},
        lambda s: s | {"trial_id": "7"},
        lambda s: s | {"status": "DONE"},
        lambda s: s | {"message": 3},
        lambda s: s["hyperparameters"]["values"].clear() or s,
        lambda s: s["hyperparameters"]["values"].update(dropout_rate=7.5) or s,
        lambda s: s["hyperparameters"]["values"].update(dropout_rate="a") or s,
        lambda s: s["hyperparameters"]["space"].clear() or s,
        lambda s: s["metrics"]["metrics"].pop("execution_0") and s,
        lambda s: s["metrics"].update(metrics={}) or s,
    ],
)
def test_a_trial_that_cannot_be_is_refused(damage, searched, tmp_path):
    settings, output = searched
    place = tmp_path / "copy"
    shutil.copytree(output, place)
    path = place / "dropout" / "trial_1" / "trial.json"
    change(path, damage)
    with pytest.raises(UserError, match=f"{path} is damaged"):
        list(resume(settings, place))


def test_a_missing_file_is_named(searched, tmp_path, tree):
    settings, output = searched
    for name, message in (
        ("any/oracle.json", "any/oracle.json is missing: put a copy"),
        ("any/trial_1/trial.json", "any/oracle.json is damaged: put a copy"),
    ):
        place = tmp_path / name.replace("/", "-")
        shutil.copytree(output, place)
        (place / name).unlink()
        before = tree(place)
        with pytest.raises(UserError, match=message):
            list(resume(settings, place))
        assert tree(place) == before


def test_a_copy_that_someone_keeps_is_no_trial(searched, tmp_path):
    settings, output = searched
    place = tmp_path / "copy"
    shutil.copytree(output, place)
    kept = place / "any" / "trial_1"
    shutil.copytree(kept, place / "any" / "trial_1.bak")
    change(place / "any" / "trial_1.bak" / "trial.json", lambda s: {"a": 1})
    assert len(list(resume(settings, place))) == 2


def test_a_kill_before_the_first_state_is_no_damage(searched, tmp_path):
    """The first trial is noted before the oracle is."""
    settings, output = searched
    place = tmp_path / "copy"
    shutil.copytree(output, place)
    (place / "any" / "oracle.json").unlink()
    for number in "1234":
        shutil.rmtree(place / "any" / f"trial_{number}", ignore_errors=True)
    change(
        place / "any" / "trial_0" / "trial.json",
        lambda s: {**s, "status": "RUNNING"},
    )
    assert len(list(resume(settings, place))) == 2


@pytest.mark.parametrize("content", [b"", b"x", b"\xff", b"1.5", b"[]"])
def test_a_damaged_count_is_named(content, tmp_path):
    path = tmp_path / "over"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path} is damaged: remove it"):
        notes.read_number(path, "remove it")
    path.unlink()
    assert notes.read_number(path, "remove it") == 0


def damage_attempts(self, trial):
    path = pathlib.Path(self.get_trial_dir(trial.trial_id))
    (path / trials.BEGUN).write_text("")


def fill_the_disk(self, trial, execution):
    if trial.trial_id == "1":
        raise OSError(errno.ENOSPC, "No space left on device")
    return 0.5


def fail(self, trial, execution):
    raise MemoryError("at [/job:localhost/task:0] \x1b[2J[b]no[/x]")


@pytest.mark.parametrize(
    "methods, error, message, ended",
    [
        ({"on_trial_begin": damage_attempts}, UserError, "attempts is", 0),
        ({"_train": fill_the_disk}, OSError, "No space left", 1),
    ],
)
def test_a_file_is_no_fault_of_a_trial(
    methods, error, message, ended, tmp_path, make_search, settings
):
    """The search ends with the file, and the trial runs again."""
    with pytest.raises(error, match=message):
        make_search(settings, tmp_path, **methods)
    states = [t.status for t in notes.read_trials(tmp_path / "any")]
    assert states == ["COMPLETED"] * ended + ["RUNNING"]
    for path in tmp_path.glob("any/trial_*"):
        (path / trials.BEGUN).unlink()
    make_search(settings, tmp_path)
    states = [t.status for t in notes.read_trials(tmp_path / "any")]
    assert states == ["COMPLETED"] * 2


def test_a_reason_is_text(tmp_path, make_search, settings, capsys):
    make_search(settings, tmp_path, _train=fail)
    lines = trials_report.failures(notes.read_trials(tmp_path / "any"))
    shown = "failed: MemoryError: at [/job:localhost/task:0] �[2J[b]no[/x]"
    assert lines == [f"Trial {number} {shown}" for number in "01"]
    console = make_console()
    for line in lines:
        console.print(line)
    assert capsys.readouterr().out.splitlines() == lines


@pytest.mark.parametrize("name", ["any/over", "dropout/trial_0/trial.json"])
def test_the_command_ends_with_one_line(
    name, searched, tmp_path, capsys, monkeypatch, tree
):
    settings, output = searched
    place = tmp_path / "copy"
    shutil.copytree(output, place)
    (place / name).write_text("")
    monkeypatch.setattr(
        processes, "_wait_for_chief", lambda address, port, over: over()
    )
    arguments = ["tune", "--tuner", settings.tuner, "--epochs", "4"]
    arguments += ["--executions", "1", "--trials", "4"]
    if name == "any/over":
        arguments += ["--chief", "127.0.0.1:9", "--worker-id", "late"]
    before = tree(place)
    assert dropx.main([*arguments, "--output", str(place)]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and str(place / name) in printed
    after = tree(place)
    assert {key: after[key] for key in before} == before
    # Else the next search in this process would wait for the chief.
    assert not any(name in os.environ for name in processes.ENVIRONMENT)


@pytest.mark.parametrize("rate", [2.0, "abc"])
def test_a_winner_that_makes_no_layer_is_named(rate, settings, tmp_path):
    """Somebody widened the space in its file, and the value with it."""
    best = {method: {"dropout_rate": rate} for method in ("any", "dropout")}
    best["any"]["dropout_method"] = "dropout"
    source = {"input_shape": (8, 8, 1), "num_classes": 10}
    counts = dict.fromkeys(best, 2)
    with pytest.raises(UserError, match="any is damaged: put a copy"):
        winner._comparison(settings, best, counts, source, tmp_path)
