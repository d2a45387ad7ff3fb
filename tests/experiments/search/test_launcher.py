import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from keras_dropx.errors import ProcessError, UserError
from keras_dropx.experiments.search import launcher

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
# Dies by SIGKILL until it was started three times.
TWICE = """
import os, signal, sys
with open(sys.argv[1], "a") as file:
    file.write("x")
if os.path.getsize(sys.argv[1]) < 3:
    os.kill(os.getpid(), signal.SIGKILL)
"""
DIES = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


def python(code, *arguments):
    return [sys.executable, "-c", code, *map(str, arguments)]


def launch(chiefs, workers, folder, progress=lambda: None):
    launcher.launch(chiefs, workers, folder / "logs", progress, interval=0.05)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_worker_that_a_signal_ended_is_started_again(tmp_path):
    path = tmp_path / "starts"
    calls = []
    launch(
        {"chief": python("pass")},
        {"worker": python(TWICE, path)},
        tmp_path,
        lambda: calls.append(1),
    )
    assert path.read_text() == "xxx"
    assert calls


def test_a_worker_that_fails_ends_all_with_its_last_line(tmp_path):
    started = time.monotonic()
    with pytest.raises(ProcessError, match=r"one failed with exit code 1: Val"):
        launch(
            {"chief": SLEEP},
            {"one": python("raise ValueError('broken')"), "two": SLEEP},
            tmp_path,
        )
    assert time.monotonic() - started < 20
    text = (tmp_path / "logs" / "one.log").read_text()
    assert "ValueError: broken" in text


def test_a_mistake_of_the_user_s_is_said_as_one(tmp_path):
    code = "import sys; print('dropx: any/over is damaged'); sys.exit(2)"
    with pytest.raises(UserError, match=r"^any/over is damaged \(one, .*log"):
        launch({"chief": SLEEP}, {"one": python(code)}, tmp_path)


def test_a_chief_that_dies_ends_all(tmp_path):
    with pytest.raises(ProcessError, match="chief was ended by SIGKILL"):
        launch({"chief": python(DIES)}, {"worker": SLEEP}, tmp_path)


def test_a_worker_that_dies_for_ever_ends_all(tmp_path, monkeypatch):
    monkeypatch.setattr(launcher, "DEATHS", 3)
    with pytest.raises(ProcessError, match="worker died 3 times"):
        launch({"chief": SLEEP}, {"worker": python(DIES)}, tmp_path)


def test_a_worker_that_waits_for_a_chief_that_ended_is_ended(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(launcher, "PATIENCE", 0.5)
    started = time.monotonic()
    launch({"chief": python("pass")}, {"worker": SLEEP}, tmp_path)
    assert 0.5 < time.monotonic() - started < 30


LAUNCH = """
import os, sys
from keras_dropx.experiments.search import launcher

# A process that says its number and, deaf to SIGTERM or not, sleeps.
code = '''
import os, signal, sys, time
from keras_dropx.experiments.search import launcher
launcher.end_with_launcher()
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(600)
'''
launcher.GRACE = 1.0
folder, manner = sys.argv[1:]
commands = {
    name: [sys.executable, "-c", code, os.path.join(folder, name), manner]
    for name in ("chief", "worker")
}
launcher.launch(
    {"chief": commands["chief"]},
    {"worker": commands["worker"]},
    os.path.join(folder, "logs"),
    lambda: None,
)
"""


@pytest.mark.full
@pytest.mark.parametrize(
    "number, manner",
    [
        (signal.SIGTERM, "polite"),
        (signal.SIGINT, "polite"),
        (signal.SIGTERM, "deaf"),
        (signal.SIGKILL, "polite"),
    ],
)
def test_no_process_is_left_whatever_ends_the_launcher(
    tmp_path, number, manner
):
    with subprocess.Popen(
        python(LAUNCH, tmp_path, manner),
        stderr=subprocess.DEVNULL,
        # A shell's job in the background inherits that it is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        paths = [tmp_path / "chief", tmp_path / "worker"]
        # Two imports of TensorFlow, one after the other.
        wait_for(lambda: all(p.exists() and p.read_text() for p in paths), 300)
        pids = [int(path.read_text()) for path in paths]
        assert all(map(alive, pids))
        process.send_signal(number)
        process.wait(60)
    wait_for(lambda: not any(map(alive, pids)), 60)


def test_used_ports_are_found():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert launcher.used_port("127.0.0.1", port, 1) == port
        assert launcher.used_port("127.0.0.1", port - 1, 2) in (port, port - 1)
    first = launcher.free_ports("127.0.0.1", 2)
    assert launcher.used_port("127.0.0.1", first, 2) is None


def test_an_address_of_another_machine_is_an_error():
    with pytest.raises(OSError):
        launcher.used_port("192.0.2.1", 8000, 1)
