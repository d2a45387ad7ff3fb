"""The files for GitHub and for citing say what is so."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

import keras_dropx

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci" / "run"
# What each part of the script makes.
TARGETS = {
    "lint": "lint",
    "docs": "docs",
    "wheel": "test-wheel",
    "tensorflow": "test-covered",
    "jax": "--keep-going test-jax full-jax",
    "oldest": "test-oldest",
    "torch": "test-torch",
    "hub": "test-hub",
    "browser": "test-browser",
    "gpu-plan": "gpu-plan",
}
PARTS = list(TARGETS)
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read(path):
    return yaml.safe_load((ROOT / path).read_text())


def program(path, body):
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def steps(workflow):
    for job in workflow["jobs"].values():
        yield from job["steps"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_has_few_rights_a_limit_and_pinned_actions(path):
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        rights = {
            "publish": {"id-token": "write"},
            "deploy": {"id-token": "write", "pages": "write"},
        }.get(name)
        assert job.get("permissions") == rights
        assert job["timeout-minutes"] <= 90
    for step in steps(workflow):
        assert re.search(r"@(v\d+|release/v\d+)$", step.get("uses", "@v0"))
    assert "secrets." not in path.read_text()


def test_ci_is_the_parts_of_the_script_and_nothing_else():
    workflow = read(".github/workflows/ci.yml")
    # YAML takes the key `on` for true.
    assert {"push", "pull_request"} == set(workflow[True])
    commands = [s["run"] for s in steps(workflow) if "run" in s]
    assert commands == [".ci/run ${{ matrix.part }}"]
    (job,) = workflow["jobs"].values()
    assert job["runs-on"] == "ubuntu-latest"
    (parts,) = job["strategy"]["matrix"].values()
    assert " ".join(parts).split() == PARTS
    python = next(s["with"] for s in steps(workflow) if "python" in str(s))
    assert python == {"python-version": "3.11"}


@pytest.mark.parametrize(
    "wanted, expected",
    [
        ("", PARTS),
        ("gpu-plan lint", ["gpu-plan", "lint"]),
        ("lint nothing", None),
    ],
)
def test_the_script_runs_the_parts_that_are_named_or_all(
    wanted, expected, tmp_path
):
    """Each part is one call of make, also after one that fails."""
    log = tmp_path / "log"
    program(tmp_path / "make", f'echo "$*" >> {log}')
    for name in ("chromium", "chromedriver", "apt-get", "sudo"):
        program(tmp_path / name, "")
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        [SCRIPT, *wanted.split()],
        env={"PATH": path},
        capture_output=True,
        text=True,
    )
    if expected is None:
        assert done.returncode == 2 and not log.exists()
        assert done.stderr.count("\n") == 1 and "nothing" in done.stderr
        return
    assert done.returncode == 0
    assert re.findall("== (.*) took", done.stdout) == expected
    assert log.read_text().splitlines() == [TARGETS[part] for part in expected]
    program(tmp_path / "make", f'echo "$*" >> {log}; false')
    log.unlink()
    failed = subprocess.run(
        [SCRIPT, *wanted.split()],
        env={"PATH": path},
        capture_output=True,
        text=True,
    )
    assert failed.returncode == 1
    assert failed.stderr == f"failed: {' '.join(expected)}\n"
    assert log.read_text().splitlines() == [TARGETS[part] for part in expected]


def test_the_parts_are_every_target_that_tests():
    """`make test-all` and `make test` have nothing that CI has not."""
    rules = dict(
        re.findall(r"^([a-z-]+):(.*)$", (ROOT / "Makefile").read_text(), re.M)
    )
    named = " ".join(TARGETS.values()).split()
    covered = {*named, "test-tensorflow", "full-tensorflow"}
    tests = {name for name in rules if re.match("test|full", name)}
    assert tests - {"test", "test-full", "test-all"} <= covered
    assert set(rules["test-all"].split()) <= set(named)
    assert rules["test"].split() == ["test-tensorflow", "test-jax"]
    assert rules["test-full"].split() == ["full-tensorflow", "full-jax"]


class Case:
    """What a collected test is to the hook of tests/conftest.py."""

    def __init__(self, nodeid, *marks):
        self.nodeid = nodeid
        self.path = Path(nodeid.partition("::")[0])
        self.marks = {mark.name: mark for mark in marks}

    def get_closest_marker(self, name):
        return self.marks.get(name)

    def add_marker(self, marked):
        self.marks[marked.name] = marked.mark


@pytest.fixture
def conftest(request):
    path = str(ROOT / "tests" / "conftest.py")
    return request.config.pluginmanager.get_plugin(path)


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_few_trainings_are_in_the_fast_set_on_jax(
    backend, conftest, monkeypatch
):
    every = pytest.mark.backends.mark
    long = Case("callbacks/test_a.py::long")
    others = [
        Case("callbacks/test_a.py::chosen", every),
        Case("models/test_a_jax.py::test"),
        Case("layers/test_a.py::test"),
    ]
    monkeypatch.setattr(conftest, "BACKEND", backend)
    conftest.pytest_collection_modifyitems([long, *others])
    assert ("full" in long.marks) is (backend == "jax")
    assert not any("full" in other.marks for other in others)
    cases = [Case(f"layers/test_a.py::test[{i}]") for i in range(10)]
    conftest.pytest_collection_modifyitems(cases)
    left = sum("full" not in case.marks for case in cases)
    assert left == (3 if backend == "jax" else 10)
    drawn = Case("layers/test_properties.py::test")
    conftest.pytest_collection_modifyitems([drawn])
    assert ("full" in drawn.marks) is (backend == "jax")
    tuner = Case("tuner/test_a.py::test")
    items = [others[2], tuner]
    conftest.pytest_collection_modifyitems(items)
    assert items == [tuner, others[2]]


@pytest.mark.parametrize(
    "n, cases, kept",
    [
        (1, 3, [0]),
        (2, 20, [0, 19]),
        # Of 4 x 5 cases not the same of the five each time.
        (4, 20, [0, 6, 13, 19]),
        (5, 3, [0, 1, 2]),
    ],
)
def test_few_cases_of_a_test_are_in_the_fast_set(
    n, cases, kept, conftest, monkeypatch
):
    few, full = pytest.mark.few(n).mark, pytest.mark.full.mark
    slow = Case("a.py::test[slow]", few, full)
    other = Case("a.py::other[0]")
    items = [Case(f"a.py::test[{i}]", few) for i in range(cases)]
    monkeypatch.setattr(conftest, "BACKEND", "tensorflow")
    conftest.pytest_collection_modifyitems([slow, *items, other])
    fast = [i for i, item in enumerate(items) if "full" not in item.marks]
    assert fast == kept
    assert "full" in slow.marks and "full" not in other.marks


@pytest.mark.parametrize(
    "fast, full, enough",
    [
        ("92.50", "92.50", True),
        ("92.50", "93.50", True),
        ("92.50", "93.51", False),
        ("9.80", "100.00", False),
    ],
)
def test_the_fast_set_covers_all_but_one_point(fast, full, enough, tmp_path):
    (tmp_path / ".coverage-fast").write_text(f"{fast}\n")
    (tmp_path / ".coverage-full").write_text(f"{full}\n")
    done = subprocess.run(
        ["make", "--file", ROOT / "Makefile", "covered"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode == 0) is enough
    assert f"{fast} %, all tests {full} %" in done.stdout


def test_release_publishes_what_was_tested_by_trusted_publishing():
    workflow = read(".github/workflows/release.yml")
    assert workflow[True] == {"push": {"tags": ["v*"]}}
    build, publish = workflow["jobs"]["build"], workflow["jobs"]["publish"]
    assert publish["needs"] == "build" and publish["environment"] == "pypi"
    names = [
        step.get("run", step.get("uses", "")).partition("@")[0]
        for step in build["steps"]
    ]
    tested = names.index("make test-wheel")
    assert tested < names.index("actions/upload-artifact")
    assert not any("run" in step for step in publish["steps"])
    assert publish["steps"][-1].keys() == {"uses"}


def test_release_refuses_a_tag_that_is_not_the_version():
    workflow = read(".github/workflows/release.yml")
    (script,) = (
        step["run"] for step in steps(workflow) if "tag" in step.get("name", "")
    )
    codes = [
        subprocess.run(
            ["bash", "-e", "-c", script], cwd=ROOT, env={"GITHUB_REF_NAME": tag}
        ).returncode
        for tag in (f"v{keras_dropx.__version__}", "v9.9.9", "v")
    ]
    assert codes == [0, 1, 1]


@pytest.mark.parametrize("name", ["bug_report", "question_or_feature"])
def test_issue_form_is_one(name):
    form = read(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert form["name"] and form["description"]
    kinds = {"input", "textarea", "dropdown"}
    assert {field["type"] for field in form["body"]} <= kinds
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids))
    assert all(field["attributes"]["label"] for field in form["body"])
    headings = re.findall("^#+ (.+)$", (ROOT / "README.md").read_text(), re.M)
    said = " ".join(str(form).split())
    assert set(re.findall('README.md says under "(.+?)"', said)) <= {*headings}
    assert read(".github/ISSUE_TEMPLATE/config.yml") == {
        "blank_issues_enabled": False
    }


def test_citation_is_of_this_version_and_the_papers_of_the_readme():
    citation = read("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert citation["version"] == keras_dropx.__version__
    assert citation["license"] == "Apache-2.0"
    text = (ROOT / "README.md").read_text()
    (entries,) = re.findall(r"^```bibtex\n(.*?)^```", text, re.M | re.S)
    assert entries.count("{") == entries.count("}")
    shown = [
        dict(re.findall(r"(\w+)=\{(.*?)\}", " ".join(entry.split())))
        for entry in re.split(r"^@", entries, flags=re.M)[1:]
    ]
    assert len(shown) == len(citation["references"]) == 4
    for entry, paper in zip(shown, citation["references"], strict=True):
        assert entry["author"] == " and ".join(
            f"{author['family-names']}, {author['given-names']}"
            for author in paper["authors"]
        )
        assert entry["title"] == paper["title"]
        assert entry["year"] == str(paper["year"])
        place = paper.get("collection-title") or paper.get("journal", "")
        where = entry.get("booktitle") or entry.get("journal", "")
        assert where == place.removesuffix(f" {paper['year']}")
