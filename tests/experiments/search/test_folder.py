"""Nothing is removed that a search did not write."""

import json

import pytest

import dropx
from keras_dropx.errors import UserError
from keras_dropx.experiments.search import folder


@pytest.fixture(scope="module")
def finished(make_search, settings, tmp_path_factory):
    output = tmp_path_factory.mktemp("finished")
    make_search(settings, output)
    return output


@pytest.fixture
def output(finished, tmp_path):
    """A finished search, with all that the processes of one leave."""
    copy = tmp_path / "output"
    for path in finished.rglob("*"):
        if path.is_file():
            new = copy / path.relative_to(finished)
            new.parent.mkdir(parents=True, exist_ok=True)
            new.write_bytes(path.read_bytes())
    for name, text in {
        "runs.jsonl": '{"plan": "tune", "seed": 1000}\n{"plan": "tu',
        "search.log": "log",
        "tune.png": "image",
        "logs/chief-any.log": "",
        "logs/worker-0.log": "",
        "workers/worker-0/.lock": "",
        "any/worker-0.json": "{}",
        "any/over": "2",
        "any/trial_0/execution_0.weights.h5": "",
        "any/trial_1/reason": "none",
        f"any/trial_1/reason.{8 * 'a'}.new": "no",
        f"search.json.{8 * 'b'}.new": "{",
        ".lock": "",
    }.items():
        path = copy / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return copy


def test_what_a_search_wrote_goes_with_overwrite(
    output, settings, changed, tree
):
    other = changed(settings, method="jumpout")
    folder.begin(other, output, overwrite=True)
    assert set(tree(output)) == {".lock", "search.json"}
    assert folder.read(output)["method"] == "jumpout"


def test_what_someone_put_beside_a_search_stays(
    output, settings, changed, tree
):
    (output / "notes.txt").write_text("mine")
    (output / "mine" / "trial_0").mkdir(parents=True)
    (output / "mine" / "trial_0" / "attempts").write_text("3")
    mine = {"notes.txt", "mine", "mine/trial_0", "mine/trial_0/attempts"}
    before = {key: tree(output)[key] for key in mine}
    folder.begin(changed(settings, seed=1), output, overwrite=True)
    after = tree(output)
    assert set(after) == {".lock", "search.json", *mine}
    assert before == {key: after[key] for key in mine}


@pytest.mark.parametrize(
    "name",
    [
        "any/notes.txt",
        "any/mine.json",
        "any/trial_0/model.keras",
        "any/trial_0.bak/trial.json",
        "any/empty/",
        "dropout/trial_0/deep/trial.json",
        "logs/mine.log",
        "logs/train/events",
        "workers/a/b",
        "jumpout/mine",
    ],
)
def test_something_else_among_it_is_refused(
    name, output, settings, changed, tree
):
    path = output / name
    if name.endswith("/"):
        path.mkdir()
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    before = tree(output)
    other = changed(settings, method="jumpout")
    for function in (folder.check, folder.begin):
        with pytest.raises(UserError, match="is not of the search in its"):
            function(other, output, overwrite=True)
    assert tree(output) == before


@pytest.mark.parametrize("name", ["any", "logs", "runs.jsonl", "any/trial_0"])
def test_a_link_is_not_followed(name, output, settings, tmp_path, tree):
    path, elsewhere = output / name, tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    before = tree(tmp_path)
    with pytest.raises(UserError, match="is not of the search in its"):
        folder.begin(settings, output, overwrite=True)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "line", ['{"plan": "masks"}', '{"panel": "masks"}', "[1]", "{", "mine"]
)
def test_runs_of_another_command_are_refused(line, output, settings, tree):
    (output / "runs.jsonl").write_text(f'{{"panel": "tune"}}\n{line}\n')
    before = tree(output)
    with pytest.raises(UserError, match="runs.jsonl is not of the search"):
        folder.begin(settings, output, overwrite=True)
    assert tree(output) == before


