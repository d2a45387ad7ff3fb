"""From a TFDS name to data on disk, or one line which says why not."""

import contextlib
import difflib
import io
import pathlib
import re
import sys
import tempfile

import numpy as np
import tensorflow_datasets as tfds

from keras_dropx.errors import UserError
from keras_dropx.experiments.data import downloads, originals
from keras_dropx.experiments.data.digits import Digits


class DatasetError(UserError):
    """A data set that cannot be given; one line which says what to do."""


def open_builder(name, data_dir):
    """Returns the builder of `name`; names of the community need a network."""
    try:
        if re.match(r"[\w-]+:[^\d*]", name):
            raise tfds.core.DatasetNotFoundError
        return tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError:
        known = tfds.list_builders(with_community_datasets=False)
        close = difflib.get_close_matches(name.lower(), known)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        place = f" or in {data_dir}" if data_dir else ""
        text = f"Unknown data set '{name}': not in TFDS{place}.{hint}"
        raise DatasetError(text) from None
    except Exception as error:
        text = f"Data set '{name}' cannot be opened: {first_line(error)}"
        raise DatasetError(text) from error


def write(builder, name, download, source=None):
    """Writes the data set into its folder, or refuses before any write."""
    digits = isinstance(builder, Digits)
    source = None if digits or source is None else pathlib.Path(source)
    folder = builder.data_dir_root
    if folder.exists() and not folder.is_dir():
        raise DatasetError(f"The data folder {folder} is a file.")
    if source is not None:
        if reason := originals.missing(builder, source):
            raise DatasetError(
                f"Cannot prepare data set '{name}' from its files: {reason}."
            )
    elif not (digits or download):
        raise DatasetError(
            f"Data set '{name}' is not prepared in {folder}: allow its "
            "download with `download=True` (`--download` on the command line), "
            "or name the folder of its files with `source` (`--source`)."
        )
    if reason := downloads.unwritable(builder.data_path):
        raise DatasetError(f"Cannot write to the data folder: {reason}.")
    fetched = not digits and source is None
    if fetched and (reason := downloads.unavailable(builder)):
        raise DatasetError(f"Cannot download data set '{name}': {reason}.")
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(downloads.tidy(builder))
            # TFDS can switch its bars off, but not tell whether they are on;
            # so those of digits go where its printed lines go.
            place = io.StringIO() if digits else sys.stderr
            stack.enter_context(contextlib.redirect_stdout(place))
            stack.enter_context(contextlib.redirect_stderr(place))
            arguments = {}
            if digits:
                scratch = stack.enter_context(tempfile.TemporaryDirectory())
                arguments = {"download_dir": scratch}
            elif source is not None:
                arguments = stack.enter_context(
                    originals.arguments(builder, source)
                )
            builder.download_and_prepare(**arguments)
    except Exception as error:
        # TFDS renames the finished folder into place; a process that comes
        # second fails there, with the data ready.
        if not builder.data_path.exists():
            reason = first_line(error)
            if source is not None and "has wrong checksum" in reason:
                # TFDS names the copy it was given.
                file = re.search(r"([^/]+), has wrong checksum", reason)[1]
                reason = f"{source / file} is not the original: wrong checksum"
            text = f"Data set '{name}' cannot be prepared: {reason}"
            raise DatasetError(text) from error


def find_test_split(builder, name):
    """Returns `"test"` if it has labels, else `"validation"`."""
    splits = builder.info.splits
    if "train" in splits:
        for split in ("test", "validation"):
            if split not in splits:
                continue
            first = builder.as_dataset(split=f"{split}[:1]", as_supervised=True)
            # Labels that are withheld are -1.
            if all(np.all(label.numpy() != -1) for _, label in first):
                return split
    raise DatasetError(
        f"Data set '{name}' needs the splits train and test (or validation) "
        f"with labels; it has: {', '.join(splits) or 'none'}."
    )


def first_line(error):
    """Returns the first line of what an exception says, without TFDS's frame.

    TFDS puts "Failed to construct dataset ...: " before its reason and
    " Here are ..." with many names behind it.
    """
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    line = re.sub('^Failed to construct dataset .*?}": ', "", line)
    return line.partition(" Here are ")[0]
