"""Files that are written whole or not at all, and folders of one process."""

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
from pathlib import Path

from keras_dropx.errors import UserError, naming


def write_atomically(path, data):
    """Replaces a file as a whole: who is killed leaves the one before.

    It is on the disk when this returns. A symbolic link is replaced, not
    followed.

    Args:
        path: Path of the file; its folder is created.
        data: Bytes, or a string, which is written as UTF-8.

    Raises:
        OSError: With the file's name; the file before is left as it was.
    """
    path = Path(path)
    data = data.encode() if isinstance(data, str) else data
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    with naming(path):
        try:
            with new.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise


def digest_of(thing):
    """Returns a string that tells a JSON-able object from others."""
    text = json.dumps(thing, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_free(folder, names):
    """Refuses a folder where files of the user's have the names of ours.

    It need not be there. One with runs is a command's own.
    """
    folder = Path(folder)
    if (folder / "runs.jsonl").exists():
        return
    for name in names:
        if os.path.lexists(folder / name):
            raise UserError(
                f"{folder / name} is there, and no runs.jsonl beside it: this "
                "command did not write it. Give another --output, or move it "
                "away"
            )


@contextlib.contextmanager
def locked(folder, command, remedy="Wait for it, or give another --output"):
    """Keeps a second command out of a folder, which is made.

    Raises:
        UserError: If another process works there: which command, and what the
            user can do.
    """
    folder = Path(folder)
    with lock(folder / ".lock") as alone:
        if not alone:
            raise UserError(f"another {command} works in {folder}. {remedy}")
        yield


@contextlib.contextmanager
def lock(path):
    """Holds the lock of a file, made if need be, as long as the process lives.

    Yields:
        Whether this process has it: False if another one does.
    """
    path = Path(path)
    # Not opened for writing through a link: it is made, or there.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    file = None
    while file is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Another process may remove the folder, empty, in between.
        with contextlib.suppress(FileNotFoundError):
            file = os.open(path, flags, 0o666)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:
            pass  # Some network file systems have no locks.
        yield True
    finally:
        os.close(file)
