"""What to know before TFDS starts a download, and what to tidy after it.

TFDS asks each address 11 times with growing pauses (0.2 * 2**n seconds, its
`MAX_RETRIES` and `backoff_factor`, not settable), so without a network its
error comes after more than 200 seconds. Hence one short question beforehand.
"""

import contextlib
import json
import os
import queue
import shutil
import tempfile
import threading
import time
import types
from urllib.parse import urlsplit

DEADLINE = 2.3
# Half the deadline, so that a dead IPv6 route leaves time for IPv4.
CONNECT_TIMEOUT = 1.1


def unwritable(folder):
    """Returns why nothing can be created in `folder`, or `None`.

    A trial directory answers also for root and read-only file systems, where
    permission bits do not; it is removed at once.
    """
    folder = os.path.abspath(folder)
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    try:
        os.rmdir(tempfile.mkdtemp(dir=folder))
    except OSError as error:
        return f"{folder}: {error.strerror}"


def unavailable(builder):
    """Returns why the builder's files cannot be downloaded here, or `None`.

    Files fetched earlier, or by hand, pass without a look at the network.
    """
    folder = builder.data_dir_root / "downloads"
    manual = folder / "manual"
    by_hand = {path.name for path in manual.glob("*")}
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        if by_hand:
            return None
        return (
            f"its files must be put into {manual} by hand, see "
            f"https://www.tensorflow.org/datasets/catalog/{builder.name}"
        )
    wanted = {
        url: info
        for url, info in (builder.url_infos or {}).items()
        if url.startswith("http")
    }
    # TFDS notes the address of each file it has fetched beside the file.
    fetched = set()
    for parent in (folder, folder / builder.name):
        for note in parent.glob("*.INFO"):
            fetched.update(json.loads(note.read_text()).get("urls") or ())
    here = fetched.intersection(wanted) or any(
        info.filename in by_hand for info in wanted.values()
    )
    hosts = {urlsplit(url).netloc: url for url in wanted}
    if here or not hosts or _any_answers(hosts.values()):
        return None
    return f"no answer from {', '.join(sorted(hosts)[:3])} (no network?)"


def _any_answers(urls):
    """Returns whether one of the addresses answers before the deadline.

    Any answer counts, also a refusal or one that is slow to come after the
    connection. Looking up a name cannot be timed out, so each address is
    asked in a thread of its own, which may outlive this call.
    """
    import requests

    def ask(url):
        try:
            requests.head(url, timeout=CONNECT_TIMEOUT).close()
            answers.put(True)
        except requests.ReadTimeout:
            answers.put(True)
        except (OSError, ValueError):
            answers.put(False)

    answers = queue.SimpleQueue()
    end = time.monotonic() + DEADLINE
    urls = list(urls)[:16]
    for url in urls:
        threading.Thread(target=ask, args=(url,), daemon=True).start()
    with contextlib.suppress(queue.Empty):
        for _ in urls:
            if answers.get(timeout=max(0, end - time.monotonic())):
                return True
    return False


@contextlib.contextmanager
def tidy(builder):
    """Removes, if the body fails, the folders and partial files it left.

    Complete downloads are kept for the next attempt, and so is all that
    another process may have made or be writing.
    """
    downloads = builder.data_dir_root / "downloads"
    partial = downloads / builder.name
    leaves = (
        builder.data_path.parent,
        builder.data_dir_root / builder.name / ".config",
        downloads / "extracted",
        partial,
    )
    paths = {path for leaf in leaves for path in (leaf, *leaf.parents)}
    new = [path for path in paths if not path.exists()]
    try:
        with _noted_names() as made:
            yield
    except BaseException:
        for path in partial.glob("*.tmp.*"):
            if path.name.rpartition(".")[2] in made:
                shutil.rmtree(path, ignore_errors=True)
        new.sort(key=lambda path: (-len(path.parts), path.name == ".config"))
        for path in new:
            # Its paths raise the second where a folder is not empty.
            with contextlib.suppress(OSError, ValueError):
                # TFDS describes a data set there, for the versions beside it.
                beside = os.listdir(path.parent)
                if path.name == ".config" and beside == [".config"]:
                    shutil.rmtree(path)
                path.rmdir()
        raise


@contextlib.contextmanager
def _noted_names():
    """Notes what TFDS calls the partial files of this process.

    It names each by a random number, which nothing gives back.
    """
    from tensorflow_datasets.core.download import download_manager

    made, before = set(), download_manager.uuid

    def uuid4():
        number = before.uuid4()
        made.add(number.hex)
        return number

    download_manager.uuid = types.SimpleNamespace(uuid4=uuid4)
    try:
        yield made
    finally:
        download_manager.uuid = before
