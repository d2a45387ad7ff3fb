import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_in_under_100_lines(path, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # for what it writes
    monkeypatch.setattr("sys.argv", [str(path)])
    assert len(path.read_text().splitlines()) < 100
    runpy.run_path(str(path), run_name="__main__")
    printed = capsys.readouterr().out
    assert printed
    if path.stem == "quick_start":
        trained, reloaded = printed.splitlines()
        assert trained.split(":")[1] == reloaded.split(":")[1]
