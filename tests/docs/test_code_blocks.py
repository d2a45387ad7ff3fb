"""Runs the Python blocks of the README and the docs, a process a page."""

import re
import shutil
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
    run(["-c", "\n".join(blocks)], tmp_path)


def run(program, folder):
    """Returns what a program of Python prints in a folder."""
    done = subprocess.run(
        [sys.executable, *program], capture_output=True, text=True, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.full
def test_readme_shows_what_its_lines_print(tmp_path):
    """Line by line; other machines draw other numbers, as the README says.

    What `compare` prints is of the runs in `readme`, which the command finds
    done: its sentence is the README's to the letter. (Where it trains, another
    Keras builds another network: remove the runs and make them anew.) The guide
    on uncertainty has what the masks say together, of both models.
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
    runs = tmp_path / "results" / "model" / "runs.jsonl"
    runs.parent.mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "docs" / "readme" / "runs.jsonl", runs)
    done = runs.read_bytes()
    _, compared, printed = (
        run(program, tmp_path)
        for program in (
            [ROOT / script],
            ["-m", "dropx", *command.split()],
            ["-c", block + more],
        )
    )
    assert runs.read_bytes() == done
    (sentence,) = re.findall(r"^```text\n(.*?)^```", text, re.M | re.S)
    assert " ".join(compared.split()).startswith(" ".join(sentence.split()))
    *lines, trained, clean = printed.splitlines()
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
