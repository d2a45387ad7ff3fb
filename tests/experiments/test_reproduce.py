"""`dropx reproduce` and `dropx report`, from the command line to the page."""

import json
import random
import re
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from keras_dropx import cli
from keras_dropx.experiments import (
    metrics,
    recipes,
    reproduce,
    session,
)
from keras_dropx.experiments.arm_runner import ArmRunner
from keras_dropx.experiments.recipes import digits

FAST = ["--dataset", "digits", "--seeds", "1", "--epochs", "1"]
SMALLEST = {
    "resnet20": {"scale": 0.5},
    "preact_resnet20": {"scale": 0.5},
    "all_cnn": {"scale": 1 / 12},
    "nin": {"scale": 1 / 8},
    "cifar10_small": {"scale": 1 / 8},
    "wide_resnet": {"depth": 10, "width": 1},
    "gaaf_vgg": {"scale": 1 / 8},
    "gaaf_svhn_cnn": {"scale": 1 / 8},
    "gaaf_mlp": {"units": (16, 16, 16)},
    "srivastava_mlp": {"units": (16, 16, 16)},
    "srivastava_convnet": {"scale": 1 / 8},
    "resnet18": {"scale": 1 / 8},
    "lenet": {"scale": 0.4},
    "convnet_quick": {"scale": 0.25},
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("data"))


def few(panel):
    """Returns a panel with one arm of each kind, for a run of seconds."""
    kinds = {}
    for arm in panel.arms:
        method = arm.name.split(" ")[0]
        # The small CNN has all rows of the ablation, and is compiled sooner.
        if "+II" in method and panel.network.__name__ == "wide_resnet":
            method = "dropout+II"
        kinds.setdefault(method, arm)
    return panel._replace(
        arms=tuple(kinds.values()), options=SMALLEST[panel.network.__name__]
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory, data_dir):
    """Returns `run(name, …)`: a recipe on digits in its smallest form."""
    folder = tmp_path_factory.mktemp("reproduce")

    def run(name, *arguments, output=folder):
        command = ["reproduce", name, *FAST, "--data-dir", data_dir]
        return cli.main([*command, "--output", str(output), *arguments])

    def small_recipe(name, dataset=None):
        recipe = original(name, dataset)
        if dataset != "digits":
            return recipe
        return recipe._replace(panels=tuple(map(few, recipe.panels)))

    original = recipes.find
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipes, "find", small_recipe)
        yield run, folder


def records(folder):
    lines = (folder / "runs.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    "name", [name for name in recipes.RECIPES if "imagenet" not in name]
)
def test_every_recipe_runs_on_digits(small, name):
    run, folder = small
    assert run(name) == 0
    recipe = recipes.find(name, "digits")
    found = records(folder)
    for panel in recipe.panels:
        for arm in panel.arms:
            (record,) = [
                r
                for r in found
                if r["panel"] == panel.name
                and r["measures"] == sorted(panel.measures)
                and r["arm_details"] == json.loads(json.dumps(arm.details()))
                and r["arm"] == arm.name
            ]
            assert 0 <= record["test_accuracy"] <= 1
            # There GAAF diverges without BN: docs/reproductions.md.
            if name != "gaaf-table-4":
                assert np.isfinite(record["test_loss"])
            assert len(record["train_loss"]) == record["epochs"] == 1
            assert record["preparation"] == json.loads(
                json.dumps(panel.preparation)
            )
            assert record["versions"]["keras"] == keras.__version__
            if panel.measures.intersection({"curve"}):
                assert record["curve"][-1]["epoch"] == 1
            has_norm = "-no-bn" not in arm.name
            assert ("reestimated_accuracy" in record) == (
                "reestimated" in panel.measures and has_norm
            )
        # Every contrast finds its numbers.
        runs = [
            r
            for r in found
            if r["panel"] == panel.name
            and r["measures"] == sorted(panel.measures)
        ]
        names = [arm.name for arm in panel.arms]
        for contrast in panel.contrasts:
            if contrast.pairs(names) and contrast.metric != "epochs_to_loss":
                if contrast.metric == "early_accuracy":
                    continue  # needs five epochs
                assert len(metrics.contrasted(runs, contrast)) == 1
    # A second time nothing is run.
    before = (folder / "runs.jsonl").read_bytes()
    assert run(name) == 0
    assert (folder / "runs.jsonl").read_bytes() == before
    assert not list((folder / "checkpoints").glob("*"))