@pytest.mark.parametrize(
    "names, message",
    [
        (["runs.jsonl", "masks.png"], "holds masks.png, which is no part of"),
        (["logs/mine.txt"], "holds logs, which is no part of a search"),
        (["setup.py", "any/data"], "holds any, which is no part of a search"),
        ([".git/config"], "holds .git, which is no part of a search"),
        (["any/oracle.json"], "search.json is missing beside a search"),
    ],
)
@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_a_folder_that_holds_other_things_is_refused(
    names, message, overwrite, tmp_path, tree, capsys
):
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    before = tree(tmp_path)
    arguments = ["tune", "--output", str(tmp_path), *overwrite]
    assert dropx.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1 and message in printed.err
    assert printed.out == "" and tree(tmp_path) == before


def test_the_current_folder_is_no_exception(
    tmp_path, tree, capsys, monkeypatch
):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "mine").write_text("mine")
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path)
    assert dropx.main(["tune", "--output", "."]) == 2
    assert "holds logs, which" in capsys.readouterr().err
    for given in ([""], ["   "], []):
        with pytest.raises(SystemExit) as end:
            dropx.main(["tune", "--output", *given])
        assert end.value.code == 2
    assert tree(tmp_path) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_without_its_note_a_search_stays(output, settings, overwrite, tree):
    (output / "search.json").unlink()
    before = tree(output)
    with pytest.raises(UserError, match="is missing beside a search: put a"):
        folder.begin(settings, output, overwrite)
    assert tree(output) == before


def test_a_removal_that_was_killed_is_ended(
    output, settings, changed, tree, monkeypatch
):
    class Killed(BaseException):
        pass

    written = folder.write_atomically
    calls = []

    def write(path, text):
        written(path, text)
        calls.append(path)
        raise Killed

    monkeypatch.setattr(folder, "write_atomically", write)
    with pytest.raises(Killed):
        folder.begin(settings, output, overwrite=True)
    (output / "any" / "oracle.json").unlink()
    monkeypatch.undo()
    other = changed(settings, epochs=7)
    folder.begin(other, output, overwrite=False)
    assert set(tree(output)) == {".lock", "search.json"}
    assert folder.read(output)["epochs"] == 7


def test_other_settings_are_refused_with_the_one_that_differs(
    output, settings, changed, tree
):
    before = tree(output)
    for name, value, shown in (
        ("backend", "jax", "backend='tensorflow', not 'jax'"),
        ("precision", "mixed_float16", "precision='float32', not 'mixed"),
        ("jit", True, "jit=False, not True"),
        ("rate", (0.1, 0.5), r"rate=\[0.0, 0.5\], not \[0.1, 0.5\]"),
        ("network", "lenet", "network='mlp', not 'lenet'"),
    ):
        with pytest.raises(UserError, match=f"holds a search with {shown}"):
            folder.begin(changed(settings, **{name: value}), output, False)
    folder.begin(settings, output, overwrite=False)
    assert tree(output) == before


def test_a_folder_of_an_earlier_version_says_so(output, settings, tree):
    note = output / "search.json"
    kept = json.loads(note.read_text())
    for key in ("precision", "jit", "backend"):
        del kept[key]
    note.write_text(json.dumps(kept))
    before = tree(output)
    for overwrite in (False, True):
        with pytest.raises(UserError, match="of an earlier version, which"):
            folder.begin(settings, output, overwrite)
    assert tree(output) == before


def test_a_note_is_not_written_through_a_link(tmp_path, settings):
    target = tmp_path / "target"
    target.write_text("mine")
    output = tmp_path / "output"
    output.mkdir()
    folder.begin(settings, output, overwrite=False)
    note = output / "search.json"
    kept = note.read_text()
    note.unlink()
    note.symlink_to(target)
    folder.write_atomically(note, kept)
    assert target.read_text() == "mine" and note.read_text() == kept
    assert not note.is_symlink()
