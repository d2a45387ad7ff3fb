"""A model and data of the user's own, by `dropx`, out of files."""

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

import dropx
from keras_dropx import experiments
from keras_dropx.commands.own import Own
from keras_dropx.experiments import compare

SOURCE = """
import keras
from beside import UNITS

raised = None


def compiled(layers, loss="binary_crossentropy", metrics=("accuracy",)):
    model = keras.Sequential(layers)
    # XLA would only take longer to compile.
    model.compile("sgd", loss, metrics=list(metrics), jit_compile=False)
    return model


def build(dropout):
    return compiled(
        [
            keras.Input((3,)),
            keras.layers.Dense(UNITS, activation="relu"),
            dropout(0.5),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )


def image(dropout, activation):
    return compiled(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Flatten(),
            activation("relu"),
            dropout(0.5),
            keras.layers.Dense(2),
        ],
        "sparse_categorical_crossentropy",
    )


def other_shape(dropout):
    return compiled([keras.Input((7,)), dropout(0.5), keras.layers.Dense(1)])


def no_site(dropout):
    return compiled([keras.Input((3,)), keras.layers.Dense(1)])


def uncompiled(dropout):
    return keras.Sequential([keras.Input((3,)), dropout(0.5)])


def no_model(dropout):
    return 3


def no_rate(dropout):
    return dropout()


def three(a, b, c):
    pass


def none():
    return build(keras.layers.Dropout)


def fails(dropout):
    raise RuntimeError("no\\nway")
"""
LINE = SOURCE[: SOURCE.index("raise RuntimeError")].count("\n") + 1
FAST = ["--seeds", "2", "--epochs", "1", "--batch-size", "8"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with models and data, which the tests do not change."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "my.py").write_text(SOURCE)
    (folder / "beside.py").write_text("UNITS = 6\n")
    (folder / "stops.py").write_text("import sys\n\nsys.exit(3)\n")
    (folder / "lacks.py").write_text("import nosuchmodule\n")
    (folder / "broken.py").write_text("def (:\n")
    (folder / "damaged.keras").write_text("no zip")
    rng = np.random.default_rng(0)
    x = 100 * rng.normal(size=(40, 3)).astype("float32") + 50
    y = (x.sum(axis=1) > 150).astype(int)
    np.savez(folder / "data.npz", x=x, y=y)
    np.savez(folder / "lengths.npz", x=x, y=y[:9])
    np.savez(folder / "nan.npz", x=np.where(x > 200, np.nan, x), y=y)
    np.savez(folder / "labels.npz", x=x, y=y + 1)
    rows = ["a,b,c,label,kind"]
    rows += [
        f"{a},{b},{c},{label},red"
        for (a, b, c), label in zip(x, y, strict=True)
    ]
    (folder / "text.csv").write_text("\n".join(rows))
    plain = [row.rpartition(",")[0] for row in rows]
    (folder / "table.csv").write_text("\n".join(plain))
    for number in range(8):
        image = np.full((4, 4, 1), 20 * number, "uint8")
        (folder / "photos" / f"class{number % 2}").mkdir(
            parents=True, exist_ok=True
        )
        path = folder / "photos" / f"class{number % 2}" / f"{number}.png"
        keras.utils.save_img(path, image, scale=False)
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.save(folder / "uncompiled.keras")
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    model.save(folder / "net.keras")
    unsafe = keras.Sequential(
        [keras.Input((3,)), keras.layers.Lambda(lambda x: x + 1)]
    )
    unsafe.compile("sgd", "mse")
    unsafe.save(folder / "unsafe.keras")
    return folder


@pytest.fixture
def inside(place, monkeypatch):
    """Works in that folder, with other modules and paths after it."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield place
    for name in ("beside", "dropx_model"):
        sys.modules.pop(name, None)


def untimed(text):
    return re.sub(r"[\d.]+ │$", "│", text, flags=re.MULTILINE)


def told(capsys, *command):
    try:
        code = dropx.main([*map(str, command)])
    except SystemExit as end:
        code = end.code
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def records(folder):
    lines = (folder / "runs.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


TABLE = ["--data", "table.csv", "--target", "label"]


def test_a_table_gets_a_sentence_a_page_and_records(inside, tmp_path, capsys):
    output = tmp_path / "output"
    command = ["compare", "--model", "my.py:build", *TABLE, *FAST]
    command += ["--methods", "none", "--margin", "0.01", "--output", output]
    code, out, err = told(capsys, *command)
    assert (code, err) == (0, "")
    found = records(output)
    assert len(found) == 6
    assert f"Page: {output}/report.html" in out
    assert f"Every run: {output}/runs.jsonl" in out
    page = (output / "report.html").read_text()
    sentence = out.partition("\n")[0]
    assert sentence.endswith(".") and sentence in page
    assert told(capsys, *command) == (0, out, "")
    assert records(output) == found


@pytest.mark.full
def test_the_numbers_are_those_of_compare(inside, tmp_path, capsys):
    command = ["compare", "--model", "my.py:build", *TABLE, *FAST]
    command += ["--methods", "none", "forward", "--output", str(tmp_path)]
    code, out, err = told(capsys, *command)
    own = Own(dropx.parser.parse(command))
    assert own.train[0].shape == (32, 3) and own.test[1].shape == (8,)
    result = compare(
        own.model,
        own.train,
        own.test,
        ["none", "forward"],
        seeds=2,
        epochs=1,
        batch_size=8,
        verbose=0,
    )
    # All that is printed but for the times of a step, which end their lines.
    assert untimed(out).startswith(untimed(str(result)))
    found = {(r["method"], r["seed"]): r for r in records(tmp_path)}
    assert len(found) == len(result.records) == 8
    for record in result.records:
        theirs = found[record["method"], record["seed"]]
        assert record["train_loss"] == theirs["train_loss"]


def test_columns_are_standardized_by_those_in_training(inside):
    command = ["compare", "--model", "my.py:build", *TABLE]
    plain = Own(dropx.parser.parse(command))
    own = Own(dropx.parser.parse([*command, "--standardize"]))
    mean, deviation = plain.train[0].mean(axis=0), plain.train[0].std(axis=0)
    np.testing.assert_allclose(own.train[0].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(own.train[0].std(axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(
        own.test[0], (plain.test[0] - mean) / deviation, rtol=1e-5, atol=1e-6
    )


class Result:
    """What a comparison of three seeds that are not resolved returns."""

    seeds = [0, 1, 2]
    resolved = False

    def __str__(self):
        return "A sentence."

    def report(self, path):
        self.path = path


@pytest.fixture
def asked(monkeypatch):
    """What `compare` is asked for, in place of a comparison."""
    found = {}

    def compare(*positional, **named):
        names = ("model", "train", "test", "methods")
        found.update(named, **dict(zip(names, positional, strict=True)))
        return Result()

    monkeypatch.setattr(experiments, "compare", compare, raising=False)
    return found


def test_images_are_read_as_the_model_takes_them(inside, asked, capsys):
    command = ["compare", "--model", "my.py:image", "--data", "photos"]
    command += ["--test-share", "0.25", "--methods", "gaaf", "gain"]
    code, out, err = told(capsys, *command, "--seeds", "3")
    assert (code, err) == (0, "")
    assert out.startswith("A sentence.\n")
    assert asked["train"][0].shape == (6, 4, 4, 1)
    assert set(asked["test"][1]) == {0, 1}
    assert asked["methods"] == ["gaaf", "gain"]
    assert (asked["epochs"], asked["batch_size"]) == (10, 32)
    assert (asked["metric"], asked["start"]) == (None, "fresh")


def test_a_model_of_a_file_is_given_as_it_is(inside, asked, capsys):
    command = ["compare", "--model", "net.keras", "--data", "data.npz", *FAST]
    command += ["--start", "given", "--metric", "accuracy:max"]
    command += ["--seeds", "2:3", "--margin", "0.1", "--output", "there"]
    assert told(capsys, *command)[0] == 0
    assert isinstance(asked["model"], keras.Model)
    assert asked["metric"] == ("accuracy", "max")
    assert (asked["start"], asked["seeds"]) == ("given", (2, 3))
    assert (asked["margin"], asked["output"]) == (0.1, "there")
    assert (asked["epochs"], asked["batch_size"]) == (1, 8)


def test_a_search_gets_validation_data_of_their_own(
    inside, capsys, monkeypatch
):
    found = {}

    def tune(*positional, **named):
        names = ("build", "train", "validation", "test")
        found.update(named, **dict(zip(names, positional, strict=True)))
        result = Result()
        result.comparison = result
        return result

    monkeypatch.setattr(experiments, "tune", tune, raising=False)
    command = ["tune", "--model", "my.py:build", *TABLE, "--seeds", "3"]
    command += ["--method", "jumpout", "--tuner", "grid", "--trials", "7"]
    command += ["--test-share", "0.25", "--objective", "val_accuracy:max"]
    code, out, err = told(capsys, *command, "--sigma", "0.1", "0.3")
    assert (code, err) == (0, "")
    assert out == (
        "A sentence.\n\nPage: results/tune-model/report.html\n"
        "Every run: results/tune-model/comparison/runs.jsonl\n"
    )
    parts = [found[name][0] for name in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [22, 8, 10]
    # No sample is in two of them.
    assert len(np.unique(np.concatenate(parts), axis=0)) == 40
    assert (found["method"], found["tuner"]) == ("jumpout", "grid")
    assert (found["trials"], found["executions"]) == (7, 2)
    assert (found["rate"], found["sigma"]) == ((0.05, 0.5), (0.1, 0.3))
    assert found["objective"] == ("val_accuracy", "max")
    assert (found["seed"], found["batch_size"]) == (0, 32)


@pytest.mark.parametrize(
    "model, data, message",
    [
        ("my.py:fails", "data.npz", f"'my.py', line {LINE}: RuntimeError: no"),
        ("my.py:uncompiled", "data.npz", "my.py:uncompiled is not compiled"),
        ("my.py:build", "labels.npz", "has labels from 1 to 2; the loss"),
        ("my.py:no_site", "data.npz", "my.py:no_site: .* dropout site"),
        ("my.py:none", "data.npz", r"takes \(\): .* each dropout layer$"),
    ],
)
def test_mistakes_of_a_search_are_one_line_and_leave_nothing(
    inside, tmp_path, capsys, model, data, message
):
    output = tmp_path / "output"
    command = ["tune", "--model", model, "--data", data, "--output", output]
    code, out, err = told(capsys, *command)
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert re.search(message, err), err
    assert not output.exists()


@pytest.mark.full
def test_a_search_on_a_table_ends_with_a_line_of_python(
    inside, tmp_path, capsys
):
    command = ["tune", "--model", "my.py:build", *TABLE, *FAST]
    command += ["--trials", "2", "--executions", "1", "--output", tmp_path]
    code, out, err = told(capsys, *command)
    assert (code, err) == (0, "")
    assert out.splitlines()[-2] == f"Page: {tmp_path}/report.html"
    assert re.search(r"^keras_dropx\.layers\.\w+\(.*\)$", out, re.M)
    assert told(capsys, *command) == (0, out, "")
    code, out, err = told(capsys, *command, "--seed", "1")
    assert (code, out) == (2, "")
    assert "holds a search of another seed: give another output" in err


@pytest.mark.parametrize("seeds", ["4", "2:4"])
def test_an_interrupt_shows_what_there_is(inside, asked, capsys, seeds):
    command = ["compare", "--model", "my.py:build", *TABLE, "--seeds", seeds]
    code, out, err = told(capsys, *command)
    assert (code, err) == (
        130,
        "dropx: interrupted; the same command goes on\n",
    )
    assert out.startswith("A sentence.\n")


@pytest.mark.parametrize(
    "model, data, others, message",
    [
        ("nosuch.keras", "data.npz", (), "no file 'nosuch.keras'"),
        ("damaged.keras", "data.npz", (), "'damaged.keras' cannot be loaded"),
        ("unsafe.keras", "data.npz", (), "'unsafe.keras' cannot be loaded"),
        ("uncompiled.keras", "data.npz", (), "uncompiled.keras is not compil"),
        ("nosuch.py:f", "data.npz", (), "no file 'nosuch.py'"),
        ("my.py:bild", "data.npz", (), "no function bild; it has: compiled, b"),
        ("my.py:raised", "data.npz", (), "'my.py' has no function raised"),
        (
            "my.py:three",
            "data.npz",
            (),
            r"my.py:three takes \(a, b, c\): expected build\(dropout\) or",
        ),
        ("my.py:none", "data.npz", (), r"takes \(\): .*; or save .* \.keras f"),
        ("my.py:no_model", "data.npz", (), "my.py:no_model returns 3, expect"),
        ("my.py:uncompiled", "data.npz", (), "my.py:uncompiled is not compil"),
        ("my.py:no_site", "data.npz", (), "my.py:no_site: .* dropout site"),
        ("my.py:no_rate", "data.npz", (), r"dropout\(\) missing 1 required"),
        (
            "my.py:fails",
            "data.npz",
            (),
            f"'my.py', line {LINE}: RuntimeError: no way",
        ),
        ("stops.py:f", "data.npz", (), "'stops.py', line 3: SystemExit: 3"),
        ("lacks.py:f", "data.npz", (), "line 1: ModuleNotFoundError: No mod"),
        ("broken.py:f", "data.npz", (), "'broken.py': SyntaxError: .* line 1"),
        ("my.py:build", "nosuch.npz", (), "no file or folder 'nosuch.npz'"),
        ("my.py:build", "lengths.npz", (), "x has 40 samples, y 9"),
        ("my.py:build", "nan.npz", (), "array x of 'nan.npz' .* NaN"),
        ("my.py:build", "labels.npz", (), "has labels from 1 to 2; the loss"),
        ("my.py:build", "table.csv", (), "with --target, one of a, b, c, lab"),
        ("my.py:build", "text.csv", ("--target", "label"), "'kind' .* encode"),
        ("my.py:build", "photos", (), "the model takes none"),
        (
            "my.py:other_shape",
            "data.npz",
            (),
            r"other_shape does not take 'data.npz', .* the shape \(3,\): .*7",
        ),
        ("my.py:build", "data.npz", ("--metric", "auc"), "`metric`.*'accurac"),
        ("my.py:build", "data.npz", ("--methods", "gaaf"), "`methods`.*build"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    inside, tmp_path, capsys, model, data, others, message
):
    output = tmp_path / "output"
    code, out, err = told(
        capsys,
        *("compare", "--model", model, "--data", data, *FAST, *others),
        *("--output", output),
    )
    assert (code, out) == (2, "")
    assert err.startswith("dropx: ") and err.count("\n") == 1
    # No escape sequences, no addresses.
    assert err.rstrip("\n").isprintable() and " at 0x" not in err
    assert re.search(message, err), err
    assert not output.exists()


@pytest.mark.full
def test_killed_it_goes_on_to_the_same_numbers(place, tmp_path):
    """SIGKILL after the third run; then the same command."""
    program = [sys.executable, "-m", "dropx", "compare"]
    program += ["--model", "my.py:build", *TABLE, *FAST]
    program += ["--methods", "none", "forward", "--epochs", "20"]

    def begin(folder):
        return subprocess.Popen(
            [*program, "--output", str(folder)],
            cwd=place,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
            stdout=subprocess.DEVNULL,
        )

    process = begin(tmp_path / "killed")
    path = tmp_path / "killed" / "runs.jsonl"
    while not path.exists() or path.read_bytes().count(b"\n") < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = path.read_bytes()
    assert begin(tmp_path / "killed").wait() == 0
    assert path.read_bytes().startswith(before[: before.rindex(b"\n") + 1])
    assert begin(tmp_path / "whole").wait() == 0
    keys = ("method", "seed", "test_loss", "train_loss")
    killed, whole = (
        [[r[key] for key in keys] for r in records(tmp_path / name)]
        for name in ("killed", "whole")
    )
    assert killed == whole and len(whole) == 8


@pytest.mark.full
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_it_runs_on_the_backend_of_keras(place, tmp_path, backend):
    pytest.importorskip(backend)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "dropx", "compare", "--model"),
            *("my.py:build", *TABLE, *FAST, "--methods", "none"),
            *("--output", str(tmp_path)),
        ],
        cwd=place,
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "PYTHONPATH": os.getcwd(),
        },
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {r["backend"] for r in records(tmp_path)} == {backend}
