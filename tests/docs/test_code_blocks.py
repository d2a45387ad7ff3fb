"""Runs the Python blocks of the README and the docs, a process a page."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "```python" in page.read_text()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_blocks_run(page, tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_readme_shows_what_the_docs_show():
    """The README's table is the first of docs/compare.md, word for word."""
    blocks = [
        re.search(r"^```text\n(.*?)^```", path.read_text(), re.M | re.S)[1]
        for path in (ROOT / "README.md", ROOT / "docs" / "compare.md")
    ]
    assert len(blocks[0].splitlines()) > 10
    assert blocks[1].startswith(blocks[0])
