"""The program `dropx` in processes of its own: its start, its streams."""

import json
import os
import subprocess
import sys
import time

import pytest

import dropx
import keras_dropx

# What each start may load: the standard library and the parsers.
LOADED = """
import atexit, json, sys
import dropx
known = lambda: sorted({name.split(".")[0] for name in sys.modules})
atexit.register(lambda: print(json.dumps(known()), file=sys.stderr))
sys.exit(dropx.main())
"""
PROGRAM = (sys.executable, "-m", "dropx")


def start(*command, **kwargs):
    kwargs = {"capture_output": True, "text": True, "timeout": 120, **kwargs}
    return subprocess.run([*map(str, command)], **kwargs)


@pytest.mark.parametrize(
    "arguments, code",
    [
        (["--version"], 0),
        (["--help"], 0),
        ([], 2),
        (["tune", "--help"], 0),
        (["reproduce", "--help"], 0),
        (["compare", "--nosuch"], 2),
        (["compare", "--help"], 0),
        (["compare", "--model", "net.keras"], 2),
        (["compare", "--model", "net.py:f", "--data", "a", "--jit"], 2),
        (["nosuch"], 2),
        (["tune", "--rate", "0.5", "0.1"], 2),
        (["compare", "--backend", "foo"], 2),
    ],
)
def test_what_needs_no_keras_does_not_import_it(arguments, code):
    begin = time.monotonic()
    done = start(sys.executable, "-c", LOADED, *arguments)
    assert time.monotonic() - begin < 5
    assert done.returncode == code
    modules = set(json.loads(done.stderr.splitlines()[-1]))
    assert "dropx" in modules
    heavy = {"keras", "keras_dropx", "tensorflow", "jax", "torch", "numpy"}
    assert not modules & heavy


def test_the_version_is_that_of_the_package():
    environment = {**os.environ, "KERAS_BACKEND": "nosuch"}
    done = start(*PROGRAM, "--version", env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"dropx {keras_dropx.__version__}\n"


def with_closed(streams, *command):
    """Runs a command that is started without some of its streams."""
    return start("sh", "-c", f'exec "$@" {streams}', "sh", *command)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["list"]])
def test_a_closed_output_is_one_line(arguments):
    done = with_closed(">&-", *PROGRAM, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "dropx: standard output is closed\n"


def test_without_errors_the_output_is_whole():
    done = with_closed("2>&-", *PROGRAM, "--version")
    assert done.returncode == 0
    assert done.stdout == f"dropx {keras_dropx.__version__}\n"
    for streams in ("2>&-", "2>/dev/full", "<&- >&- 2>&-"):
        done = with_closed(streams, *PROGRAM, "compare", "--nosuch")
        assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


@pytest.mark.full
def test_an_error_without_a_stream_for_it_has_its_code(tmp_path):
    """The imports, which are silenced, do not stumble over it either."""
    for streams in ("2>&-", "2>/dev/full"):
        done = with_closed(streams, *PROGRAM, "report", tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path):
    """Else what C++ prints would be written into it."""
    code = (
        "import dropx, sys\n"
        "dropx._open_streams()\n"
        "print(open(sys.argv[1], 'w').fileno(), file=open(sys.argv[2], 'w'))"
    )
    done = with_closed(
        "<&- >&- 2>&-",
        *(sys.executable, "-c", code, tmp_path / "a", tmp_path / "b"),
    )
    assert done.returncode == 0
    assert int((tmp_path / "b").read_text()) > 2


def test_a_file_that_a_full_disk_leaves_unnamed_is_named(capsys, monkeypatch):
    from keras_dropx.commands import compare
    from keras_dropx.errors import naming

    def run(options):
        with naming("some/file"), open("/dev/full", "w") as file:
            file.write("a")
            file.flush()

    monkeypatch.setattr(compare, "run", run)
    assert dropx.main(["compare"]) == 2
    assert capsys.readouterr().err == (
        "dropx: some/file: No space left on device\n"
    )
