"""The records of an output folder, the committed ones too."""

import dataclasses
import errno
import json
import multiprocessing
import os
import pathlib
import random
import shutil

import pytest

from keras_dropx.errors import UserError
from keras_dropx.experiments import measures, papers, run, statistics
from keras_dropx.experiments.data import open_data
from keras_dropx.experiments.papers.digits import on_digits
from keras_dropx.experiments.records import (
    Records,
    identity,
    locked,
    select,
    write_atomically,
)

COMMITTED = pathlib.Path(__file__).parents[2] / "docs/reproductions/digits"
SESSION = {"precision": "float32", "jit": False, "backend": "tensorflow"}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("data"))


@pytest.fixture
def committed(tmp_path):
    """The committed runs, in a folder where they may be written."""
    shutil.copy(COMMITTED / "runs.jsonl", tmp_path)
    return Records(tmp_path)


def line(method, seed=0, **others):
    return {"plan": "p", "method": method, "seed": seed, "epochs": 1, **others}


def text(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


def test_a_record_is_found_by_all_its_settings(tmp_path):
    records = Records(tmp_path / "new" / "folder")
    assert records.find(line("a")) is None
    records.add(line("a", 0, test_loss=0.5))
    records.add(line("a", 1, test_loss=0.7, options={"x": True}))
    assert records.find(line("a", 1))["test_loss"] == 0.7
    assert records.find(line("a", 2)) is None
    assert records.find(line("a", 1, precision="float32")) is None
    # What is not there is None, but within a setting the two are not one.
    assert records.find(line("a", 1, weights=None))
    assert records.find(line("a", 1, options={"x": True}))
    assert records.find(line("a", 1, options={"x": 1})) is None
    assert records.find(line("a", 1, options={"x": True, "y": None})) is None
    assert records.find(line("a", 1, options={})) is None
    again = Records(tmp_path / "new" / "folder")
    assert again.records == records.records


@pytest.mark.parametrize("torn", ["µ".encode(), b"\xff\xc2"])
def test_a_line_that_a_killed_process_left_is_written_over(torn, tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_bytes(text(line("a")).encode() + b'{"method": "' + torn)
    records = Records(tmp_path)
    assert records.records == [line("a")]
    records.add(line("b"))
    records.add(line("c"))
    assert path.read_text() == text(line("a"), line("b"), line("c"))


def test_a_whole_last_line_without_its_end_is_kept(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_text(text(line("a"), line("b")).rstrip())
    records = Records(tmp_path)
    assert records.records == [line("a"), line("b")]
    assert records.find(line("b"))
    records.add(line("c"))
    assert path.read_text() == text(line("a"), line("b"), line("c"))


def test_processes_that_append_at_once_tear_nothing(tmp_path):
    """Four of them, lines longer than what is written at once."""

    def append(name):
        records = Records(tmp_path)
        for seed in range(20):
            records.add(line(name, seed, note=name * 20_000))

    processes = [
        multiprocessing.get_context("fork").Process(target=append, args=(name,))
        for name in "abcd"
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    found = [(r["method"], r["seed"]) for r in Records(tmp_path).records]
    assert sorted(found) == [(name, k) for name in "abcd" for k in range(20)]


def test_a_full_disk_names_the_file_and_leaves_it_whole(tmp_path, monkeypatch):
    records = Records(tmp_path)
    records.add(line("a"))
    before = records.path.read_bytes()

    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left.*runs\.jsonl") as caught:
        records.add(line("b"))
    assert caught.value.filename == str(records.path)
    assert records.path.read_bytes() == before
    target = tmp_path / "note"
    target.write_text("before")
    with pytest.raises(OSError, match=r"No space left.*note"):
        write_atomically(target, "after")
    assert target.read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"runs.jsonl", "note"}


def test_a_file_is_replaced_and_a_link_not_followed(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("kept")
    link.symlink_to(target)
    write_atomically(link, "new µ")
    assert target.read_text() == "kept"
    assert link.read_text() == "new µ" and not link.is_symlink()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / ".lock").symlink_to(target)
    with pytest.raises(OSError), locked(tmp_path / "folder", "command"):
        pass
    assert target.read_text() == "kept"


DAMAGES = [
    b"[]",
    b"1",
    b"null",
    b'"text"',
    b"{}",
    b"[" * 100_000,
    b'{"plan": ' * 100_000,
    b"\xff\xfe",
    json.dumps(line("a", 10**30)).encode(),
    json.dumps(line("a", "0")).encode(),
    json.dumps(line("a", True)).encode(),
    json.dumps(line(["a"])).encode(),
    json.dumps(line("\ud800")).encode(),
    json.dumps({**line("a"), "method_details": {}}).encode(),
    json.dumps({**line("a"), "measures": 3}).encode(),
    b'{"plan": "p", "method": "a", "seed": 0, "epochs": 1' + b"0" * 5000 + b"}",
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage[:40])
def test_a_damaged_line_is_named(damage, tmp_path):
    path = tmp_path / "runs.jsonl"
    content = (
        text(line("a")).encode() + damage + b"\n" + text(line("b")).encode()
    )
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"line 2 of {path} is no run: .*Mend"):
        Records(tmp_path)
    assert path.read_bytes() == content


def test_runs_that_do_not_go_together_are_named(committed, data_dir):
    """A shorter list in one of them, an entry that another lacks."""
    (plan,) = on_digits(papers.find("augmented-table-3")).plans
    _, source = open_data(plan, None, data_dir, False)
    arguments = plan, plan.epochs, {**source, **SESSION}
    whole = select(committed.records, *arguments)
    assert len(whole) == 140
    assert len(select(committed.records, *arguments, range(3))) == 42
    for key, change in (
        ("train_loss", lambda found: found[:-1]),
        ("curve", lambda found: found[1:]),
        ("curve", lambda found: None),
    ):
        records = [dict(record) for record in whole]
        records[3][key] = change(records[3][key])
        with pytest.raises(UserError, match=f"differ in what {key} holds"):
            select(records, *arguments)


def test_of_two_runs_of_one_seed_the_first_is_shown_and_skipped(
    committed, data_dir
):
    (plan,) = on_digits(papers.find("augmented-table-3")).plans
    _, source = open_data(plan, None, data_dir, False)
    source = {**source, **SESSION}
    method = plan.methods[0]
    settings = identity(plan, method, 0, plan.epochs, source)
    first = committed.find(settings)
    committed._keep({**first, "test_accuracy": 0.0})
    # And runs of another learning rate, backend or initial weights.
    for change in ({"learning_rate": 9}, {"backend": "jax"}, {"weights": "a"}):
        committed._keep({**first, **change, "test_accuracy": 0.0})
    assert committed.find(settings) is first
    shown = select(committed.records, plan, plan.epochs, source, [0])
    assert [r for r in shown if r["method"] == method.name] == [first]


def mutated(record, draw):
    """Returns a record with one value, anywhere in it, of another kind."""
    record = json.loads(json.dumps(record))
    values = ["x", "", [], {}, None, True, -1, 10**400, 1e308, [[]], "\ud800"]
    values += ["\x1b[31m", "[/b]", {"a": 1}, [None], float("nan")]
    place = record
    while True:
        key = draw.choice(
            list(place) if isinstance(place, dict) else range(len(place))
        )
        inner = place[key]
        if (
            not (isinstance(inner, (dict, list)) and inner)
            or draw.random() < 0.4
        ):
            break
        place = inner
    if draw.random() < 0.3:
        del place[key]
    else:
        place[key] = draw.choice(values)
    return record


@pytest.mark.few(1)
@pytest.mark.parametrize("name", ["augmented-table-3", "gaaf-table-1"])
def test_no_damage_of_a_record_is_a_traceback(
    name, committed, data_dir, tmp_path
):
    """It is refused in one line, or it is another run, or the same one."""
    (plan,) = on_digits(papers.find(name)).plans
    plan = plan.only(plan.methods[:2])
    _, source = open_data(plan, None, data_dir, False)
    source = {**source, **SESSION}
    whole = select(committed.records, plan, plan.epochs, source, range(2))
    assert len(whole) == 4
    draw, refused, lines = random.Random(0), 0, []
    folder = tmp_path / "damaged"
    for _ in range(120):
        records = [dict(record) for record in whole]
        place = draw.randrange(4)
        records[place] = mutated(records[place], draw)
        folder.mkdir(exist_ok=True)
        (folder / "runs.jsonl").write_text(text(*records))
        try:
            read = Records(folder)
            found = select(read.records, plan, plan.epochs, source, range(2))
            for metric in ("test_accuracy", *measures.METRICS):
                for method in plan.methods:
                    statistics.by_seed(found, method.name, metric)
            run._say_what_is_not_used(
                plan, source, range(2), read, lines.append
            )
        except UserError as error:
            refused += 1
            assert "runs.jsonl" in str(error)
    assert 40 < refused < 120 and lines


@pytest.mark.full
def test_every_committed_run_is_one_of_a_recipe(committed, data_dir):
    """What is asked for now has the settings of what was run."""
    names = {record["plan"] for record in committed.records}
    sources, wanted = {}, set()
    for recipe in papers.RECIPES.values():
        for plan in on_digits(recipe).plans:
            if plan.name not in names:
                continue
            if plan.preparation not in sources:
                _, data = open_data(plan, None, data_dir, False)
                sources[plan.preparation] = {**data, **SESSION}
            source = sources[plan.preparation]
            for method in plan.methods:
                settings = identity(plan, method, 0, plan.epochs, source)
                del settings["seed"]
                wanted.add(json.dumps(settings, sort_keys=True))
    keys = json.loads(next(iter(wanted))).keys()
    for record in committed.records:
        settings = {key: record.get(key) for key in keys}
        assert json.dumps(settings, sort_keys=True) in wanted, record["method"]


def test_committed_runs_are_not_run_again(committed, data_dir):
    (plan,) = on_digits(papers.find("augmented-table-3")).plans
    _, source = open_data(plan, None, data_dir, False)
    seeds = range(5)
    before = committed.path.read_bytes()
    done, said = [], []

    def no_data(seed):
        pytest.fail(f"seed {seed} is run again")

    def run_all(plan):
        run.run(
            plan,
            no_data,
            {**source, **SESSION},
            seeds,
            committed,
            lambda *arguments: done.append(arguments),
            say=said.append,
        )

    run_all(plan)
    assert done == [
        (a.name, s, plan.epochs) for s in seeds for a in plan.methods
    ]
    assert committed.path.read_bytes() == before
    assert said == []
    # With other settings they are not taken for done, and it is said.
    with pytest.raises(pytest.fail.Exception, match="seed 0 is run again"):
        run_all(dataclasses.replace(plan, weight_decay=0.0))
    assert said == [
        f"{committed.path} holds 70 runs of lenet/digits that are not used: "
        "they differ in weight_decay"
    ]
