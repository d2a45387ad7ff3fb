"""What the user of `dropx` sees of the command line itself."""

import argparse
import io
import os
import re
import shlex
import sys

import pytest

import dropx
import keras_dropx
from keras_dropx import cli
from keras_dropx.commands import compare
from keras_dropx.experiments import recipes

COMMANDS = ("compare", "tune", "list", "reproduce", "report")


@pytest.fixture
def help_of(monkeypatch, capsys):
    """Returns `help_of(command)`, what it prints on a screen of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def show(*command):
        with pytest.raises(SystemExit) as end:
            cli.main([*command, "--help"])
        assert end.value.code == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        return printed.out

    return show


@pytest.fixture
def told(capsys):
    """Returns `told(*arguments)`, the pair of exit code and line on stderr."""

    def run(*arguments):
        try:
            code = cli.main([*map(str, arguments)])
        except SystemExit as end:
            code = end.code
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("dropx") and printed.err.count("\n") == 1
        return code, printed.err

    return run


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_help_is_one_screen_with_the_examples_at_its_end(command, help_of):
    lines = help_of(*command).splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    # One line of usage, then what the command is.
    assert lines[0].startswith("usage: dropx") and lines[1] == ""
    assert lines[2][0].isupper()
    start = lines.index("examples:")
    assert start > lines.index("options:") and lines[start + 1 :]
    for line in lines[start + 1 :]:
        arguments = shlex.split(line)
        assert line.startswith("  dropx ") and arguments[0] == "dropx"
        options = cli._parser().parse_args(arguments[1:])
        assert callable(options.run)
        if arguments[1] == "reproduce":
            assert recipes.find(options.recipe).name == options.recipe


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_option(command, help_of):
    printed = help_of(command)
    (commands,) = (
        action
        for action in cli._parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    assert set(commands.choices) == set(COMMANDS)
    for action in commands.choices[command]._actions:
        for name in action.option_strings or [action.metavar]:
            assert re.search(rf"^  .*{name}\b", printed, re.MULTILINE)


def test_help_lists_the_commands_and_the_exit_codes(help_of):
    printed = help_of()
    listed = re.findall(r"^  (\w+) {2,}\S", printed, re.MULTILINE)
    assert listed == [*COMMANDS, "0", "1", "2", "130"]


def test_help_of_a_search_gives_each_default(help_of):
    printed = help_of("tune")
    for default in ("any", "random", "mlp", "val_accuracy", "20", "0 0.5"):
        assert f"(default: {default})" in printed


def test_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"dropx {keras_dropx.__version__}\n"


def test_no_argument_shows_the_help_as_a_mistake(help_of, capsys):
    shown = help_of()
    assert cli.main([]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err == shown


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nosuch"], "dropx: argument COMMAND: invalid choice: 'nosuch'"),
        (["compare", "extra"], "dropx: unrecognized arguments: extra"),
        (["list", "a\nb"], "dropx: unrecognized arguments: a b"),
        (["compare", "--seeds", "0"], "dropx compare: argument --seeds: "),
        (["compare", "--seeds", "x"], "positive integer, received 'x'"),
        (["compare", "--seeds"], "--seeds: expected one argument"),
        (["compare", "--precision", "half"], "invalid choice: 'half'"),
        (["compare", "--panels"], "expected at least one argument"),
        (["reproduce"], "are required: RECIPE"),
        (["reproduce", "nosuch"], "dropx: no recipe 'nosuch'"),
        (["reproduce", "no\nsuch"], "no recipe 'no such'"),
        (["reproduce", "augmented-table-3", "--weights", "w"], "no file 'w'"),
        (["report"], "are required: DIR"),
        (["report", "nosuch"], "no runs.jsonl in 'nosuch'"),
        (["tune", "--rate", "0.5"], "--rate: expected 2 arguments"),
        (["tune", "--worker-id", "a"], "give its --chief too"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, told):
    code, line = told(*arguments)
    assert code == 2
    assert message in line


@pytest.mark.parametrize("command", ["compare", "reproduce", "tune"])
def test_a_file_in_place_of_the_folder_is_named(command, tmp_path, told):
    file = tmp_path / "file"
    file.write_text("mine")
    arguments = ["augmented-table-3"] if command == "reproduce" else []
    arguments += ["--dataset", "digits", "--data-dir", tmp_path / "data"]
    code, line = told(command, *arguments, "--output", file)
    assert (code, line) == (2, f"dropx: {file}: File exists\n")
    assert file.read_text() == "mine"


@pytest.mark.parametrize("command", ["compare", "reproduce", "report"])
@pytest.mark.parametrize("line", [b"{", b"[1]", b"\xff"])
def test_a_damaged_line_of_the_runs_is_named(command, line, tmp_path, capsys):
    path = tmp_path / "runs.jsonl"
    path.write_bytes(b"{}\n" + line + b"\n")
    arguments = {
        "compare": ["--output", tmp_path],
        "reproduce": ["augmented-table-3", "--output", tmp_path],
        "report": [tmp_path],
    }[command]
    if command != "report":
        arguments += ["--dataset", "digits", "--data-dir", tmp_path / "data"]
    assert cli.main([command, *map(str, arguments)]) == 2
    assert capsys.readouterr().err == (
        f"dropx: line 2 of {path} is no run: mend or remove it\n"
    )
    assert path.read_bytes() == b"{}\n" + line + b"\n"


def test_records_of_no_recipe_are_no_report(tmp_path, told):
    (tmp_path / "runs.jsonl").write_text('{}\n{"dataset": "digits"}\n')
    code, line = told("report", tmp_path)
    assert (code, line) == (
        2,
        f"dropx: '{tmp_path}' holds no finished runs of a recipe\n",
    )


@pytest.mark.parametrize("text", ["{", "[1]", "3"])
def test_damaged_settings_of_a_search_are_named(text, tmp_path, told):
    (tmp_path / "search.json").write_text(text)
    code, line = told("tune", "--output", tmp_path)
    assert code == 2
    assert line == (
        f"dropx: {tmp_path / 'search.json'} is damaged: --overwrite starts "
        "afresh\n"
    )


def raises(error):
    def run(options):
        raise error

    return run


@pytest.mark.parametrize(
    "error, code, line",
    [
        (keras_dropx.errors.UserError("a\n  b"), 2, "dropx: a b\n"),
        (keras_dropx.errors.ProcessError("it ended"), 1, "dropx: it ended\n"),
        (PermissionError(13, "Denied", "/x"), 2, "dropx: /x: Denied\n"),
        (OSError("odd"), 2, "dropx: odd\n"),
        (
            ModuleNotFoundError("No module", name="rich"),
            2,
            "dropx: rich is not installed: pip install "
            "'keras-dropx[experiments,tuner]'\n",
        ),
        (
            KeyboardInterrupt(),
            130,
            "dropx: interrupted; the same command goes on\n",
        ),
    ],
)
def test_what_a_command_raises_is_one_line(
    error, code, line, told, monkeypatch
):
    monkeypatch.setattr(compare, "run", raises(error))
    assert told("compare") == (code, line)


def test_an_error_of_our_own_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(compare, "run", raises(KeyError("bug")))
    with pytest.raises(KeyError):
        cli.main(["compare"])


@pytest.fixture
def one_recipe(monkeypatch):
    """Makes `dropx list` quick: it builds each network for its cost."""
    name = "augmented-table-3"
    monkeypatch.setattr(recipes, "RECIPES", {name: recipes.RECIPES[name]})


@pytest.mark.usefixtures("one_recipe")
@pytest.mark.parametrize("command", ["list", "--help"])
def test_a_reader_that_leaves_is_told_nothing(command, monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        try:
            code = cli.main([command])
        except SystemExit as end:  # Rich's
            code = end.code
        assert code == 1
        stdout.write("what is left\n")
        stdout.flush()
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("one_recipe")
@pytest.mark.parametrize("command", ["list", "--help"])
def test_a_full_disk_is_one_line(command, monkeypatch, capsys):
    with open("/dev/full", "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert cli.main([command]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "No space left on device" in error


@pytest.fixture
def program(monkeypatch):
    """Returns `program(*arguments)`: the program in this process."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.delenv("KERAS_BACKEND", raising=False)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["dropx", *arguments])
        return dropx.main()

    return run


@pytest.mark.usefixtures("one_recipe")
def test_a_terminal_that_lacks_signs_gets_others(program, monkeypatch):
    written = io.BytesIO()
    stdout = io.TextIOWrapper(written, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    assert program("list") == 0
    assert b"augmented-table-3" in written.getvalue()


def test_a_missing_backend_is_one_line(program, monkeypatch, capsys):
    for name in list(sys.modules):
        if name.split(".")[0] == "keras_dropx":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "keras", None)
    assert program("--help") == 2
    assert capsys.readouterr().err == (
        "dropx: keras is not installed: pip install keras, or set "
        "KERAS_BACKEND to the backend that is\n"
    )


def test_an_interrupt_of_the_start_is_one_line(program, monkeypatch, capsys):
    monkeypatch.setattr(dropx, "_no_startup_messages", raises_interrupt)
    assert program("--help") == 130
    assert capsys.readouterr().err == "dropx: interrupted before it began\n"


def raises_interrupt():
    raise KeyboardInterrupt
