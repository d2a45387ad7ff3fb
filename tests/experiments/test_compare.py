"""`dropx compare`, from the command line to the records."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

import dropx
from keras_dropx.experiments import measures
from keras_dropx.experiments.build import trainer_of
from keras_dropx.experiments.data import open_data
from keras_dropx.experiments.papers import ours

FAST = ["--seeds", "2", "--epochs", "2"]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("data"))


ALL = pytest.param(tuple(ours.PLANS), marks=pytest.mark.full, id="all")


@pytest.fixture(scope="module", params=[ALL, ("saturation",)])
def panels(request):
    return request.param


@pytest.fixture(scope="module")
def output(tmp_path_factory, data_dir, panels):
    """The folder of one quick run of these panels, and what it printed."""
    folder = tmp_path_factory.mktemp("output")
    with pytest.MonkeyPatch.context() as patch:
        printed = []
        patch.setattr(
            sys.stdout, "write", lambda text: printed.append(text) or len(text)
        )
        arguments = ["--output", str(folder), "--data-dir", data_dir]
        command = ["compare", *FAST, "--panels", *panels, *arguments]
        assert dropx.main(command) == 0
    return folder, "".join(printed)


def records(folder):
    lines = (folder / "runs.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def method_runner(plan, name):
    method = next(method for method in plan.methods if method.name == name)
    source = {"input_shape": [8, 8, 1], "num_classes": 10, "train_size": 300}
    return trainer_of(dataclasses.replace(plan, epochs=2), method, source)


def test_every_method_and_seed_has_one_record(output, panels):
    folder, _ = output
    found = [(r["plan"], r["method"], r["seed"]) for r in records(folder)]
    expected = [
        (plan.name, method.name, seed)
        for plan in map(ours.PLANS.get, panels)
        for method in plan.methods
        for seed in range(2)
    ]
    assert sorted(found) == sorted(expected)


def test_method_names_are_those_of_the_documentation():
    names = {
        plan.name: [
            method.name for method in plan.methods if not method.mask_offset
        ]
        for plan in ours.PLANS.values()
    }
    assert names == {
        "masks": "plain dropout forward backward augmented "
        "augmented-strong forward-exact backward-exact "
        "augmented-exact".split(),
        "batchnorm": "plain dropout dropout-batchnorm jumpout "
        "jumpout-control".split(),
        "saturation": "plain-tanh dropout-tanh gaaf gaaf-control".split(),
    }


@pytest.mark.parametrize("name", ["forward", "backward", "augmented"])
def test_exact_methods_have_weights_and_masks_of_their_drop_in_form(name):
    drop_in, exact = (
        method_runner(ours.MASKS, method) for method in (name, f"{name}-exact")
    )
    x = np.random.default_rng(0).uniform(size=(50, 8, 8, 1))
    outputs = []
    for each in (drop_in, exact):
        each.reset(3)
        outputs.append(np.asarray(each.model(x, training=True)))
    np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-6)
    # The error sent down is the same too; the kernels above it get another
    # gradient, but for the first, whose input is never masked.
    y = np.arange(50) % 10
    first, *others = ("hidden_1", "hidden_2", "logits")
    sizes = []
    for each in (drop_in, exact):
        each.reset(3)
        sizes.append(each.measures.gradients(x, y))
    assert set(sizes[0]) == set(sizes[1]) == {first, *others}
    np.testing.assert_allclose(sizes[0][first], sizes[1][first], 1e-4)
    for layer in others:
        changed = not np.isclose(sizes[0][layer], sizes[1][layer], 1e-3)
        assert changed == (name != "augmented")


def test_records_hold_what_their_plan_measures(output):
    folder, _ = output
    for record in records(folder):
        assert 0 <= record["test_accuracy"] <= 1
        assert record["test_loss"] > 0 and record["step_ms"] > 0
        assert len(record["train_loss"]) == record["epochs"] == 2
        assert record["versions"]["keras"] == keras.__version__
        assert record["backend"] == "tensorflow"
        plan = record["plan"]
        assert ("gradient" in record) == (plan != "batchnorm")
        assert ("reestimated_accuracy" in record) == (plan == "batchnorm")
        assert ("saturation" in record) == (plan == "saturation")
        if "gradient" in record:
            layers = ["hidden_1", "hidden_2", "logits"]
            assert list(record["gradient"]) == layers
            assert min(record["gradient"].values()) > 0


def test_tables_name_each_method_and_contrast(output, panels):
    folder, text = output
    # A cell may go over lines.
    words = " ".join(re.sub(r"[│┃]", " ", text).split())
    for plan in map(ours.PLANS.get, panels):
        for method in plan.methods:
            name = measures.label(method.name).partition(",")[0]
            assert method.mask_offset or f"│ {name}" in text
        for contrast in plan.contrasts:
            assert measures.label(contrast.treatment).partition(",")[0] in words
        assert (folder / f"{plan.name}.png").stat().st_size > 10_000
    assert "2 seeds (a demonstration, not a test)" in text


def test_started_again_it_repeats_nothing(output, panels, data_dir):
    folder, _ = output
    path = folder / "runs.jsonl"
    before = path.read_bytes()
    arguments = ["--output", str(folder), "--data-dir", data_dir]
    command = ["compare", *FAST, "--panels", *panels, *arguments]
    assert dropx.main(command) == 0
    assert path.read_bytes() == before


@pytest.mark.full
@pytest.mark.parametrize("panels", [("masks",)], indirect=True)
def test_killed_it_goes_on_to_the_same_numbers(output, data_dir, tmp_path):
    """SIGKILL after the third run; then the same command."""
    command = [sys.executable, "-m", "dropx", "compare", *FAST]
    command += ["--panels", "masks", "--output", str(tmp_path)]
    command += ["--data-dir", data_dir]
    path = tmp_path / "runs.jsonl"
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if path.exists() and path.read_bytes().count(b"\n") >= 3:
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    killed = records(tmp_path)
    wanted = 2 * len(ours.MASKS.methods)
    assert 3 <= len(killed) < wanted
    with path.open("a") as file:
        file.write('{"plan": "masks", "ar')  # as a kill within a write would
    arguments = ["--output", str(tmp_path), "--data-dir", data_dir]
    assert dropx.main(["compare", "--panels", "masks", *FAST, *arguments]) == 0
    finished = records(tmp_path)
    assert finished[: len(killed)] == killed
    assert len(finished) == wanted
    whole = {
        (r["method"], r["seed"]): r
        for r in records(output[0])
        if r["plan"] == "masks"
    }
    for record in finished:
        expected = whole[record["method"], record["seed"]]
        for key in ("test_accuracy", "test_loss", "train_loss", "gradient"):
            assert record[key] == expected[key]


def test_one_seed_fixes_weights_and_masks_of_every_method():
    plan = ours.MASKS
    runners = [method_runner(plan, name) for name in ("dropout", "augmented")]
    weights, words = [], []
    for method in runners:
        method.reset(3)
        weights.append(method.model.get_weights())
        layers = [
            x for x in method.model.layers if hasattr(x, "seed_generator")
        ]
        assert len(layers) == 2
        words.append([x.seed_generator.state.numpy() for x in layers])
    for mine, theirs in zip(*weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(*words)
    assert (words[0][0] != words[0][1]).any()
    runners[0].reset(4)
    assert (runners[0].model.get_weights()[0] != weights[0][0]).any()


@pytest.mark.full
def test_a_reused_model_trains_as_a_fresh_one(data_dir):
    splits, _ = open_data(ours.MASKS, 300, data_dir)
    plan = ours.MASKS
    used, fresh = (method_runner(plan, "augmented") for _ in range(2))
    used.run(0, splits(0))
    mine = used.run(1, splits(1))
    theirs = fresh.run(1, splits(1))
    for key in ("test_loss", "train_loss", "gradient"):
        assert mine[key] == theirs[key]


@pytest.mark.full
def test_evaluation_probe_agrees_with_keras_and_changes_nothing(data_dir):
    """In batches of which the last one is smaller."""
    splits, _ = open_data(ours.MASKS, 300, data_dir)
    x, y = splits(0).test
    assert len(x) % 500 and len(x) > 1000
    method = method_runner(ours.BATCHNORM, "dropout")
    method.run(0, splits(0))
    before = [variable.numpy() for variable in method.model.variables]
    found = method.evaluate(method.network, (x, y))
    for variable, value in zip(method.model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    method.model.compile(loss=method.model.loss, metrics=["accuracy"])
    expected = method.model.evaluate(x, y, batch_size=500, verbose=0)
    found = [found["loss"], found["accuracy"]]
    assert found == pytest.approx(expected, rel=1e-6)


def test_gradient_probe_agrees_with_a_tape_and_changes_nothing():
    method = method_runner(ours.MASKS, "plain")
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(50, 8, 8, 1)).astype("float32")
    y = rng.integers(0, 10, 50)
    before = [variable.numpy() for variable in method.model.variables]
    sizes = method.measures.gradients(x, y)
    with tf.GradientTape() as tape:
        logits = method.model(x, training=True)
        loss = method.model.loss(y, logits)
    kernels = [
        variable.value for variable in method.model.trainable_variables[::2]
    ]
    expected = tape.gradient(loss, kernels)
    for size, gradient in zip(sizes.values(), expected, strict=True):
        np.testing.assert_allclose(size, np.abs(gradient).mean(), rtol=1e-5)
    for variable, value in zip(method.model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


@pytest.mark.full
def test_jumpout_rate_probe_agrees_with_the_layer():
    """E[p′] by quadrature against the mean p′ over many calls."""
    method = method_runner(ours.BATCHNORM, "jumpout")
    x = np.random.default_rng(0).uniform(size=(64, 8, 8, 1)).astype("float32")
    expected, fractions = method.measures.rates(x)
    layer = next(x for x in method.model.layers if hasattr(x, "drop_rate"))
    inputs = keras.Model(method.model.input, layer.input)(x, training=True)
    rates = [
        float(layer.drop_rate(inputs, layer.next_seed())) for _ in range(500)
    ]
    error = np.std(rates) / np.sqrt(len(rates))
    assert np.mean(rates) == pytest.approx(expected[0], abs=4 * error)
    assert fractions[0] == pytest.approx(np.mean(inputs > 0), abs=1e-6)


def test_control_rates_are_those_of_the_seed(output, panels):
    folder, _ = output
    if "batchnorm" not in panels:
        pytest.skip("jumpout is in the panel batchnorm, of the full set")
    rates = [
        record["mean_rates"]
        for record in records(folder)
        if record["method"] == "jumpout"
    ]
    assert np.shape(rates) == (2, 3)
    assert (np.array(rates) > 0.01).all() and (np.array(rates) < 0.6).all()
    assert rates[0] != rates[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "nosuch"], "dropx: Unknown data set 'nosuch'"),
        (["--dataset", "mnist"], "is not prepared in .*--download"),
        (["--seeds", "0"], "--seeds: expected a positive integer"),
        (["--epochs", "x"], "--epochs: expected a positive integer"),
        (["--panels", "all"], "--panels: invalid choice: 'all'"),
        (["--train-size", "1700"], "cannot be split"),
        (["--output", "/proc/nothing"], "dropx: /proc/nothing: "),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments, message, data_dir, capfd
):
    command = ["compare", "--data-dir", data_dir, *FAST, *arguments]
    try:
        code = dropx.main(command)
    except SystemExit as exit:
        code = exit.code
    assert code == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)


def test_program_starts_without_a_word_of_tensorflow():
    for arguments, code in (
        (["--version"], 0),
        (["compare", "--seeds", "0"], 2),
    ):
        program = "import sys, dropx; sys.exit(dropx.main())"
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert done.returncode == code
        assert (done.stdout + done.stderr).count("\n") == 1
