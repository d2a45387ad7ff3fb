"""The workflow that publishes the site publishes what was checked."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_the_site_that_was_built_and_checked_is_published():
    path = ROOT / ".github" / "workflows" / "docs.yml"
    workflow = yaml.safe_load(path.read_text())
    # YAML takes the key `on` for true. Nothing is published from a request.
    assert set(workflow[True]) == {"push", "workflow_dispatch"}
    assert workflow[True]["push"] == {"tags": ["v*"]}
    build, deploy = workflow["jobs"]["build"], workflow["jobs"]["deploy"]
    *_, docs, upload = build["steps"]
    assert docs["run"] == "make docs"
    (site,) = (
        line.split()[1]
        for line in (ROOT / "mkdocs.yml").read_text().splitlines()
        if line.startswith("site_dir:")
    )
    assert upload["with"] == {"path": site}
    assert deploy["needs"] == "build" and "permissions" not in build
    assert not any("run" in step for step in deploy["steps"])
