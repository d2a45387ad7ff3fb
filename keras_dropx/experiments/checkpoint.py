import json
import os
import zipfile
from pathlib import Path

import numpy as np

STATE = "state"


class Checkpoint:
    """The file from which a killed run goes on.

    It is replaced as a whole: a process killed while it writes leaves the
    checkpoint before.

    Args:
        path: Path of the file, `….npz`.
        settings: Dict, JSON-able: what makes the run. A checkpoint of other
            settings is none.
    """

    def __init__(self, path, settings):
        self.path = Path(path)
        self.settings = settings

    def load(self):
        """Returns the pair last saved, or None.

        A file that is torn or of other settings counts as none.
        """
        try:
            with self.path.open("rb") as file, np.load(file) as saved:
                state = json.loads(str(saved[STATE]))
                arrays = [saved[f"a{k}"] for k in range(len(saved.files) - 1)]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            return None
        if state.pop("settings") != json.loads(json.dumps(self.settings)):
            return None
        return arrays, state

    def save(self, arrays, state):
        """Replaces the checkpoint.

        Args:
            arrays: List of arrays.
            state: Dict, JSON-able.
        """
        text = json.dumps({**state, "settings": self.settings})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        with new.open("wb") as file:
            np.savez(
                file,
                **{STATE: np.array(text)},
                **{f"a{k}": array for k, array in enumerate(arrays)},
            )
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)

    def remove(self):
        """Removes the file, for a run that has ended."""
        self.path.unlink(missing_ok=True)
