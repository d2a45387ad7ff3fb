import hashlib
import io
import json
from pathlib import Path

import numpy as np

from keras_dropx.experiments.files import digest_of, write_atomically

STATE = "state"


class Checkpoint:
    """The file from which a killed run goes on: a digest, then an npz.

    Args:
        folder: Path of the folder of checkpoints.
        settings: Dict, JSON-able: what makes the run, and names the file. A
            checkpoint of other settings is none.
    """

    def __init__(self, folder, settings):
        self.path = Path(folder) / f"{digest_of(settings)}.npz"

    def load(self):
        """Returns the pair last saved, or None.

        A file that is damaged in any way counts as none.
        """
        try:
            data = self.path.read_bytes()
        except OSError:
            return None
        digest, data = data[:32], data[32:]
        # From here on it is what `save` wrote, to the bit.
        if digest != hashlib.sha256(data).digest():
            return None
        with np.load(io.BytesIO(data)) as saved:
            state = json.loads(str(saved[STATE]))
            arrays = [saved[f"a{k}"] for k in range(len(saved.files) - 1)]
        return arrays, state

    def save(self, arrays, state):
        """Replaces the checkpoint.

        Args:
            arrays: List of arrays.
            state: Dict, JSON-able.
        """
        buffer = io.BytesIO()
        np.savez(
            buffer,
            **{STATE: np.array(json.dumps(state))},
            **{f"a{k}": array for k, array in enumerate(arrays)},
        )
        data = buffer.getvalue()
        write_atomically(self.path, hashlib.sha256(data).digest() + data)

    def remove(self):
        """Removes the file of a run that has ended, and what kills left."""
        for path in self.path.parent.glob(f"{self.path.name}*"):
            path.unlink(missing_ok=True)
