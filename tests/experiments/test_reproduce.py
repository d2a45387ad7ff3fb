"""`dropx reproduce` and `dropx report`, from the command line to the page."""

import dataclasses
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

import dropx
from keras_dropx.commands import reproduce
from keras_dropx.errors import UserError
from keras_dropx.experiments import data as rooms
from keras_dropx.experiments import papers, statistics
from keras_dropx.experiments import run as engine
from keras_dropx.experiments.build import trainer_of
from keras_dropx.experiments.papers import digits
from keras_dropx.experiments.report import studies

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


def few(plan):
    """Returns a plan with one method of each kind, for a run of seconds."""
    kinds = {}
    for method in plan.methods:
        kind = method.name.split(" ")[0]
        # The small CNN has all rows of the ablation, and is compiled sooner.
        if "+II" in kind and plan.network.__name__ == "wide_resnet":
            kind = "dropout+II"
        kinds.setdefault(kind, method)
    if plan.network.__name__ == "resnet18":
        kinds = {kind: kinds[kind] for kind in ("plain", "jumpout")}
    options = SMALLEST[plan.network.__name__]
    return dataclasses.replace(plan.only(kinds.values()), options=options)


@pytest.fixture(scope="module")
def small(tmp_path_factory, data_dir):
    """Returns `run(name, …)`: a recipe on digits in its smallest form."""
    folder = tmp_path_factory.mktemp("reproduce")

    def run(name, *arguments, output=folder):
        command = ["reproduce", name, *FAST, "--data-dir", data_dir]
        return dropx.main([*command, "--output", str(output), *arguments])

    def small_recipe(name, dataset=None):
        recipe = original(name, dataset)
        if dataset != "digits":
            return recipe
        plans = tuple(map(few, recipe.plans))
        return dataclasses.replace(recipe, plans=plans)

    original = papers.find
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(papers, "find", small_recipe)
        # It may know the recipes of full size, of tests in this process.
        studies._known.cache_clear()
        yield run, folder
    studies._known.cache_clear()


