import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_in_under_100_lines(path, capsys):
    assert len(path.read_text().splitlines()) < 100
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out


def test_quick_start_reloads_the_same_model(capsys):
    runpy.run_path(str(EXAMPLES[0].with_name("quick_start.py")))
    trained, reloaded = capsys.readouterr().out.splitlines()
    assert trained.split(":")[1] == reloaded.split(":")[1]
