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
# Pages that are lists of what mkdocs puts there.
MADE = [ROOT / "docs" / name for name in ("examples.md", "changelog.md")]
READ = [
    ROOT / "README.md",
    *sorted(set((ROOT / "docs").rglob("*.md")) - {*MADE}),
]
READ = [path for path in READ if "api" not in path.parts]
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


@pytest.mark.parametrize("path", READ, ids=lambda path: path.stem)
def test_pages_read_well_on_a_code_host(path):
    text = path.read_text()
    assert "--8<--" not in text
    assert "][keras_dropx" not in text  # a link that only the site knows
    assert not re.search(r"^(!!!|:::|\?\?\?) ", text, re.M)


@pytest.mark.parametrize("path", READ, ids=lambda path: path.stem)
def test_nothing_is_installed_from_where_it_is_not(path):
    assert not re.search(r"pip install \W*keras[-_]dropx", path.read_text())


def test_every_example_is_shown():
    page = (ROOT / "docs" / "examples.md").read_text()
    shown = re.findall(r'^ *--8<-- "examples/(.+)"$', page, re.M)
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
    # Where mkdocstrings finds what is imported when it is used.
    lazy = {
        f"keras_dropx.experiments.{name}"
        for name in (
            "comparison.compare",
            "comparison_result.Comparison",
            "data.datasets.load",
            "tuning.tune",
            "tuning_result.Tuning",
        )
    }
    assert set(entries) - set(public) in (set(), lazy)
    assert not set(public) - set(entries)