def test_weights_are_where_the_training_starts(small, tmp_path, capsys):
    run, _ = small
    name = "jumpout-table-2-imagenet"
    assert run(name, output=tmp_path / "a") == 2
    assert "starts from trained weights: --weights FILE" in error_of(capsys)
    assert run(name, "--weights", "none.h5", output=tmp_path / "a") == 2
    assert "no file 'none.h5'" in error_of(capsys)
    (panel,) = recipes.find(name, "digits").panels
    model = panel.network((8, 8, 1), 10, **panel.options)
    path = tmp_path / "start.weights.h5"
    model.save_weights(path)
    start = reproduce.loader(str(path))
    plain = panel.arms[0]
    arm_runner = ArmRunner(panel, plain, (8, 8, 1), 10, 6, 1, start=start)
    arm_runner.reset(3)
    for got, expected in zip(
        arm_runner.network.get_weights(), model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(got, expected)
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    other.save_weights(tmp_path / "other.weights.h5")
    weights = ["--weights", str(tmp_path / "other.weights.h5")]
    assert run(name, *weights, output=tmp_path / "a") == 2
    assert "does not hold weights of resnet18" in error_of(capsys)
    assert not (tmp_path / "a").exists()


def test_what_is_asked_for_is_what_each_panel_gets(tmp_path, monkeypatch):
    opened, calls = [], []

    def open_data(panel, *arguments):
        opened.append((panel.dataset, *arguments))
        shape = [32, 32, 3]
        return panel.name, {"input_shape": shape, "num_classes": 10}

    def run_panel(panel, data, source, seeds, epochs, runs, progress, *others):
        calls.append((panel, data, source, list(seeds), epochs, *others))

    monkeypatch.setattr(reproduce, "open_data", open_data)
    monkeypatch.setattr(reproduce, "run_panel", run_panel)
    monkeypatch.setattr(reproduce, "check_network", lambda *arguments: None)
    name = "augmented-table-4"
    recipe = recipes.find(name)
    reproduce.reproduce(
        name, tmp_path, None, 2, 7, 50, "mixed_bfloat16", True, None, "d", True
    )
    reproduce.reproduce(name, tmp_path)
    assert opened[:2] == [
        ("svhn_cropped", 50, "d", True),
        ("cifar10", 50, "d", True),
    ]
    assert opened[3] == ("cifar10", None, None, False)
    shared = {"input_shape": [32, 32, 3], "num_classes": 10}
    shared["backend"] = keras.config.backend()
    small = {**shared, "precision": "mixed_bfloat16", "jit": True}
    full = {**shared, "precision": "float32", "jit": False}
    folder = tmp_path / "checkpoints"
    assert calls == [
        (panel._replace(jit=True), panel.name, small, [0, 1], 7, folder, None)
        for panel in recipe.panels
    ] + [
        (panel, panel.name, full, [0, 1, 2, 3], panel.epochs, folder, None)
        for panel in recipe.panels
    ]
    assert keras.config.dtype_policy().name == "float32"


def test_weights_are_told_apart_by_their_content(small, tmp_path, monkeypatch):
    run, _ = small
    found = []
    monkeypatch.setattr(
        reproduce,
        "run_panel",
        lambda *arguments: found.append((arguments[2], arguments[-1])),
    )
    name = "jumpout-table-2-imagenet"
    (panel,) = recipes.find(name, "digits").panels
    for number in (1, 1, 2):
        keras.utils.set_random_seed(number)
        path = tmp_path / f"{len(found)}.weights.h5"
        if len(found) == 1:
            path.write_bytes((tmp_path / "0.weights.h5").read_bytes())
        else:
            panel.network((8, 8, 1), 10, **panel.options).save_weights(path)
        assert run(name, "--weights", str(path), output=tmp_path) == 0
    same, copied, other = (source["weights"] for source, _ in found)
    assert same == copied != other and len(same) == 16
    assert all(callable(start) for _, start in found)


def error_of(capsys):
    """Returns the one line on stderr."""
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nothing"], "no recipe 'nothing'; dropx list shows them all"),
        (["augmented-table-1"], "'cifar10' is not prepared"),
        (["augmented-table-3", "--dataset", "nothing"], "'nothing'"),
        (
            ["augmented-table-1", "--dataset", "digits", "--train-size", "9"],
            "cannot be split into train_size=9",
        ),
        (["augmented-table-1", "--epochs", "0"], "a positive integer"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    arguments, message, tmp_path, data_dir, capsys
):
    output = tmp_path / "output"
    command = ["reproduce", *arguments, "--output", str(output)]
    try:
        code = cli.main([*command, "--data-dir", data_dir])
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert message in error_of(capsys)
    assert not output.exists()


def test_a_second_command_in_one_folder_is_refused(small, tmp_path, capsys):
    run, _ = small
    with session.locked(tmp_path, "command"):
        assert run("augmented-table-3", output=tmp_path) == 2
    assert "another command works in" in error_of(capsys)


def test_a_network_says_which_images_it_takes(
    monkeypatch, tmp_path, data_dir, capsys
):
    monkeypatch.setitem(digits.NETWORKS, "lenet", digits.Small(1, 0.1))
    output = tmp_path / "output"
    command = ["reproduce", "augmented-table-3", *FAST]
    command += ["--data-dir", data_dir, "--output", str(output)]
    assert cli.main(command) == 2
    assert re.search(
        r"lenet takes images of at least 13 × 13 pixels.*\(8, 8, 1\)",
        error_of(capsys),
    )
    assert not output.exists()


SCRIPT = """
import sys
from keras_dropx import cli
from keras_dropx.experiments import recipes, watch
watch.CHECKPOINT_SECONDS = 0
original = recipes.find
def few(name, dataset=None):
    recipe = original(name, dataset)
    (panel,) = recipe.panels
    arms = {arm.name: arm for arm in panel.arms}
    names = ("dropout", "gaaf", "gaaf-smoothed")
    return recipe._replace(
        panels=(panel._replace(arms=tuple(arms[n] for n in names)),)
    )
recipes.find = few
sys.exit(cli.main(sys.argv[1:]))
"""


def test_killed_at_any_moment_it_ends_with_the_same_numbers(data_dir, tmp_path):
    """SIGKILL again and again; then the same command to its end."""

    def command(folder):
        return [
            *(sys.executable, "-c", SCRIPT, "reproduce", "gaaf-table-3"),
            *("--dataset", "digits", "--seeds", "2", "--epochs", "40"),
            *("--data-dir", data_dir, "--output", str(tmp_path / folder)),
        ]

    subprocess.run(command("whole"), check=True, capture_output=True)
    whole = records(tmp_path / "whole")
    assert len(whole) == 6
    moments = random.Random(0)
    resumed = 0
    for _ in range(3):
        with subprocess.Popen(
            command("killed"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            deadline = time.monotonic() + 120
            before = checkpoints(tmp_path / "killed")
            # The start takes seconds, the trainings less than one each.
            while time.monotonic() < deadline and process.poll() is None:
                if checkpoints(tmp_path / "killed") != before:
                    time.sleep(moments.uniform(0, 0.3))
                    break
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
        resumed += bool(checkpoints(tmp_path / "killed"))
    assert resumed  # at least one run was killed in its middle
    subprocess.run(command("killed"), check=True, capture_output=True)
    finished = records(tmp_path / "killed")
    for record, expected in zip(finished, whole, strict=True):
        for timed in (record, expected):
            del timed["step_ms"]
        assert record == expected


def checkpoints(folder):
    """Returns what tells one state of the checkpoints from another."""
    found = []
    for path in (folder / "checkpoints").glob("*.npz"):
        try:
            found.append((path.name, path.stat().st_mtime_ns))
        except FileNotFoundError:
            continue
    return found


def test_report_shows_the_runs_and_the_paper(small, capsys):
    run, folder = small
    for name in ("augmented-table-3", "gaaf-table-1", "jumpout-table-1"):
        assert run(name) == 0
    capsys.readouterr()
    assert cli.main(["report", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    text = (folder / "report.md").read_text()
    record = next(
        r
        for r in records(folder)
        if (r["panel"], r["arm"]) == ("lenet/digits", "standard 0.1")
    )
    row = next(
        line
        for line in text.splitlines()
        if line.startswith("| standard 0.1 | ")
    )
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[2] == f"{100 * record['test_accuracy']:.2f}"
    assert cells[-2] == "99.16"  # the paper's
    assert "only orderings compare" in text
    assert "a demonstration" in text
    # Gradient information per layer, beside the paper's.
    (row,) = [
        line
        for line in text.splitlines()
        if line.startswith("| dropout | hidden_3 | gradient information")
    ]
    assert row.endswith("| 5.83e-04 |")
    for choice in recipes.find("jumpout-table-1").choices:
        assert choice.what in text
    for panel in recipes.find("augmented-table-3").panels:
        for contrast in panel.contrasts:
            assert contrast.sentence in text
    page = (folder / "report.html").read_text()
    # Self-contained: nothing is loaded from elsewhere.
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert sources and all(s.startswith("data:image/png") for s in sources)
    assert "<table>" in page and "| --- |" not in page
    for name in re.findall(r"\]\((.*?\.png)\)", text):
        assert (folder / name).stat().st_size > 5_000


@pytest.mark.parametrize("text", [None, '{"panel": "masks", "arm": "plain"}'])
def test_a_folder_without_runs_has_no_report(tmp_path, text, capsys):
    if text is not None:
        (tmp_path / "runs.jsonl").write_text(text + "\n")
    assert cli.main(["report", str(tmp_path)]) == 2
    assert "runs" in error_of(capsys)
    assert not (tmp_path / "report.md").exists()


def test_list_names_every_recipe(capsys):
    assert cli.main(["list"]) == 0
    text = capsys.readouterr().out
    for name in recipes.RECIPES:
        assert name in text
    # WRN-28-10 has 5.2 · 10⁹ products an image: 30 runs of 200 epochs.
    assert "9,438" in text
