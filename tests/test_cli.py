"""What the user of `dropx` sees of the command line itself."""

import argparse
import importlib
import io
import os
import re
import shlex
import sys

import keras
import pytest

import dropx
import keras_dropx
from dropx import arguments, parser
from dropx import compare as compare_options
from dropx import tune as tune_options
from keras_dropx.commands import compare
from keras_dropx.experiments import named_methods, networks, papers
from keras_dropx.experiments.papers import ours
from keras_dropx.experiments.search import settings
from keras_dropx.tuner import search_spaces

COMMANDS = ("compare", "tune", "list", "reproduce", "report")


@pytest.fixture
def help_of(monkeypatch, capsys):
    """Returns `help_of(command)`, what it prints on a screen of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def show(*command):
        with pytest.raises(SystemExit) as end:
            dropx.main([*command, "--help"])
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
            code = dropx.main([*map(str, arguments)])
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
        options = parser.make_parser().parse_args(arguments[1:])
        module, name = options.run.split(".")
        command = importlib.import_module(f"keras_dropx.commands.{module}")
        assert callable(getattr(command, name))
        if arguments[1] == "reproduce":
            assert papers.find(options.recipe).name == options.recipe


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_option(command, help_of):
    printed = help_of(command)
    commands = commands_of()
    assert set(commands) == set(COMMANDS)
    for action in commands[command]._actions:
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
        dropx.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"dropx {keras_dropx.__version__}\n"


def test_no_argument_shows_the_help_as_a_mistake(help_of, capsys):
    shown = help_of()
    assert dropx.main([]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err == shown


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nosuch"], "dropx: argument COMMAND: invalid choice: 'nosuch'"),
        (["compare", "extra"], "dropx: unrecognized arguments: extra"),
        (["list", "a\nb"], "dropx: unrecognized arguments: a b"),
        (["compare", "--seeds", "0"], "dropx compare: argument --seeds: "),
        (["compare", "--seeds", "x"], "positive integer up to"),
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
        (["tune", "--network", "vgg"], "'mlp', 'convnet_bn', 'all_cnn'"),
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


@pytest.mark.few(3)
@pytest.mark.parametrize("command", ["compare", "reproduce", "report"])
@pytest.mark.parametrize("line", [b"{", b"[1]", b"\xff"])
def test_a_damaged_line_of_the_runs_is_named(command, line, tmp_path, capsys):
    path = tmp_path / "runs.jsonl"
    path.write_bytes(b"\n" + line + b"\n")
    arguments = {
        "compare": ["--output", tmp_path],
        "reproduce": ["augmented-table-3", "--output", tmp_path],
        "report": [tmp_path],
    }[command]
    if command != "report":
        arguments += ["--dataset", "digits", "--data-dir", tmp_path / "data"]
    assert dropx.main([command, *map(str, arguments)]) == 2
    assert capsys.readouterr().err == (
        f"dropx: line 2 of {path} is no run: it is no object of JSON. Mend or "
        "remove that line\n"
    )
    assert path.read_bytes() == b"\n" + line + b"\n"


def test_records_without_their_keys_are_no_report(tmp_path, told):
    path = tmp_path / "runs.jsonl"
    path.write_text('{"dataset": "digits"}\n')
    code, line = told("report", tmp_path)
    assert (code, line) == (
        2,
        f"dropx: line 1 of {path} is no run: it has no plan. Mend or remove "
        "that line\n",
    )


def test_the_parser_names_what_the_package_has():
    """It cannot ask: that would import Keras."""
    assert set(compare_options.PANELS) == set(ours.PLANS)
    assert compare_options.METHODS == tuple(named_methods.DROPOUT)
    assert set(tune_options.NETWORKS) == set(networks.__all__)
    assert tune_options.OBJECTIVES == tuple(settings.OBJECTIVES)
    # A search of no dropout alone has nothing to search.
    methods = [name for name in search_spaces.METHODS if name != "none"]
    assert tune_options.METHODS == ("any", *methods)
    for name, limits, *_ in tune_options.RANGES:
        assert limits == getattr(search_spaces, name.upper())
    for name in arguments.PRECISIONS:
        assert keras.dtype_policies.DTypePolicy(name).name == name


WRONG = ("", " ", "-1", "1e3", "nan", "inf", "-inf", "1" + 400 * "0", "0x1")
WRONG += ("1" + 5000 * "0", "½", "a\nb", "1.5", "[b]", "--")


@pytest.mark.parametrize("command", COMMANDS)
def test_no_wrong_argument_goes_through(command, told):
    """Each option of each command, with each of these where it is wrong."""
    found = [
        action
        for action in commands_of()[command]._actions
        if action.nargs != 0 and "--help" not in action.option_strings
    ]
    for action in found:
        names = action.option_strings
        for value in WRONG:
            # A name is any text; what a type takes is right.
            if action.type is arguments.text and value.strip() not in (
                "",
                "--",
            ):
                continue
            if action.type is arguments.number and value in (
                "-1",
                "1e3",
                "1.5",
            ):
                continue
            count = action.nargs if isinstance(action.nargs, int) else 1
            given = [*names[:1], *count * [value]]
            if command == "reproduce" and names:
                given = ["name", *given]
            code, line = told(command, *given)
            assert code == 2, given
            assert line.startswith(f"dropx {command}: ") or value == "--"


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unset_variable_is_no_folder(command, told):
    for action in commands_of()[command]._actions:
        if action.metavar in ("DIR", "FILE"):
            flag = action.option_strings[:1]
            given = ["r", *flag, ""] if command == "reproduce" else [*flag, ""]
            code, line = told(command, *given)
            assert code == 2 and "expected a name, received ''" in line


def commands_of():
    (commands,) = (
        action
        for action in parser.make_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return commands.choices


@pytest.mark.parametrize(
    "given, message",
    [
        (["--rate", "0.5", "0.1"], "--rate: expected 0 <= LO < HI < 1"),
        (["--rate", "0.3", "0.3"], "received 0.3 0.3"),
        (["--rate", "0", "1"], "--rate: expected 0 <= LO < HI < 1"),
        (["--rate", "-0.1", "0.5"], "received -0.1 0.5"),
        (["--backward-rate", "0", "0.1"], "expected 0 < LO < HI < 1"),
        (["--sigma", "0.5", "0.1"], "--sigma: expected 0 <= LO < HI"),
        (["--sigma", "1e400", "2"], "a finite number, received '1e400'"),
        (["--sigma", "nan", "1"], "a finite number, received 'nan'"),
        (["--worker-id", "a", "--chief", "b:1", "--workers", "1"], "to join"),
        (["--chief", "127.0.0.1:8000"], "--chief needs --workers N"),
        (["--chief", ":8000"], "expected ADDRESS:PORT"),
        (["--chief", "a:65535"], "expected ADDRESS:PORT"),
        (["--seed", "2147483648"], "an integer from 0 to 2147483647"),
    ],
)
def test_options_of_a_search_that_do_not_fit(given, message, told):
    code, line = told("tune", *given)
    assert code == 2 and line.startswith("dropx tune: ") and message in line


OWN = ["--model", "net.py:build", "--data", "table.csv"]
FILE = ["--model", "net.keras", "--data", "photos"]


@pytest.mark.parametrize(
    "given, message",
    [
        (OWN[:2], "--model and --data go together"),
        (OWN[2:], "--model and --data go together"),
        (["--model", "net.py", *OWN[2:]], "expected FILE.keras, or FILE.py:"),
        (["--model", "net.py:", *OWN[2:]], "expected FILE.keras, or FILE.py:"),
        (["--model", "net.h5", *OWN[2:]], "received 'net.h5'"),
        ([*OWN, "--panels", "masks"], "--panels does not go with --model"),
        ([*OWN, "--train-size", "9"], "--train-size does not go with --model"),
        ([*OWN, "--download"], "--download does not go with --model"),
        ([*OWN, "--jit"], "--jit does not go with --model"),
        (["--methods", "none"], "--methods goes with --model"),
        (["--standardize"], "--standardize goes with --model"),
        (["--margin", "1"], "--margin goes with --model"),
        (["--seeds", "5:40"], "--seeds FIRST:MOST goes with --model"),
        ([*OWN, "--seeds", "5:2"], "expected FIRST:MOST with 2 <= FIRST"),
        ([*OWN, "--seeds", "5:x"], "or FIRST:MOST such as 5:40, received"),
        ([*OWN, "--start", "given"], "--start given goes with a .keras file"),
        ([*OWN, "--metric", ":max"], "expected NAME, NAME:max or NAME:min"),
        ([*OWN, "--metric", "f:up"], "expected NAME, NAME:max or NAME:min"),
        ([*OWN, "--test-share", "1"], "expected a number between 0 and 1"),
        ([*OWN, "--margin", "0"], "expected a number above 0, received '0'"),
        ([*FILE, "--target", "a"], "--target goes with a .csv file"),
        ([*FILE, "--standardize"], "--standardize goes with a .csv file"),
        ([*FILE, "--precision", "mixed_float16"], "a .keras file has its own"),
    ],
)
def test_options_of_a_comparison_that_do_not_fit(given, message, told):
    code, line = told("compare", *given)
    assert code == 2 and line.startswith("dropx compare: ") and message in line


@pytest.mark.parametrize(
    "given, message",
    [
        (FILE, "expected FILE.py:FUNCTION, for each trial builds the model"),
        ([*OWN, "--network", "mlp"], "--network does not go with --model"),
        ([*OWN, "--workers", "2"], "--workers does not go with --model"),
        ([*OWN, "--chief", "a:1"], "--chief does not go with --model"),
        ([*OWN, "--overwrite"], "--overwrite does not go with --model"),
        ([*OWN, "--jit"], "--jit does not go with --model"),
        ([*OWN, "--rate", "0", "0.5"], "--rate: expected 0 < LO with --model"),
        ([*OWN, "--sigma", "0.5", "0.1"], "--sigma: expected 0 <= LO < HI"),
        ([*OWN, "--objective", "accuracy"], "--objective: expected val_NAME"),
        ([*OWN, "--objective", "val_f:up"], "--objective: expected val_NAME"),
        (OWN[:2], "--model and --data go together"),
        (["--batch-size", "8"], "--batch-size goes with --model"),
        (["--objective", "val_mae"], "'val_mae' (choose from 'val_accuracy'"),
        (["--seeds", "5:40"], "--seeds FIRST:MOST goes with --model"),
    ],
)
def test_options_of_a_search_over_a_model_that_do_not_fit(given, message, told):
    code, line = told("tune", *given)
    assert code == 2 and line.startswith("dropx tune: ") and message in line


def test_the_defaults_of_each_kind_of_search():
    built_in = parser.parse(["tune"])
    assert (built_in.network, built_in.objective) == ("mlp", "val_accuracy")
    assert (built_in.rate, built_in.epochs) == ((0.0, 0.5), None)
    assert (built_in.output, built_in.jit) == ("results/tune", False)
    own = parser.parse(["tune", *OWN, "--objective", "val_f:max"])
    assert (own.objective, own.epochs) == (("val_f", "max"), 10)
    assert (own.rate, own.output) == ((0.05, 0.5), "results/tune-model")
    assert parser.parse(["tune", *OWN]).objective is None


def test_the_defaults_of_each_kind_of_comparison():
    panels = parser.parse(["compare"])
    assert (panels.seeds, panels.epochs) == (3, None)
    assert panels.output == "results/compare"
    assert (panels.dataset, panels.train_size) == ("digits", 300)
    own = parser.parse(["compare", *OWN, "--metric", "f:max"])
    assert (own.seeds, own.epochs, own.batch_size) == (5, 10, 32)
    assert (own.output, own.test_share) == ("results/model", 0.2)
    assert (own.metric, own.start) == (("f", "max"), "fresh")
    runs_on = parser.parse(["compare", *OWN, "--seeds", "5:40"])
    assert runs_on.seeds == (5, 40)


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
        dropx.main(["compare"])


@pytest.fixture
def one_recipe(monkeypatch):
    """Makes `dropx list` quick: it builds each network for its cost."""
    name = "augmented-table-3"
    monkeypatch.setattr(papers, "RECIPES", {name: papers.RECIPES[name]})


@pytest.mark.usefixtures("one_recipe")
@pytest.mark.parametrize("command", ["list", "--help"])
def test_a_reader_that_leaves_is_told_nothing(command, monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        try:
            code = dropx.main([command])
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
        assert dropx.main([command]) == 2
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
    assert program("list") == 2
    assert capsys.readouterr().err == (
        "dropx: keras is not installed: pip install keras, or set "
        "KERAS_BACKEND to the backend that is\n"
    )


def test_an_interrupt_of_the_start_is_one_line(program, monkeypatch, capsys):
    monkeypatch.setattr(dropx, "_no_startup_messages", raises_interrupt)
    assert program("list") == 130
    assert capsys.readouterr().err == "dropx: interrupted before it began\n"


def raises_interrupt():
    raise KeyboardInterrupt
