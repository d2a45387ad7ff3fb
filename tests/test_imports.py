import ast
import json
import pathlib
import subprocess
import sys

import pytest

import keras_dropx

ROOT = pathlib.Path(keras_dropx.__file__).parent
HEAVY = ("tensorflow_datasets", "keras_tuner", "sklearn", "matplotlib")
RANKS = {
    "errors": 0,
    "random": 1,
    "ops": 2,
    "layers": 3,
    "models": 4,
    "callbacks": 4,
    "tuner": 4,
    "experiments": 5,
    "commands": 6,
    "cli": 7,
}
FRAMEWORKS = {"tensorflow", "jax", "torch"}
MAY_IMPORT_FRAMEWORKS = (
    "random/",
    "models/monte_carlo.py",
    "callbacks/probe.py",
    "tuner/memory.py",
    "experiments/",
)
SCRIPT = """
import json, sys, time
import keras
known = set(sys.modules)
before = time.process_time()
import keras_dropx
seconds = time.process_time() - before
print(json.dumps([seconds, sorted(set(sys.modules) - known)]))
"""


@pytest.fixture(scope="module")
def fresh_imports():
    runs = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    return runs


def test_import_loads_nothing_heavy(fresh_imports):
    # Beyond Keras, which imports some of these itself where it finds them.
    _, modules = fresh_imports[0]
    assert "keras_dropx.layers" in modules
    assert not {name.split(".")[0] for name in modules}.intersection(HEAVY)


def test_import_takes_less_than_50_ms_of_cpu_more_than_keras(fresh_imports):
    # Other work on the machine only adds to it.
    assert min(seconds for seconds, _ in fresh_imports) < 0.05


def imported_names(tree, package):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1]
            module = ".".join(parents) if node.level else ""
            module = ".".join(filter(None, (module, node.module)))
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute):
            if ast.unparse(node) == "keras.src":
                yield "keras.src"


def breaches(path, source):
    """Lists what the file at `path`, seen from the package, may not import."""
    package = ("keras_dropx", *pathlib.PurePosixPath(path).parts[:-1])
    room = path.split("/")[0].removesuffix(".py")
    found = []
    for name in imported_names(ast.parse(source), package):
        parts = name.split(".")
        if parts[:2] == ["keras", "src"]:
            found.append(name)
        if parts[0] in FRAMEWORKS and not path.startswith(
            MAY_IMPORT_FRAMEWORKS
        ):
            found.append(name)
        if parts[0] == "keras_dropx" and room in RANKS and len(parts) > 1:
            other = parts[1]
            if other != room and RANKS.get(other, -1) >= RANKS[room]:
                found.append(name)
    return found


@pytest.mark.parametrize(
    "path", sorted(p.relative_to(ROOT).as_posix() for p in ROOT.rglob("*.py"))
)
def test_imports_stay_within_the_rules(path):
    assert breaches(path, (ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    "path, source",
    [
        ("layers/a.py", "import tensorflow as tf"),
        ("layers/a.py", "def f():\n    from jax import numpy"),
        ("callbacks/a.py", "import torch"),
        ("models/a.py", "from keras.src.layers import Dense"),
        ("random/a.py", "from keras import src"),
        ("random/a.py", "import keras\nkeras.src.backend"),
        ("ops/a.py", "from keras_dropx.layers import GAAF"),
        ("ops/a.py", "from keras_dropx import layers"),
        ("ops/a.py", "from .. import layers"),
        ("layers/a.py", "from ..models import batch_norm"),
        ("random/a.py", "from keras_dropx import ops"),
        ("models/a.py", "from keras_dropx import callbacks"),
        ("tuner/a.py", "from keras_dropx.models import replace_dropout"),
        ("experiments/a.py", "import keras_dropx.cli"),
        ("errors.py", "from keras_dropx import random"),
    ],
)
def test_a_breach_of_the_import_rules_is_found(path, source):
    assert len(breaches(path, source)) == 1


@pytest.mark.parametrize(
    "path, source",
    [
        ("random/a.py", "import tensorflow as tf"),
        ("callbacks/probe.py", "import jax"),
        ("experiments/datasets.py", "import tensorflow"),
        ("layers/a.py", "from keras_dropx import errors, random"),
        ("layers/a.py", "from .b import Layer"),
        ("cli.py", "from keras_dropx import experiments, __version__"),
    ],
)
def test_what_the_rules_allow_is_no_breach(path, source):
    assert breaches(path, source) == []
