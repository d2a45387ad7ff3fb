"""`dropx compare`, from the command line to the records."""

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

from keras_dropx import cli
from keras_dropx.experiments import datasets, panels
from keras_dropx.experiments.arm_runner import ArmRunner

FAST = ["--seeds", "2", "--epochs", "2"]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def output(tmp_path_factory, data_dir):
    """The folder of one quick run of all panels, and what it printed."""
    folder = tmp_path_factory.mktemp("output")
    with pytest.MonkeyPatch.context() as patch:
        printed = []
        patch.setattr(
            sys.stdout, "write", lambda text: printed.append(text) or len(text)
        )
        arguments = ["--output", str(folder), "--data-dir", data_dir]
        assert cli.main(["compare", *FAST, *arguments]) == 0
    return folder, "".join(printed)


def records(folder):
    lines = (folder / "runs.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def arm_runner(panel, name):
    arm = next(arm for arm in panel.arms if arm.name == name)
    return ArmRunner(panel, arm, (8, 8, 1), 10, 6, epochs=2)


def test_every_arm_and_seed_has_one_record(output):
    folder, _ = output
    found = [(r["panel"], r["arm"], r["seed"]) for r in records(folder)]
    expected = [
        (panel.name, arm.name, seed)
        for panel in panels.PANELS.values()
        for arm in panel.arms
        for seed in range(2)
    ]
    assert sorted(found) == sorted(expected)


def test_arm_names_are_those_of_the_documentation():
    names = {
        panel.name: [arm.name for arm in panel.arms if not arm.mask_offset]
        for panel in panels.PANELS.values()
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
def test_exact_arms_have_weights_and_masks_of_their_drop_in_form(name):
    drop_in, exact = (
        arm_runner(panels.MASKS, arm) for arm in (name, f"{name}-exact")
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
        sizes.append(each.gradient_probe(x, y)[0])
    assert set(sizes[0]) == set(sizes[1]) == {first, *others}
    np.testing.assert_allclose(sizes[0][first], sizes[1][first], 1e-4)
    for layer in others:
        changed = not np.isclose(sizes[0][layer], sizes[1][layer], 1e-3)
        assert changed == (name != "augmented")


def test_records_hold_what_their_panel_measures(output):
    folder, _ = output
    for record in records(folder):
        assert 0 <= record["test_accuracy"] <= 1
        assert record["test_loss"] > 0 and record["step_ms"] > 0
        assert len(record["train_loss"]) == record["epochs"] == 2
        assert record["versions"]["keras"] == keras.__version__
        assert record["backend"] == "tensorflow"
        panel = record["panel"]
        assert ("gradient" in record) == (panel != "batchnorm")
        assert ("reestimated_accuracy" in record) == (panel == "batchnorm")
        assert ("saturation" in record) == (panel == "saturation")
        if "gradient" in record:
            layers = ["hidden_1", "hidden_2", "logits"]
            assert list(record["gradient"]) == layers
            assert min(record["gradient"].values()) > 0


def test_tables_name_each_arm_and_contrast(output):
    folder, text = output
    for panel in panels.PANELS.values():
        for arm in panel.arms:
            assert arm.mask_offset or f"│ {arm.name} " in text
        for contrast in panel.contrasts:
            assert f"{contrast.treatment} - {contrast.control}" in text
        assert (folder / f"{panel.name}.png").stat().st_size > 10_000
    assert "2 paired seeds (a demonstration, not a test)" in text


def test_started_again_it_repeats_nothing(output, data_dir):
    folder, _ = output
    path = folder / "runs.jsonl"
    before = path.read_bytes()
    arguments = ["--output", str(folder), "--data-dir", data_dir]
    assert cli.main(["compare", *FAST, *arguments]) == 0
    assert path.read_bytes() == before


def test_killed_it_goes_on_to_the_same_numbers(output, data_dir, tmp_path):
    """SIGKILL after the third run; then the same command."""
    command = [sys.executable, "-m", "keras_dropx.cli", "compare", *FAST]
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
    wanted = 2 * len(panels.MASKS.arms)
    assert 3 <= len(killed) < wanted
    with path.open("a") as file:
        file.write('{"panel": "masks", "ar')  # as a kill within a write would
    arguments = ["--output", str(tmp_path), "--data-dir", data_dir]
    assert cli.main(["compare", "--panels", "masks", *FAST, *arguments]) == 0
    finished = records(tmp_path)
    assert finished[: len(killed)] == killed
    assert len(finished) == wanted
    whole = {
        (r["arm"], r["seed"]): r
        for r in records(output[0])
        if r["panel"] == "masks"
    }
    for record in finished:
        expected = whole[record["arm"], record["seed"]]
        for key in ("test_accuracy", "test_loss", "train_loss", "gradient"):
            assert record[key] == expected[key]


def test_one_seed_fixes_weights_and_masks_of_every_arm():
    panel = panels.MASKS
    runners = [arm_runner(panel, name) for name in ("dropout", "augmented")]
    weights, words = [], []
    for arm in runners:
        arm.reset(3)
        weights.append(arm.model.get_weights())
        layers = [x for x in arm.model.layers if hasattr(x, "seed_generator")]
        assert len(layers) == 2
        words.append([x.seed_generator.state.numpy() for x in layers])
    for mine, theirs in zip(*weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(*words)
    assert (words[0][0] != words[0][1]).any()
    runners[0].reset(4)
    assert (runners[0].model.get_weights()[0] != weights[0][0]).any()


def test_a_reused_model_trains_as_a_fresh_one(data_dir):
    splits, _ = datasets.splits("digits", 300, data_dir)
    panel = panels.MASKS
    used, fresh = (arm_runner(panel, "augmented") for _ in range(2))
    used.run(0, splits(0), lambda done: None)
    mine = used.run(1, splits(1), lambda done: None)
    theirs = fresh.run(1, splits(1), lambda done: None)
    for key in ("test_loss", "train_loss", "gradient"):
        assert mine[key] == theirs[key]


def test_evaluation_probe_agrees_with_keras_and_changes_nothing(data_dir):
    """In batches of which the last one is smaller."""
    splits, _ = datasets.splits("digits", 300, data_dir)
    x, y = splits(0).test
    assert len(x) % 500 and len(x) > 1000
    arm = arm_runner(panels.BATCHNORM, "dropout")
    arm.run(0, splits(0), lambda done: None)
    before = [variable.numpy() for variable in arm.model.variables]
    found = arm.evaluation_probe((x, y))
    for variable, value in zip(arm.model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    arm.model.compile(loss=arm.model.loss, metrics=["accuracy"])
    expected = arm.model.evaluate(x, y, batch_size=500, verbose=0)
    assert list(found) == pytest.approx(expected, rel=1e-6)


def test_gradient_probe_agrees_with_a_tape_and_changes_nothing():
    arm = arm_runner(panels.MASKS, "plain")
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(50, 8, 8, 1)).astype("float32")
    y = rng.integers(0, 10, 50)
    before = [variable.numpy() for variable in arm.model.variables]
    sizes, output = arm.gradient_probe(x, y)
    with tf.GradientTape() as tape:
        logits = arm.model(x, training=True)
        tape.watch(logits)
        loss = arm.model.loss(y, logits)
    kernels = [
        variable.value for variable in arm.model.trainable_variables[::2]
    ]
    *expected, out = tape.gradient(loss, [*kernels, logits])
    for size, gradient in zip(sizes.values(), expected, strict=True):
        np.testing.assert_allclose(size, np.abs(gradient).mean(), rtol=1e-5)
    np.testing.assert_allclose(output, np.abs(out).mean(), rtol=1e-5)
    for variable, value in zip(arm.model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_jumpout_rate_probe_agrees_with_the_layer():
    """E[p′] by quadrature against the mean p′ over many calls."""
    arm = arm_runner(panels.BATCHNORM, "jumpout")
    x = np.random.default_rng(0).uniform(size=(64, 8, 8, 1)).astype("float32")
    expected, fractions = arm.rate_probe(x)
    layer = next(x for x in arm.model.layers if hasattr(x, "drop_rate"))
    inputs = keras.Model(arm.model.input, layer.input)(x, training=True)
    rates = [
        float(layer.drop_rate(inputs, layer.next_seed())) for _ in range(500)
    ]
    error = np.std(rates) / np.sqrt(len(rates))
    assert np.mean(rates) == pytest.approx(expected[0], abs=4 * error)
    assert fractions[0] == pytest.approx(np.mean(inputs > 0), abs=1e-6)


def test_control_rates_are_those_of_the_seed(output):
    folder, _ = output
    rates = [
        record["mean_rates"]
        for record in records(folder)
        if record["arm"] == "jumpout"
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
        code = cli.main(command)
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
