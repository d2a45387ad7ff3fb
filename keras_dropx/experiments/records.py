"""The records of the runs: what makes one, and the file they are kept in."""

import contextlib
import fcntl
import json
import os
from importlib import metadata
from pathlib import Path

import keras

import keras_dropx
from keras_dropx.errors import UserError, naming
from keras_dropx.experiments.checkpoint import Checkpoint
from keras_dropx.experiments.files import (
    digest_of,
    lock,
    locked,
    write_atomically,
)
from keras_dropx.experiments.method import described
from keras_dropx.experiments.record_check import (
    OPTIONAL,
    form_of,
    problem_of,
    renamed,
    upgraded,
)

__all__ = [
    "Checkpoint",
    "Records",
    "identity",
    "locked",
    "select",
    "versions",
    "write_atomically",
]

MISSING = object()
# What a plan's training is, of which records hold all.
TRAINING = (
    *("batch_size", "learning_rate", "momentum", "nesterov", "weight_decay"),
    *("drops", "drop", "options", "preparation", "augmentation"),
)


class Records:
    """The runs of an output folder, kept in `runs.jsonl`.

    Args:
        folder: Path, created where it is not there.

    Attributes:
        path: Path of the file.
        records: List of dicts, a run each, as they would be written now.

    Raises:
        OSError: If nothing can be written in the folder.
        UserError: If a line of the file, but a torn last one, is no run.
    """

    def __init__(self, folder):
        self.path = Path(folder) / "runs.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()
        self._read()

    def _read(self):
        self.records = []
        self._by_name = {}
        text = self.path.read_bytes()
        self._size = len(text)
        *lines, last = text.split(b"\n")
        if _parsed(last) is not None:
            lines.append(last)
        # Else it is what a killed process left: that run is repeated.
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            record = _parsed(line)
            problem = "it is no object of JSON"
            if record is not None:
                record = renamed(record)
                problem = problem_of(record)
            if problem:
                raise UserError(
                    f"line {number} of {self.path} is no run: {problem}. Mend "
                    "or remove that line"
                )
            self._keep(upgraded(record))

    def _keep(self, record):
        self.records.append(record)
        name = record["plan"], record["method"]
        self._by_name.setdefault(name, []).append(record)

    @contextlib.contextmanager
    def alone(self, settings):
        """Keeps a run to this process, and reads what others have added.

        Args:
            settings: Dict, as `identity` gives it.

        Yields:
            Whether this process has the run: False while another one does.
        """
        path = self.path.with_name(".locks") / digest_of(settings)
        with lock(path) as mine:
            if mine:
                # A network file system looks at the server when it opens.
                with self.path.open("rb") as file:
                    size = file.seek(0, os.SEEK_END)
                if size != self._size:
                    self._read()
            yield mine
            # Whoever opened it before finds the record.
            if mine and self.find(settings):
                path.unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    path.parent.rmdir()

    def find(self, settings):
        """Returns the run of these settings, as `identity` gives them, or None.

        It is the first one, as it is for `select`.
        """
        runs = self.named(settings)
        return next((r for r in runs if not differing(settings, r)), None)

    def named(self, settings):
        """Lists the runs of the same plan and method, whatever their rest."""
        return self._by_name.get((settings["plan"], settings["method"]), [])

    def add(self, record):
        """Appends a record; it is on the disk when this returns.

        Processes that append at once wait for each other.

        Raises:
            OSError: With the file's name; what was there before is whole.
        """
        line = json.dumps(record).encode() + b"\n"
        with naming(self.path), self.path.open("r+b", buffering=0) as file:
            # Some network file systems have no locks.
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            text = file.read()
            end, last = len(text), text.rpartition(b"\n")[2]
            if _parsed(last) is not None:
                line = b"\n" + line
            else:
                end -= len(last)
            try:
                file.truncate(end)
                file.seek(end)
                while line:
                    line = line[file.write(line) :]
                os.fsync(file)
                # Else another process has added something too.
                if end == self._size:
                    self._size = file.tell()
            except OSError:
                with contextlib.suppress(OSError):
                    file.truncate(end)
                raise
        self._keep(record)


def identity(plan, method, seed, epochs, source):
    """Returns what makes a run, JSON-able: two that differ in it are two.

    `source` describes the data, and holds what `run.start` returns.
    """
    settings = {
        "plan": plan.name,
        "method": method.name,
        "seed": seed,
        "epochs": epochs,
        "network": described(plan.network),
        "measures": sorted(plan.measures),
        "method_details": method.details(),
        **{name: described(getattr(plan, name)) for name in TRAINING},
        "weights": None,
        **source,
    }
    return json.loads(json.dumps(settings))


def select(records, plan, epochs, source, seeds=None):
    """Returns the records of a plan: those that `run.run` would not run again.

    There is one for each method and seed, method by method; where `seeds` is
    None, of all seeds.

    Raises:
        UserError: If runs of one method do not hold the same measurements: a
            line was damaged.
    """
    chosen = []
    for method in plan.methods:
        wanted = identity(plan, method, 0, epochs, source)
        del wanted["seed"]
        found = {}
        for record in records:
            if (
                record.get("method") == method.name
                and record.get("plan") == plan.name
                and (seeds is None or record["seed"] in seeds)
                and not differing(wanted, record)
            ):
                found.setdefault(record["seed"], record)
        # Whichever process was the first to end its run.
        found = dict(sorted(found.items()))
        for record in found.values():
            first = next(iter(found.values()))
            for key in OPTIONAL.keys() - wanted.keys() - {"versions"}:
                if form_of(first.get(key)) != form_of(record.get(key)):
                    raise UserError(
                        f"the runs of {plan.name} · {method.name} in "
                        f"runs.jsonl do not go together: seeds {first['seed']} "
                        f"and {record['seed']} differ in what {key} holds. "
                        "Remove the damaged line"
                    )
        chosen += found.values()
    return chosen


def differing(settings, record, prefix=""):
    """Lists the keys in which a record is not of these settings."""
    found = []
    for key, value in settings.items():
        # At the top older records lack what is None now.
        other = record.get(key, MISSING if prefix else None)
        name = f"{prefix}{key}"
        if isinstance(value, dict) and isinstance(other, dict):
            found += differing(value, other, f"{name}.")
            found += [f"{name}.{k}" for k in other if k not in value]
        # True is 1 for Python.
        elif value != other or isinstance(value, bool) != isinstance(
            other, bool
        ):
            found.append(name)
    return found


def versions():
    """Returns the versions of what the numbers hang on, a dict."""
    names = ("keras", keras.config.backend(), "tensorflow", "numpy")
    return {
        "keras_dropx": keras_dropx.__version__,
        **{name: metadata.version(name) for name in names},
    }


def _parsed(line):
    """Returns the object that a line is, or None."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
