"""The links of the Markdown files beside the site; its build checks its own."""

import re
from pathlib import Path

import pytest

import keras_dropx.callbacks
import keras_dropx.layers
import keras_dropx.models
import keras_dropx.tuner
from keras_dropx.experiments import baselines, networks

ROOT = Path(__file__).parents[2]
FILES = [*ROOT.glob("*.md"), *ROOT.glob(".github/**/*.md")]
API = {
    "layers.md": [keras_dropx.layers],
    "models.md": [keras_dropx.models],
    "callbacks.md": [keras_dropx.callbacks],
    "tuner.md": [keras_dropx.tuner],
    "experiments.md": [networks, baselines],
}


def anchors(path):
    """The anchors that GitHub gives to a file's headings."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, re.M)
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name) if name else path
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_every_example_is_shown():
    page = (ROOT / "docs" / "examples.md").read_text()
    shown = re.findall(r'^--8<-- "examples/(.+)"$', page, re.M)
    assert sorted(shown) == sorted(
        path.name for path in (ROOT / "examples").glob("*.py")
    )


@pytest.mark.parametrize("name", API)
def test_every_public_name_has_its_entry(name):
    page = (ROOT / "docs" / "api" / name).read_text()
    entries = re.findall(r"^::: (\S+)$", page, re.M)
    public = [
        f"{module.__name__}.{member}"
        for module in API[name]
        for member in module.__all__
    ]
    assert sorted(set(entries) - set(public)) in (
        [],
        ["keras_dropx.experiments.datasets.load"],
    )
    assert not set(public) - set(entries)
