import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__, plan

ROOT = Path(__file__).parents[2]
# As on a machine with JAX, Keras and NumPy.
WITH_JAX_ALONE = """
import sys
for name in ("tensorflow", "matplotlib"):
    sys.modules[name] = None
from benchmarks import __main__
sys.exit(__main__.main(sys.argv[1:]))
"""


@pytest.fixture
def ran(tmp_path, capsys):
    path = tmp_path / "results" / "run.json"
    arguments = (
        "run --level op --sizes 1k --rounds 2 --only float32/4x256/augmented_p"
    )
    assert __main__.main([*arguments.split(), "--output", str(path)]) == 0
    return path, capsys.readouterr().out


@pytest.mark.full
def test_run_prints_tables_and_writes_json(ran):
    path, printed = ran
    result = json.loads(path.read_text())
    assert result["machine"]["backend"] == "tensorflow"
    assert result["machine"]["versions"]["keras"]
    measured = {
        (record["mode"], record["subject"]): record
        for record in result["measurements"]
    }
    subjects = {"copy", "keras", "keras_philox", "augmented_paper"}
    assert set(measured) == {
        (mode, name) for mode in ("graph", "xla") for name in subjects
    }
    for record in measured.values():
        assert record["size"] == 1024 and record["shape"] == [4, 256]
        assert record["seconds"] > 0
    record = measured["graph", "augmented_paper"]
    ratio = record["ratios"]["copy"]
    assert ratio["quartiles"][0] <= ratio["median"] <= ratio["quartiles"][1]
    assert ratio["rounds"] == 2
    assert record["kept_bytes"] / 1024 == pytest.approx(1, abs=0.01)
    assert "op/graph/float32/4x256" in printed
    assert "not measured" in printed


@pytest.mark.full
def test_compare_by_exit_code(ran, capsys):
    path, _ = ran
    result = json.loads(path.read_text())
    for record in result["measurements"]:
        for ratio in record["ratios"].values():
            ratio["median"] *= 100
            ratio["quartiles"] = [100 * q for q in ratio["quartiles"]]
    slower = path.with_name("slower.json")
    slower.write_text(json.dumps(result))
    assert __main__.main(["compare", str(path), str(path)]) == 0
    assert "none of" in capsys.readouterr().out
    assert __main__.main(["compare", str(path), str(slower)]) == 1
    assert "op/graph/float32/4x256" in capsys.readouterr().out


@pytest.mark.full
def test_train_steps_run(tmp_path, capsys):
    path = tmp_path / "run.json"
    arguments = "run --quick --batches 2 --rounds 1 --only mlp/graph/float32/2/"
    for subject in ("gaaf", "masked_input", "gradient"):
        command = f"{arguments}{subject} --output {path}"
        assert __main__.main(command.split()) == 0
        records = json.loads(path.read_text())["measurements"]
        assert [len(record["ratios"]) for record in records] == [0, 1]
    assert "gradient_information" in capsys.readouterr().out


@pytest.mark.full
def test_scale_draws_a_picture(tmp_path, monkeypatch):
    from benchmarks import scaling

    monkeypatch.setattr(scaling, "RANKS", ((1024,),))
    monkeypatch.setattr(scaling, "CHANNELS", ((341, 3),))
    monkeypatch.setattr(scaling, "SUBJECTS", ("copy", "augmented"))
    path = tmp_path / "scale.json"
    command = ["scale", "--sizes", "1k,2k", "--output", str(path)]
    assert __main__.main(command) == 0
    records = json.loads(path.read_text())["measurements"]
    assert [record["shape"] for record in records[::2]] == [
        [4, 256],
        [8, 256],
        [1024],
        [341, 3],
    ]
    assert path.with_suffix(".png").stat().st_size > 10_000


@pytest.mark.full
def test_runs_with_jax_alone(tmp_path):
    path = tmp_path / "run.json"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            WITH_JAX_ALONE,
            *"run --gpu --sizes 1k --batches 2 --rounds 1".split(),
            *("--only", "uint16", "--output", str(path)),
        ],
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    records = json.loads(path.read_text())["measurements"]
    assert {"library", "philox", "rbg", "threefry"} <= {
        record["subject"] for record in records
    }


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("run --sizes 1.5k", "received '1.5k'"),
        ("run --quick --gpu", "not allowed with"),
        ("run --only nothing-of-this", "nothing to measure"),
        ("compare a.json b.json", "a.json: No such file"),
    ],
)
def test_errors_take_one_line(
    arguments, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    try:
        code = __main__.main(arguments.split())
    except SystemExit as exit:
        code = exit.code
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("text", ["[]", "{}", '{"schema": 0}', "no JSON"])
def test_other_files_are_refused(text, tmp_path, capsys):
    path = tmp_path / "file.json"
    path.write_text(text)
    assert __main__.main(["compare", str(path), str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_quick_measures_every_goal_of_the_machine():
    from benchmarks import device, goals

    groups = plan.quick(("op", "train"))
    for goal in goals.that_apply(device.describe()):
        assert any(
            (group.level, group.mode, group.dtype)
            == (goal.level, goal.mode, goal.dtype)
            and set(goal.subjects) <= set(group.subjects)
            and (goal.reference is None or goal.reference in group.subjects)
            for group in groups
        ), goal


def test_gpu_plan_says_what_it_needs(monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "jax_plugins" else find(name),
    )
    assert __main__.main(["gpu-plan"]) == 2
    assert "keras-dropx[gpu-plan]" in capsys.readouterr().err
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    assert __main__.main(["gpu-plan"]) == 2
    assert "KERAS_BACKEND to be jax" in capsys.readouterr().err
