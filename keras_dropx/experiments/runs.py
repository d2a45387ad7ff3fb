"""The records of the runs: what makes one, and the file they are kept in."""

import json
import os
from importlib import metadata
from pathlib import Path

import keras

import keras_dropx
from keras_dropx.errors import UserError


class Runs:
    """The runs of an output folder, kept in `runs.jsonl`.

    Args:
        folder: Path, created where it is not there.

    Raises:
        OSError: If nothing can be written in the folder.
        UserError: If a line of the file, but the last, is no record.
    """

    def __init__(self, folder):
        self.path = Path(folder) / "runs.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()
        self.records = []
        text = self.path.read_text(errors="surrogateescape")
        # What a killed process left of its last line: that run is repeated.
        self.torn = "" if text.endswith("\n") else text.rpartition("\n")[2]
        lines = text.removesuffix(self.torn).splitlines()
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if not isinstance(record, dict):
                raise UserError(
                    f"line {number} of {self.path} is no run: mend or remove it"
                )
            self.records.append(record)

    def find(self, **settings):
        """Returns the record with these settings, or None."""
        for record in self.records:
            if all(record.get(key) == settings[key] for key in settings):
                return record
        return None

    def add(self, record):
        """Appends a record; it is on the disk when this returns."""
        with self.path.open("r+") as file:
            file.seek(0, os.SEEK_END)
            torn = self.torn.encode(errors="surrogateescape")
            file.truncate(file.tell() - len(torn))
            file.seek(0, os.SEEK_END)
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.torn = ""
        self.records.append(record)


def settings_of(panel, arm, seed, epochs, source):
    """Returns what makes a run; two runs that differ in it are two.

    Args:
        panel: `panel.Panel`.
        arm: `panel.Arm`.
        seed: Integer.
        epochs: Integer.
        source: Dict that describes the data.

    Returns:
        Dict, JSON-able.
    """
    settings = {
        "panel": panel.name,
        "arm": arm.name,
        "seed": seed,
        "epochs": epochs,
        "network": panel.network.__name__,
        "measures": sorted(panel.measures),
        "arm_details": arm.details(),
        **{
            name: getattr(panel, name)
            for name in (
                "batch_size",
                "learning_rate",
                "momentum",
                "nesterov",
                "weight_decay",
                "drops",
                "drop",
                "options",
                "preparation",
                "augmentation",
            )
        },
        **source,
    }
    return json.loads(json.dumps(settings))


def versions():
    """Returns the versions of what the numbers hang on, a dict."""
    names = ("keras", keras.config.backend(), "tensorflow", "numpy")
    return {
        "keras_dropx": keras_dropx.__version__,
        **{name: metadata.version(name) for name in names},
    }
