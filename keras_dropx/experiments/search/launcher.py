"""Runs the chief and the workers of a search as processes of this machine."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from keras_dropx.errors import ProcessError, UserError

DEATHS = 20
GRACE = 10.0
# A worker that asks a chief that has just ended would wait for an hour.
PATIENCE = 30.0
WATCHED = "DROPX_ENDS_WITH_STDIN"


def free_ports(host, count):
    """Returns the first of `count` ports in a row that are free."""
    while True:
        with socket.socket() as probe:
            probe.bind((host, 0))
            first = probe.getsockname()[1]
        if used_port(host, first, count) is None:
            return first


def used_port(host, first, count):
    """Returns the first of `count` ports in a row that is in use, or None.

    Raises:
        OSError: If `host` is no address of this machine.
    """
    for port in range(first, first + count):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                # Without it two sockets that reuse addresses may share a port.
                probe.listen()
            except OverflowError:  # There are 65535.
                return port
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                return port


def launch(chiefs, workers, log_folder, progress, interval=0.5):
    """Runs chiefs and workers until the search is over.

    It is over when the chiefs have ended; workers have 30 seconds more. A
    worker that a signal ended is started again under its name, and the chief
    hands it its trial back. When this function is left, by whatever
    way, no process is: they end even if this process is killed.

    Args:
        chiefs: Dict from a name to a command, a list of strings.
        workers: Likewise.
        log_folder: Folder that gets `<name>.log`.
        progress: Function without arguments, called every `interval` seconds;
            what it returns changes with each trial that ends.

    Raises:
        ProcessError: If a chief dies, a worker fails, or one dies 20 times
            while no trial ends.
        UserError: If one ends by a mistake of the user's, with exit code 2.
    """
    os.makedirs(log_folder, exist_ok=True)
    commands = {**chiefs, **workers}

    def start(name):
        # The processes share a GPU, of which TensorFlow takes all at once.
        own = {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
        if name in chiefs:  # It only builds models.
            own = {"CUDA_VISIBLE_DEVICES": "-1"}
        with open(os.path.join(log_folder, f"{name}.log"), "ab") as log:
            processes[name] = subprocess.Popen(
                commands[name],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                # The terminal's Ctrl-C is for the launcher, which passes it on.
                start_new_session=True,
                env={**os.environ, **own, WATCHED: "1"},
            )

    deaths = dict.fromkeys(workers, 0)
    processes = {}
    over = ended = None
    previous = signal.signal(signal.SIGTERM, _exit)
    try:
        for name in commands:
            start(name)
        while processes:
            time.sleep(interval)
            for name in list(processes):
                code = processes[name].poll()
                if code is None:
                    continue
                processes[name].stdin.close()
                del processes[name]
                if code == 0:
                    continue
                log = os.path.join(log_folder, f"{name}.log")
                if code == 2:
                    line = _last_line(log).removeprefix("dropx: ")
                    raise UserError(f"{line} ({name}, {log})")
                if name in chiefs or code > 0:
                    raise ProcessError(
                        f"{name} {_end(code)}: {_last_line(log)} ({log}). "
                        "What is finished is kept; the same command goes on"
                    )
                deaths[name] += 1
                if deaths[name] == DEATHS:
                    raise ProcessError(
                        f"{name} died {DEATHS} times while no trial ended, "
                        f"the last time it {_end(code)} ({log})"
                    )
                start(name)
            now = progress()
            if now != ended:
                ended, deaths = now, dict.fromkeys(workers, 0)
            if not processes.keys() & chiefs.keys():
                over = over or time.monotonic()
                if time.monotonic() > over + PATIENCE:
                    break
    finally:
        _stop(processes.values())
        signal.signal(signal.SIGTERM, previous)


def is_launched():
    """Returns whether `launch` started this process."""
    return WATCHED in os.environ


def end_with_launcher():
    """Ends this process when the launcher is gone, if a launcher started it."""
    if is_launched():

        def watch():
            # Not by sys.stdin, whose lock would be held at exit.
            os.read(0, 1)
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


def _stop(processes):
    for process in processes:
        process.terminate()
    end = time.monotonic() + GRACE
    for process in processes:
        try:
            process.wait(max(0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdin.close()


def _exit(number, frame):
    sys.exit(128 + number)


def _end(code):
    if code > 0:
        return f"failed with exit code {code}"
    return f"was ended by {signal.Signals(-code).name}"


def _last_line(path):
    with open(path, errors="replace") as file:
        lines = [line.strip() for line in file if line.strip()]
    return lines[-1] if lines else "no output"
