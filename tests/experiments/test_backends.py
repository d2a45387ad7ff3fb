"""`dropx compare` on JAX, in processes of its own."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import dropx
from keras_dropx.experiments import data
from keras_dropx.experiments.data import open_data
from keras_dropx.experiments.data.batches import training_batches
from keras_dropx.experiments.papers import ours

COMMAND = "import sys, dropx; sys.exit(dropx.main())"
ARMS = """
import dataclasses, sys
from keras_dropx.experiments.data import open_data
from keras_dropx.experiments.papers import ours
from keras_dropx.experiments.papers import ours
from keras_dropx.experiments.records import Records
from keras_dropx.experiments.run import run, start

folder, data_dir, plan, *names = sys.argv[1:]
plan = ours.PLANS[plan]
methods = [method for method in plan.methods if method.name in names]
data, source = open_data(ours.MASKS, 50, data_dir)
done = lambda *_: None
runs = Records(folder)
plan = dataclasses.replace(plan.only(methods), epochs=2)
run(plan, data, {**source, **start()}, range(2), runs, done)
"""
DATA = """
import sys
from tests.experiments.test_backends import data_of_a_seed

print(data_of_a_seed(sys.argv[1]))
"""


def data_of_a_seed(data_dir):
    """The split of a seed, and the first labels in their order."""
    splits, _ = open_data(ours.MASKS, 50, data_dir)
    subsets = splits(3)
    order = training_batches(*subsets.train, 10, 3).take(12)
    labels = np.concatenate([y for _, y in order.as_numpy_iterator()])
    digest = hashlib.sha256()
    for array in keras.tree.flatten(tuple(subsets)):
        digest.update(array.tobytes())
    return f"{digest.hexdigest()} {labels.tolist()}"


def start(program, *arguments, backend):
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "KERAS_BACKEND": backend,
        },
    )


def records(folder):
    lines = (folder / "runs.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    data.load("digits", folder)
    return folder


@pytest.mark.full
def test_the_command_on_jax(tmp_path, data_dir):
    """The option counts, not the environment."""
    arguments = "--panels saturation --seeds 1 --epochs 2 --train-size 50"
    folders = ["--output", tmp_path, "--data-dir", data_dir]
    done = start(
        COMMAND,
        *["compare", *arguments.split(), "--backend", "jax", *folders],
        backend="tensorflow",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = records(tmp_path)
    methods = [method.name for method in ours.SATURATION.methods]
    assert [record["method"] for record in found] == methods
    for record in found:
        assert record["backend"] == "jax"
        assert {"jax", "tensorflow"} <= set(record["versions"])
        assert len(record["train_loss"]) == 2
        assert 0.05 < record["test_accuracy"] < 1
        for fraction in record["saturation"].values():
            assert 0 <= fraction < 0.5
    # A tanh whose backward pass is scaled up, layer by layer.
    plain, _, gaaf, control, _ = (record["gradient"] for record in found)
    for accelerated in (gaaf, control):
        assert accelerated["hidden_1"] > 2 * plain["hidden_1"]
    assert control["hidden_1"] == pytest.approx(gaaf["hidden_1"], rel=0.2)


@pytest.mark.full
@pytest.mark.parametrize(
    ("plan", "methods"),
    [
        ("masks", ["plain", "augmented-exact"]),
        ("batchnorm", ["jumpout", "jumpout-control"]),
    ],
)
def test_methods_on_jax(plan, methods, tmp_path, data_dir):
    done = start(ARMS, tmp_path, data_dir, plan, *methods, backend="jax")
    assert done.returncode == 0, done.stderr[-2000:]
    found = records(tmp_path)
    assert [r["method"] for r in found] == methods * 2
    for record in found:
        assert "jax" in record["versions"]
        assert 0.05 < record["test_accuracy"] < 1
        if plan == "masks":
            assert min(record["gradient"].values()) > 0
        else:
            assert 0 < record["reestimated_accuracy"] < 1
    if plan == "batchnorm":
        rates = np.array([found[0]["mean_rates"], found[2]["mean_rates"]])
        assert rates.shape == (2, 3) and (rates[0] != rates[1]).any()
        assert (rates > 0.01).all() and (rates < 0.6).all()


@pytest.mark.full
def test_split_and_order_are_those_of_tensorflow(data_dir):
    done = start(DATA, data_dir, backend="jax")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == data_of_a_seed(data_dir)


@pytest.mark.full
def test_a_mistake_on_jax_is_one_line():
    """TensorFlow, which feeds the data there too, starts without a word."""
    arguments = ["compare", "--backend", "jax", "--dataset", "nosuch"]
    done = start(COMMAND, *arguments, backend="tensorflow")
    assert done.returncode == 2
    assert done.stderr == "dropx: Unknown data set 'nosuch': not in TFDS.\n"


def test_an_unknown_backend_is_one_line():
    done = start(COMMAND, "list", backend="foo")
    assert done.returncode == 2 and not done.stdout
    assert done.stderr == (
        "dropx: expected a backend among tensorflow, jax, torch, received "
        "'foo'\n"
    )
    done = start(COMMAND, "compare", "--backend", "foo", backend="tensorflow")
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.count("\n") == 1
    assert "dropx compare: argument --backend: invalid choice" in done.stderr


def test_a_backend_that_is_not_installed_is_one_line(monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "torch" else find(name),
    )
    monkeypatch.delitem(sys.modules, "keras")
    assert dropx.main(["compare", "--backend=torch"]) == 2
    assert capsys.readouterr().err == (
        "dropx: the backend torch is not installed: pip install torch\n"
    )


def test_backend_without_a_name_is_one_line():
    done = start(COMMAND, "compare", "--backend", backend="tensorflow")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--backend: expected one argument" in done.stderr


def test_another_backend_in_this_process_is_refused(capsys):
    """Keras has its own by now."""
    assert dropx.main(["compare", "--backend", "jax"]) == 2
    assert capsys.readouterr().err == (
        "dropx: --backend jax: this process runs on tensorflow by now. Use "
        "the program dropx, or set KERAS_BACKEND\n"
    )
