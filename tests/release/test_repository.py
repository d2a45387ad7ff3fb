"""The files for GitHub and for citing say what is so."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

import keras_dropx

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read(path):
    return yaml.safe_load((ROOT / path).read_text())


def steps(workflow):
    for job in workflow["jobs"].values():
        yield from job["steps"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_has_few_rights_a_limit_and_pinned_actions(path):
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        rights = {"publish": {"id-token": "write"}}.get(name)
        assert job.get("permissions") == rights
        assert job["timeout-minutes"] <= 90
    for step in steps(workflow):
        assert re.search(r"@(v\d+|release/v\d+)$", step.get("uses", "@v0"))
    assert "secrets." not in path.read_text()


def test_ci_is_the_script_and_nothing_else():
    workflow = read(".github/workflows/ci.yml")
    # YAML takes the key `on` for true.
    assert {"push", "pull_request"} == set(workflow[True])
    assert [s["run"] for s in steps(workflow) if "run" in s] == [".ci/run"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    (job,) = workflow["jobs"].values()
    assert job["runs-on"] == "ubuntu-latest"
    python = next(s["with"] for s in steps(workflow) if "python" in str(s))
    assert python == {"python-version": "3.11"}


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
    assert read(".github/ISSUE_TEMPLATE/config.yml") == {
        "blank_issues_enabled": False
    }


def test_citation_is_of_this_version_and_the_papers_of_the_readme():
    citation = read("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert citation["version"] == keras_dropx.__version__
    assert citation["license"] == "Apache-2.0"
    readme = (ROOT / "README.md").read_text().partition("## Citing")[2]
    readme = " ".join(readme.split())
    assert len(citation["references"]) == 4
    for paper in citation["references"]:
        names = ", ".join(a["family-names"] for a in paper["authors"])
        place = paper.get("collection-title") or paper.get("journal", "")
        year = "" if str(paper["year"]) in place else f"{paper['year']}."
        line = f"{names}: {paper['title']}. {place} {year}".strip()
        assert " ".join(line.split()).rstrip(".") + "." in readme
