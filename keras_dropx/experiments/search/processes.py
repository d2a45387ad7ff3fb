"""A search of many processes: a chief for each method, and its workers."""

import os
import re
import socket
import time

import grpc
from keras_tuner.src.distribute import oracle_client

from keras_dropx.errors import ProcessError, UserError
from keras_dropx.experiments.files import locked, write_atomically
from keras_dropx.experiments.search import folder, launcher, notes

# What KerasTuner takes for a part in a search of many processes.
ENVIRONMENT = (
    "KERASTUNER_TUNER_ID",
    "KERASTUNER_ORACLE_IP",
    "KERASTUNER_ORACLE_PORT",
)


def check_chief(chief, count):
    """Returns the place, ("address", port), of a chief to be started here.

    Args:
        chief: None, or a place.
        count: Integer, how many ports it needs.

    Raises:
        UserError: If it cannot listen there.
    """
    if chief is None:
        return "127.0.0.1", launcher.free_ports("127.0.0.1", count)
    address, port = chief
    try:
        used = launcher.used_port(address, port, count)
    except (OSError, UnicodeError, TypeError) as error:
        # Of a name that cannot be one a socket raises either of the last.
        reason = getattr(error, "strerror", None) or "it is no address"
        raise UserError(
            f"the chief cannot listen at {address}: {reason}. Give an "
            "address of this machine"
        ) from None
    if used is not None:
        raise UserError(
            f"port {used} of {address} is in use (the chief needs {count} "
            f"from {port} on). Give another one, or leave --chief out"
        )
    return chief


def check_worker(worker_id):
    """Refuses a name under which no worker can join.

    Raises:
        UserError: If it is one of ours or has odd signs.
    """
    if launcher.is_launched():
        return
    if (
        "chief" in worker_id
        or worker_id == "oracle"
        or not re.fullmatch(r"[\w.-]*\w[\w.-]*", worker_id)
    ):
        raise UserError(
            f"--worker-id {worker_id}: expected letters, digits, '.', '_' "
            "and '-', not 'oracle', and no 'chief' in it"
        )


def join(settings, output, trials, make_search, chief, worker_id):
    """Works under a name for the chief at an address, or is a chief.

    Raises:
        UserError: If there is no such search to join, or another process
            works under this name.
        ProcessError: If the chief does not answer.
    """
    launcher.end_with_launcher()
    kept = folder.read(output)
    if kept is None:
        raise UserError(
            f"{output} holds no search to join. Start the chief first, on a "
            "folder that all machines see"
        )
    folder.check_same(settings, kept, output)

    def watch():
        if folder.read(output) != kept:
            raise ProcessError(f"{output} holds another search by now")

    # With one name two processes would be given one trial.
    remedy = "Give another --worker-id, or end that one"
    with locked(output / "workers" / worker_id, "worker of this name", remedy):
        try:
            _work(
                settings, output, trials, make_search, watch, chief, worker_id
            )
        finally:
            leave()


def leave():
    """Takes back what tells KerasTuner that this process is one of many."""
    for name in ENVIRONMENT:
        os.environ.pop(name, None)


def _work(settings, output, trials, make_search, watch, chief, worker_id):
    address, port = chief
    os.environ["KERASTUNER_TUNER_ID"] = worker_id
    os.environ["KERASTUNER_ORACLE_IP"] = address
    is_chief = worker_id.startswith("chief")
    for number, method in enumerate(settings.methods):
        if is_chief and worker_id != f"chief-{method}":
            continue
        os.environ["KERASTUNER_ORACLE_PORT"] = str(port + number)
        note = output / method / "over"

        def over(note=note):
            remedy = "remove it; the chief writes it again"
            return notes.read_number(note, remedy) >= trials

        if not is_chief and not _wait_for_chief(address, port + number, over):
            print(f"The search of {method} is over.")
            continue
        try:
            make_search(method, watch=watch).search()
        except grpc.RpcError as error:
            # The chief may have ended between two questions.
            if not over():
                refused = error.code() == grpc.StatusCode.UNKNOWN
                manner = "refuses" if refused else "does not answer"
                raise ProcessError(
                    f"the chief at {address}:{port + number} {manner}: "
                    f"{error.details()}"
                ) from None
        if is_chief:
            write_atomically(note, str(trials))


def _wait_for_chief(address, port, over):
    """Returns whether there is a chief; False once its search is over."""
    print(f"Waiting for the chief at {address}:{port}", flush=True)
    # KerasTuner would wait for an hour for a chief that has just ended. Ten
    # minutes are enough for many workers that ask for a Gaussian process.
    oracle_client.TIMEOUT = 600
    while True:
        try:
            socket.create_connection((address, port), 5).close()
            return True
        except (socket.gaierror, UnicodeError, TypeError) as error:
            if getattr(error, "errno", None) != socket.EAI_AGAIN:
                raise UserError(
                    f"there is no address {address}: mend --chief"
                ) from None
        except OSError:
            pass
        if over():
            return False
        time.sleep(0.5)
