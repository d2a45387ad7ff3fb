"""Searches without a training: what is noted of them, not their numbers."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest

from keras_dropx.experiments.data.datasets import Subsets
from keras_dropx.experiments.search import folder, trials
from keras_dropx.experiments.search.settings import Settings

SETTINGS = Settings(
    dataset="digits",
    train_size=300,
    network="mlp",
    method="any",
    tuner="random",
    executions=1,
    epochs=2,
    objective="val_accuracy",
    seed=0,
    rate=(0.0, 0.5),
    backward_rate=(1e-5, 1e-2),
    sigma=(0.05, 0.5),
    precision="float32",
    jit=False,
    backend="tensorflow",
)


class Untrained(trials.Search):
    """Scores a trial by its number."""

    def _train(self, trial, execution):
        return 0.5 + int(trial.trial_id) / 100


@pytest.fixture(scope="session")
def settings():
    return SETTINGS


@pytest.fixture(scope="session")
def make_search():
    """Returns `make_search(settings, output, …)`, which runs a search.

    Further arguments are the number of trials, and methods in place of its.
    """

    def make(settings, output, count=2, **methods):
        cls = type("Search", (Untrained,), methods)
        output = Path(output)
        output.mkdir(parents=True, exist_ok=True)
        folder.begin(settings, output, overwrite=False)
        images = np.zeros((4, 8, 8, 1), "float32")
        part = (images, np.arange(4))
        searches = {}
        for method in settings.methods:
            searches[method] = cls(
                settings,
                method,
                Subsets(part, part, part),
                10,
                trials=count,
                output=output,
            )
            searches[method].search()
        return searches

    return make


@pytest.fixture(scope="session")
def tree():
    """Returns `tree(folder)`: each path below it, with what it holds."""

    def read(top):
        found = {}
        for path in sorted(Path(top).rglob("*")):
            name = path.relative_to(top).as_posix()
            if path.is_symlink():
                found[name] = f"-> {path.readlink()}"
            elif path.is_dir():
                found[name] = None
            else:
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    return read


@pytest.fixture(scope="session")
def changed():
    """Returns `changed(settings, …)`: the settings with other values."""
    return dataclasses.replace