def records(folder):
    lines = (folder / "runs.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            # The rest of what plans ask for is in test_features.py.
            marks=[] if name == "augmented-table-3" else pytest.mark.full,
        )
        for name in papers.RECIPES
        if "imagenet" not in name
    ],
)
def test_every_recipe_runs_on_digits(small, name):
    run, folder = small
    assert run(name) == 0
    recipe = papers.find(name, "digits")
    found = records(folder)
    for plan in recipe.plans:
        for method in plan.methods:
            (record,) = [
                r
                for r in found
                if r["plan"] == plan.name
                and r["measures"] == sorted(plan.measures)
                and r["method_details"]
                == json.loads(json.dumps(method.details()))
                and r["method"] == method.name
            ]
            assert 0 <= record["test_accuracy"] <= 1
            # There GAAF diverges without BN: docs/reproductions.md.
            if name != "gaaf-table-4":
                assert np.isfinite(record["test_loss"])
            assert len(record["train_loss"]) == record["epochs"] == 1
            assert record["preparation"] == json.loads(
                json.dumps(plan.preparation)
            )
            assert record["versions"]["keras"] == keras.__version__
            if plan.measures.intersection({"curve"}):
                assert record["curve"][-1]["epoch"] == 1
            has_norm = "-no-bn" not in method.name
            assert ("reestimated_accuracy" in record) == (
                "reestimated" in plan.measures and has_norm
            )
        # Every contrast finds its numbers.
        runs = [
            r
            for r in found
            if r["plan"] == plan.name and r["measures"] == sorted(plan.measures)
        ]
        names = [method.name for method in plan.methods]
        for contrast in plan.contrasts:
            if contrast.pairs(names) and contrast.metric != "epochs_to_loss":
                if contrast.metric == "early_accuracy":
                    continue  # needs five epochs
                assert len(statistics.contrasted(runs, contrast)) == 1
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
    (plan,) = papers.find(name, "digits").plans
    model = plan.network((8, 8, 1), 10, **plan.options)
    path = tmp_path / "start.weights.h5"
    model.save_weights(path)
    initial, digest = reproduce._initial_weights(papers.find(name), str(path))
    assert len(digest) == 16
    source = {"input_shape": [8, 8, 1], "num_classes": 10, "train_size": 300}
    trainer = trainer_of(plan, plan.methods[0], source, initial=initial)
    trainer.reset(3)
    for got, expected in zip(
        trainer.network.get_weights(), model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(got, expected)
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    other.save_weights(tmp_path / "other.weights.h5")
    weights = ["--weights", str(tmp_path / "other.weights.h5")]
    assert run(name, *weights, output=tmp_path / "a") == 2
    assert "does not hold weights of resnet18" in error_of(capsys)
    assert not (tmp_path / "a").exists()


@pytest.mark.full
def test_a_recipe_from_weights_runs_on_digits(small, tmp_path):
    """Its images were read as a stream, its steps no steps."""
    run, _ = small
    name = "jumpout-table-2-imagenet"
    (plan,) = papers.find(name, "digits").plans
    assert not plan.streamed and plan.augmentation is None
    path = tmp_path / "start.weights.h5"
    plan.network((8, 8, 1), 10, **plan.options).save_weights(path)
    output = tmp_path / "output"
    assert run(name, "--weights", str(path), output=output) == 0
    found = records(output)
    assert [r["method"] for r in found] == [m.name for m in plan.methods]
    assert len({record["weights"] for record in found}) == 1
    assert found[0]["preparation"] == [["scale"], ["standardize"]]


@pytest.mark.few(3)
@pytest.mark.parametrize("name", ["a.weights.h5", "a.keras", "a.h5", "a"])
@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04" + 60 * b"x"])
def test_damaged_weights_are_one_line(small, name, content, tmp_path, capsys):
    run, _ = small
    path = tmp_path / name
    path.write_bytes(content)
    arguments = ["jumpout-table-2-imagenet", "--weights", str(path)]
    assert run(*arguments, output=tmp_path / "output") == 2
    line = error_of(capsys)
    assert f"'{path}' does not hold weights of resnet18" in line
    assert not (tmp_path / "output").exists()


@pytest.mark.few(1)
@pytest.mark.parametrize("seed", range(2))
def test_weights_with_a_damaged_byte_end_in_one_line_or_not(
    seed, small, tmp_path, capsys
):
    """Half of the file gone, or bytes changed: never a traceback."""
    (plan,) = papers.find("jumpout-table-2-imagenet", "digits").plans
    model = plan.network((8, 8, 1), 10, **plan.options)
    path = tmp_path / "a.weights.h5"
    model.save_weights(path)
    whole = path.read_bytes()
    initial, _ = reproduce._initial_weights(
        papers.find("jumpout-table-2-imagenet"), str(path)
    )
    moments = random.Random(seed)
    told = 0
    for _ in range(20):
        damaged = bytearray(whole)
        for _ in range(20):
            damaged[moments.randrange(3000)] = moments.randrange(256)
        path.write_bytes(damaged[: moments.randrange(len(whole))])
        try:
            initial(model)
        except UserError as error:
            told += 1
            assert "does not hold weights of resnet18" in str(error)
    assert told


def test_what_is_asked_for_is_what_each_plan_gets(tmp_path, monkeypatch):
    opened, calls = [], []

    def open_data(plan, *arguments):
        opened.append((plan.dataset, *arguments))
        shape = [32, 32, 3]
        return plan.name, {"input_shape": shape, "num_classes": 10}

    def run(plan, data, source, seeds, records, progress, **others):
        del others["say"]
        calls.append((plan, data, source, list(seeds), others))

    monkeypatch.setattr(rooms, "open_data", open_data)
    monkeypatch.setattr(engine, "run", run)
    monkeypatch.setattr(reproduce, "_check_networks", lambda *_: None)
    name = "augmented-table-4"
    recipe = papers.find(name)
    command = ["reproduce", name, "--output", str(tmp_path)]
    asked = "--seeds 2 --epochs 7 --train-size 50 --precision mixed_bfloat16"
    asked += " --jit --data-dir d --download --source f"
    assert dropx.main([*command, *asked.split()]) == 0
    assert dropx.main(command) == 0
    assert opened[:2] == [
        ("svhn_cropped", 50, "d", True, "f"),
        ("cifar10", 50, "d", True, "f"),
    ]
    assert opened[3] == ("cifar10", None, None, False, None)
    shared = {"input_shape": [32, 32, 3], "num_classes": 10, "weights": None}
    shared["backend"] = keras.config.backend()
    small = {**shared, "precision": "mixed_bfloat16", "jit": True}
    full = {**shared, "precision": "float32", "jit": False}
    others = {"checkpoints": tmp_path / "checkpoints", "initial": None}
    assert calls == [
        (
            dataclasses.replace(plan, jit=True, epochs=7),
            *(plan.name, small, [0, 1], others),
        )
        for plan in recipe.plans
    ] + [(plan, plan.name, full, [0, 1, 2, 3], others) for plan in recipe.plans]
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.full
def test_weights_are_told_apart_by_their_content(small, tmp_path, monkeypatch):
    run, _ = small
    found = []
    monkeypatch.setattr(
        engine,
        "run",
        lambda plan, data, source, *_, initial, **others: found.append(
            (source, initial)
        ),
    )
    name = "jumpout-table-2-imagenet"
    (plan,) = papers.find(name, "digits").plans
    for number in (1, 1, 2):
        keras.utils.set_random_seed(number)
        path = tmp_path / f"{len(found)}.weights.h5"
        if len(found) == 1:
            path.write_bytes((tmp_path / "0.weights.h5").read_bytes())
        else:
            plan.network((8, 8, 1), 10, **plan.options).save_weights(path)
        assert run(name, "--weights", str(path), output=tmp_path) == 0
    same, copied, other = (source["weights"] for source, _ in found)
    assert same == copied != other and len(same) == 16
    assert all(callable(initial) for _, initial in found)


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
        code = dropx.main([*command, "--data-dir", data_dir])
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert message in error_of(capsys)
    assert not output.exists()


def test_a_network_says_which_images_it_takes(
    monkeypatch, tmp_path, data_dir, capsys
):
    monkeypatch.setitem(digits.NETWORKS, "lenet", digits.Small(1, 0.1))
    output = tmp_path / "output"
    command = ["reproduce", "augmented-table-3", *FAST]
    command += ["--data-dir", data_dir, "--output", str(output)]
    assert dropx.main(command) == 2
    assert re.search(
        r"lenet takes images of at least 13 × 13 pixels.*\(8, 8, 1\)",
        error_of(capsys),
    )
    assert not output.exists()


SCRIPT = """
import dataclasses, sys
import dropx
from keras_dropx.experiments import papers, train
train.CHECKPOINT_SECONDS = 0
original = papers.find
def few(name, dataset=None):
    recipe = original(name, dataset)
    (plan,) = recipe.plans
    methods = {method.name: method for method in plan.methods}
    names = ("dropout", "gaaf", "gaaf-smoothed")
    plan = plan.only(methods[n] for n in names)
    return dataclasses.replace(recipe, plans=(plan,))
papers.find = few
sys.exit(dropx.main(sys.argv[1:]))
"""


def few_runs(data_dir, folder):
    """Returns the command of six runs."""
    return [
        *(sys.executable, "-c", SCRIPT, "reproduce", "gaaf-table-3"),
        *("--dataset", "digits", "--seeds", "2", "--epochs", "40"),
        *("--data-dir", data_dir, "--output", str(folder)),
    ]


def untimed(records):
    """Returns records by method and seed, without what no two runs share."""
    found = {}
    for record in records:
        del record["step_ms"]
        key = record["method"], record["seed"]
        assert key not in found
        found[key] = record
    return found


@pytest.fixture(scope="module")
def whole(data_dir, tmp_path_factory):
    """The records of the six runs, never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    subprocess.run(few_runs(data_dir, folder), check=True, capture_output=True)
    found = untimed(records(folder))
    assert len(found) == 6
    return found


@pytest.mark.full
def test_two_processes_share_a_folder_and_one_is_killed(
    whole, data_dir, tmp_path
):
    command = few_runs(data_dir, tmp_path)
    options = {"stdout": subprocess.PIPE, "text": True}
    with (
        subprocess.Popen(command, **options) as first,
        subprocess.Popen(command, **options) as second,
    ):
        deadline = time.monotonic() + 300
        # Both have a run: one of them is killed within it.
        while len(list((tmp_path / ".locks").glob("*"))) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        first.kill()
        first.wait()
        printed, _ = second.communicate(timeout=300)
    assert second.returncode == 0
    assert "GAAF" in printed
    assert untimed(records(tmp_path)) == whole
    assert not (tmp_path / ".locks").exists()


@pytest.mark.full
def test_killed_at_any_moment_it_ends_with_the_same_numbers(
    whole, data_dir, tmp_path
):
    """SIGKILL again and again; then the same command to its end."""

    def command(folder):
        return few_runs(data_dir, tmp_path / folder)

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
    assert untimed(records(tmp_path / "killed")) == whole


def checkpoints(folder):
    """Returns what tells one state of the checkpoints from another."""
    found = []
    for path in (folder / "checkpoints").glob("*.npz"):
        try:
            found.append((path.name, path.stat().st_mtime_ns))
        except FileNotFoundError:
            continue
    return found


@pytest.mark.full
def test_report_shows_the_runs_and_the_paper(small, capsys):
    run, folder = small
    for name in ("augmented-table-3", "gaaf-table-1", "jumpout-table-1"):
        assert run(name) == 0
    capsys.readouterr()
    assert dropx.main(["report", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    first, *pages = (
        (folder / f"{name}.md").read_text()
        for name in ("report", "augmented", "gaaf", "jumpout")
    )
    text = "\n".join(pages)
    record = next(
        r
        for r in records(folder)
        if (r["plan"], r["method"]) == ("lenet/digits", "standard 0.1")
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
    for choice in papers.find("jumpout-table-1").deviations:
        assert choice.what in text
    for plan in papers.find("augmented-table-3", "digits").plans:
        assert plan.contrasts
        for contrast in plan.contrasts:
            assert contrast.sentence in text and contrast.sentence in first
    page = (folder / "report.html").read_text()
    # Self-contained: nothing is loaded from elsewhere.
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    inside = ("data:image/png", "#")
    assert sources and all(s.startswith(inside) for s in sources)
    assert "<table>" in page and "| --- |" not in page
    for name in re.findall(r"\]\((.*?\.png)\)", first + text):
        assert (folder / name).stat().st_size > 5_000


@pytest.mark.parametrize("text", [None, '{"plan": "masks", "method": "plain"}'])
def test_a_folder_without_runs_has_no_report(tmp_path, text, capsys):
    if text is not None:
        (tmp_path / "runs.jsonl").write_text(text + "\n")
    assert dropx.main(["report", str(tmp_path)]) == 2
    assert "runs" in error_of(capsys)
    assert not (tmp_path / "report.md").exists()


def test_list_names_every_recipe(capsys):
    assert dropx.main(["list"]) == 0
    text = capsys.readouterr().out
    for name in papers.RECIPES:
        assert name in text
    # How long each takes here, of the speed that was just measured.
    assert text.count(" min │") + text.count(" h │") + text.count(" days │") > 9
