"""What is run of a plan, what is kept, and what is said."""

import contextlib
import gc
import itertools
import json

import numpy as np
import pytest
import tensorflow as tf

from keras_dropx.experiments import networks, run
from keras_dropx.experiments.data.datasets import Subsets
from keras_dropx.experiments.plan import Method, Plan
from keras_dropx.experiments.records import Records, select
from keras_dropx.layers import AugmentedDropout

RNG = np.random.default_rng(0)
SOURCE = {"input_shape": [6], "num_classes": 3, "train_size": 20}


def plan(**changes):
    return Plan(
        **{
            "name": "test",
            "claim": "",
            "network": networks.mlp,
            "methods": (
                Method("plain"),
                Method("dropout", lambda: AugmentedDropout(0.5)),
            ),
            "contrasts": (),
            "epochs": 2,
            "batch_size": 10,
            "learning_rate": 0.1,
            "options": {"units": (4,)},
            **changes,
        }
    )


def part(size):
    x = RNG.uniform(size=(size, 6)).astype("float32")
    return x, RNG.integers(0, 3, size)


DATA = Subsets(part(20), None, part(30))


def started(tmp_path, plan, progress=lambda *_: None, seeds=range(2)):
    records, said = Records(tmp_path), []
    source = {**SOURCE, **run.start()}
    try:
        run.run(
            plan,
            lambda seed: DATA,
            source,
            seeds,
            records,
            progress,
            checkpoints=tmp_path / "checkpoints",
            say=said.append,
        )
    finally:
        started.said = said
    return select(records.records, plan, plan.epochs, source, seeds)


def test_sites_get_their_own_arguments():
    found = {"mean_rates": [0.1, 0.2], "mean_fractions": [0.5, 0.6]}
    get = run._arguments

    def method(**arguments):
        return Method("x", AugmentedDropout, **arguments)

    assert get(Method("x"), 300, None) is None
    assert get(method(rates=(0.2, 0.5)), 300, None) == (0.2, 0.5)
    assert get(method(rates_of="jumpout"), 300, found) == [0.1, 0.2]
    assert get(method(fractions_of="jumpout"), 300, found) == [0.5, 0.6]
    sized = get(method(sized=True), 300, None)
    assert list(itertools.islice(sized, 2)) == [300, 300]


def test_interrupted_it_says_what_is_kept_and_goes_on(tmp_path):
    whole = started(tmp_path / "whole", plan())

    def interrupt(method, seed, done):
        if (method, seed) == ("plain", 1):
            raise KeyboardInterrupt

    folder = tmp_path / "interrupted"
    with pytest.raises(KeyboardInterrupt):
        started(folder, plan(), interrupt)
    assert started.said == [
        f"Interrupted: 2 new runs of test are kept in {folder / 'runs.jsonl'}"
    ]
    resumed = started(folder, plan())
    assert started.said == []
    for record, expected in zip(resumed, whole, strict=True):
        for timed in (record, expected):
            del timed["step_ms"]
        assert record == expected
    before = (folder / "runs.jsonl").read_bytes()
    assert len(started(folder, plan())) == 4
    assert (folder / "runs.jsonl").read_bytes() == before


def test_one_compiled_model_serves_all_seeds(tmp_path, monkeypatch):
    made = []
    original = run.trainer_of

    def counted(plan, method, *others):
        made.append(method.name)
        return original(plan, method, *others)

    run.run(
        plan(epochs=1),
        lambda seed: DATA,
        {**SOURCE, **run.start()},
        range(3),
        Records(tmp_path),
        lambda *_: None,
        make_trainer=counted,
    )
    assert made == ["plain", "dropout"]


def test_runs_of_other_settings_are_kept_and_said_not_to_be_used(tmp_path):
    started(tmp_path, plan(), seeds=[0])
    other = plan(learning_rate=0.2, momentum=0.5)
    found = started(tmp_path, other, seeds=[0])
    path = tmp_path / "runs.jsonl"
    assert started.said == [
        f"{path} holds 2 runs of test that are not used: they differ in "
        "learning_rate, momentum"
    ]
    assert [record["learning_rate"] for record in found] == [0.2, 0.2]
    assert len(path.read_text().splitlines()) == 4
    # Both are there now, and nothing is to be said.
    for each in (plan(), other):
        assert len(started(tmp_path, each, seeds=[0])) == 2
        assert started.said == []
    # Initial weights make another run, too.
    assert json.loads(path.read_text().splitlines()[0])["weights"] is None


@pytest.mark.parametrize("other_ends", [True, False], ids=["ended", "killed"])
def test_a_run_of_another_process_is_waited_for(
    other_ends, tmp_path, monkeypatch
):
    whole = started(tmp_path / "whole", plan())
    # The last line is dropout's of seed 1.
    theirs = Records(tmp_path / "whole").records[-1]
    shared = tmp_path / "shared"
    other = Records(shared)
    settings = run.identity(plan(), plan().methods[1], 1, 2, source_of(theirs))
    lock = contextlib.ExitStack()
    assert lock.enter_context(other.alone(settings))
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 3:
            if other_ends:
                other.add({**theirs, "test_accuracy": 0.25})
            lock.close()

    monkeypatch.setattr(run.time, "sleep", sleep)
    found = started(shared, plan())
    assert started.said == ["Waiting for 1 run of test in other processes"]
    assert len(slept) == 3
    assert len((shared / "runs.jsonl").read_text().splitlines()) == 4
    expected = [record["test_accuracy"] for record in whole]
    if other_ends:
        expected[-1] = 0.25
    assert [record["test_accuracy"] for record in found] == expected
    assert not (shared / ".locks").exists()


def source_of(record):
    return {key: record[key] for key in [*SOURCE, *run.start()]}


def test_a_run_that_another_process_ended_is_not_repeated(
    tmp_path, monkeypatch
):
    first = started(tmp_path / "first", plan(), seeds=[0])
    theirs = Records(tmp_path / "first").records
    shared = tmp_path / "shared"
    other = Records(shared)

    def progress(method, seed, done):
        # While this one trains, the other one ends its run.
        if method == "plain" and done == 1 and not other.records:
            other.add(theirs[1])

    found = started(shared, plan(), progress, seeds=[0])
    assert len((shared / "runs.jsonl").read_text().splitlines()) == 2
    assert [r["method"] for r in found] == [r["method"] for r in first]
    assert found[1]["step_ms"] == theirs[1]["step_ms"]


def test_devices_are_named_where_keras_has_no_list(monkeypatch):
    monkeypatch.setattr(run.keras.config, "backend", lambda: "torch")
    # As on PyTorch, where there is nothing to call.
    monkeypatch.setattr(run.keras.distribution, "list_devices", None)
    (device,) = run._devices()
    assert "cpu" in device.lower()


@pytest.mark.full
def test_images_of_past_runs_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "LARGE", 100)
    shape = DATA.train[0].shape

    def copies():
        return sum(
            isinstance(x, tf.Tensor)
            and x.shape == shape
            and not tf.is_symbolic_tensor(x)
            for x in gc.get_objects()
        )

    seen = []
    # Python must not collect by itself.
    gc.collect()
    gc.disable()
    before = copies()
    try:
        started(tmp_path, plan(), lambda *_: seen.append(copies()))
    finally:
        gc.enable()
    assert len(seen) == 8
    assert max(seen) - before <= 1
