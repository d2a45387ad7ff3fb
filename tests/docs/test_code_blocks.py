"""Runs the Python blocks of the README and the docs, a process a page."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [page for page in PAGES if "```python" in page.read_text()]


@pytest.mark.full
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page.stem) for page in PAGES],
)
def test_python_blocks_run(page, tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)
    if "import keras_hub" in page.read_text():  # the extra `hub`
        pytest.importorskip("keras_hub")
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.full
def test_readme_shows_what_its_lines_print(tmp_path):
    """Line by line; other machines draw other numbers, as the README says.

    The guide on uncertainty has what the masks say together, of both models.
    """
    guide = (ROOT / "docs" / "guides" / "monte_carlo.md").read_text()
    text = (ROOT / "README.md").read_text()
    (script,) = re.findall(r"^python (examples/\S+)$", text, re.M)
    (command,) = re.findall(r"^dropx (compare --model .*)", text, re.M)
    (block,) = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    shown = "\n".join(re.findall(r"^# (.+%)$", block, re.M))
    more = """
from keras_dropx.models import monte_carlo_predict

x, y = data["x_test"], data["y_test"]
for each in model, clean:
    samples = monte_carlo_predict(each, x, samples=20, seed=0, verbose=0)
    print(f"{(samples.mean(0).argmax(-1) == y).mean():.1%}")
"""
    quick = [*command.split(), "--seeds", "2", "--epochs", "1"]
    for program in (
        [ROOT / script],
        ["-m", "dropx", *quick],
        ["-c", block + more],
    ):
        done = subprocess.run(
            [sys.executable, *program],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    *lines, trained, clean = done.stdout.splitlines()
    found = re.search(
        r"(\d+\.\d) % of the test images.* (\d+\.\d) %", guide, re.S
    )
    for values in ((trained.strip("%"), clean.strip("%")), found.groups()):
        assert float(values[0]) > float(values[1])
    printed = "\n".join(lines)
    number = r"\d+\.\d"
    assert re.sub(number, "", printed) == re.sub(number, "", shown)
    for each in (printed, shown):
        trained, clean = map(float, re.findall(number, each))
        assert trained + 5 < clean
