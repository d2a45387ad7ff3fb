"""Runs the examples of the docstrings that the site shows."""

import doctest

import keras
import numpy as np
import pytest

import keras_dropx.callbacks
import keras_dropx.layers
import keras_dropx.models
import keras_dropx.tuner

MODULES = [
    keras_dropx.callbacks,
    keras_dropx.layers,
    keras_dropx.models,
    keras_dropx.tuner,
]
EXAMPLES = [
    example
    for module in MODULES
    for name in module.__all__
    for example in doctest.DocTestFinder(recurse=False).find(
        getattr(module, name), name, module=False
    )
    if example.examples
]


def test_layers_have_examples():
    found = {example.name for example in EXAMPLES}
    assert found >= set(keras_dropx.layers.__all__)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_examples_run(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example.globs = {"keras": keras, "keras_dropx": keras_dropx, "np": np}
    written = []
    doctest.DocTestRunner().run(example, out=written.append)
    assert not written, "".join(written)
