"""Files of the user's that have the names of ours."""

import pytest

import dropx
from keras_dropx.errors import UserError
from keras_dropx.experiments.files import check_free


def test_a_folder_with_runs_is_a_commands_own(tmp_path):
    check_free(tmp_path / "none", ["masks.png"])
    (tmp_path / "masks.png").touch()
    check_free(tmp_path, ["saturation.png"])
    with pytest.raises(UserError, match="masks.png is there, and no runs"):
        check_free(tmp_path, ["masks.png"])
    (tmp_path / "runs.jsonl").touch()
    check_free(tmp_path, ["masks.png"])


@pytest.mark.parametrize(
    "command, name",
    [
        (["compare"], "batchnorm.png"),
        (["reproduce", "augmented-table-3"], "checkpoints"),
    ],
)
def test_files_of_others_are_refused_before_any_training(
    command, name, tmp_path, capsys
):
    (tmp_path / name).write_text("mine")
    assert dropx.main([*command, "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"{name} is there" in error
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("name", ["report.md", "report.html"])
def test_a_report_of_someone_else_is_kept(name, tmp_path, capsys):
    (tmp_path / "runs.jsonl").touch()
    (tmp_path / name).write_text("# Mine\n")
    assert dropx.main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"did not write {tmp_path}" in error
    assert len(list(tmp_path.iterdir())) == 2
    assert (tmp_path / name).read_text() == "# Mine\n"
