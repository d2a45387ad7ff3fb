"""The folder of a search: what belongs to it, and what stays out of it.

Nothing is removed that `dropx tune` did not write, and what it wrote only when
it is told to. So a search begins in an empty folder, and a note, `search.json`,
says from then on whose the folder is.
"""

import dataclasses
import json
import os
import re
import uuid
from pathlib import Path

from keras_dropx.errors import UserError
from keras_dropx.experiments.records import write_atomically
from keras_dropx.experiments.search import notes
from keras_dropx.experiments.search.settings import Settings

NOTE = "search.json"
LOCK = ".lock"
PLAN = "tune"
FILES = (NOTE, "search.log", "runs.jsonl", "tune.png")
FOLDERS = (".locks", "logs", "workers")
HALF_WRITTEN = r"[\w.-]+\.[0-9a-f]{8}\.new"
METHOD = "(?:any|dropout|forward|backward|augmented|jumpout)"
# Below our folders; what a kill left half-written among it.
OWN_FILES = re.compile(
    r"\.locks/[0-9a-f]{16}"
    r"|logs/(?:chief|worker)-[\w.-]+\.log"
    r"|workers/[\w.-]+/\.lock"
    rf"|{METHOD}/(?:[\w.-]+\.json|over|{HALF_WRITTEN})"
    rf"|{METHOD}/trial_\d+/(?:trial\.json|reason|attempts|{HALF_WRITTEN})"
    rf"|{METHOD}/trial_\d+/execution_\d+\.weights\.h5"
)
OWN_FOLDERS = re.compile(
    rf"{'|'.join(FOLDERS)}|workers/[\w.-]+|{METHOD}(?:/trial_\d+)?"
)


def check(settings, output, overwrite):
    """Refuses a folder in which a search cannot go on, or begin.

    It writes nothing.

    Returns:
        Dict of what the folder notes, or None where nothing has begun.

    Raises:
        UserError: If another search is there, or what is none.
    """
    # What is no folder is named when it is made.
    if not output.is_dir():
        return None
    kept = read(output)
    if kept is None:
        check_empty(output)
    elif overwrite or kept.get("removing"):
        for name in set(settings.methods) - set(_methods(kept)):
            if os.path.lexists(output / name):
                raise UserError(_foreign(output / name))
        _own_paths(output, kept)
    else:
        check_same(settings, kept, output)
    return kept


def begin(settings, output, overwrite):
    """Notes a search in its folder, which is locked, or goes on with it."""
    kept = check(settings, output, overwrite)
    if kept is not None:
        if not (overwrite or kept.get("removing")):
            return
        # A kill while it removes leaves a folder that says so.
        write_note(output, {**kept, "removing": True})
        for path in _own_paths(output, kept):
            path.rmdir() if path.is_dir() else path.unlink()
    write_note(output, {**dataclasses.asdict(settings), "id": uuid.uuid4().hex})


def read(output):
    """Returns what a folder notes of its search, a dict, or None.

    Raises:
        UserError: If the note is damaged or of a version before this one.
    """
    path = Path(output) / NOTE
    if not path.exists():
        return None
    with notes.reading(path, "put a copy of it back, or give another --output"):
        kept = json.loads(path.read_bytes())
        fields = {field.name for field in dataclasses.fields(Settings)}
        new = {"precision", "jit", "backend"}
        if kept.get("kind") == "own":
            raise UserError(
                f"{output} holds a search over a model of your own: give "
                "another --output"
            )
        if not new & kept.keys() and fields - new <= kept.keys():
            raise UserError(
                f"{path} is of an earlier version, which did not note the "
                "backend: give another --output"
            )
        Settings(**{name: kept[name] for name in fields})
        if not isinstance(kept["id"], str):
            raise ValueError
    return kept


def check_same(settings, kept, output):
    """Refuses to go on with a search of other settings.

    Raises:
        UserError: It names the first setting that differs.
    """
    for key, value in as_json(settings).items():
        if kept[key] != value:
            raise UserError(
                f"{output} holds a search with {key}={kept[key]!r}, not "
                f"{value!r}. Give another --output, or --overwrite to start "
                "afresh"
            )


def check_empty(output):
    """Refuses a folder that holds anything, but a lock or a torn note.

    Raises:
        UserError: It names what is there.
    """
    names = sorted(
        path.name
        for path in output.iterdir()
        if path.name != LOCK and path not in _half_written(output)
    )
    if any((output / name / "oracle.json").exists() for name in names):
        raise UserError(
            f"{output / NOTE} is missing beside a search: put a copy of it "
            "back, or give another output"
        )
    if names:
        raise UserError(
            f"{output} holds {names[0]}, which is no part of a search: give an "
            "empty or a new folder as output"
        )


def _own_paths(output, kept):
    """Returns what a search wrote but its note, folders after their files.

    Raises:
        UserError: If something else is among it.
    """
    paths = []
    for name in (*FOLDERS, *_methods(kept), *FILES[1:]):
        top = output / name
        paths += sorted(top.rglob("*"), reverse=True)
        paths += [top] if os.path.lexists(top) else []
    for path in paths:
        if not _is_own(path, path.relative_to(output).as_posix()):
            raise UserError(_foreign(path))
    return paths + _half_written(output)


def _is_own(path, place):
    if path.is_symlink():
        return False
    if path.is_dir():
        return OWN_FOLDERS.fullmatch(place) is not None
    if not path.is_file() or not (place in FILES or OWN_FILES.fullmatch(place)):
        return False
    if place == "runs.jsonl":
        # The last line may be torn.
        *lines, _ = path.read_bytes().split(b"\n")
        return all(map(_is_own_record, lines))
    # The notes of the workers are empty.
    worker = re.fullmatch(r"\w+/(?!oracle\.)[^/]+\.json", place)
    return not worker or path.read_bytes().strip() in (b"{}", b"")


def _half_written(output):
    """Returns what a kill left of our files: they were written beside."""
    pattern = rf"(?:{'|'.join(FILES)})\.[0-9a-f]{{8}}\.new"
    return [p for p in output.iterdir() if re.fullmatch(pattern, p.name)]


def _is_own_record(line):
    try:
        record = json.loads(line)
        return PLAN in (record.get("plan"), record.get("panel"))
    except (ValueError, AttributeError):
        return False


def _foreign(path):
    return (
        f"{path} is not of the search in its folder, and --overwrite removes "
        "nothing else: move it away, or give another --output"
    )


def _methods(kept):
    return dict.fromkeys((kept["method"], "dropout"))


def as_json(settings):
    """Returns settings as a note has them."""
    return json.loads(json.dumps(dataclasses.asdict(settings)))


def write_note(output, kept):
    """Notes a dict in the folder of a search."""
    write_atomically(Path(output) / NOTE, json.dumps(kept, indent=1) + "\n")
