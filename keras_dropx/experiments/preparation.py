"""From a TFDS name to data on disk, or one line which says why not."""

import contextlib
import difflib
import io
import re
import sys
import tempfile

import numpy as np
import tensorflow_datasets as tfds

from keras_dropx.errors import UserError
from keras_dropx.experiments import downloads
from keras_dropx.experiments.digits import Digits


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


def prepare(builder, name, download):
    """Writes the data set into its folder, or refuses before any write."""
    digits = isinstance(builder, Digits)
    folder = builder.data_dir_root
    if folder.exists() and not folder.is_dir():
        raise DatasetError(f"The data folder {folder} is a file.")
    if not (digits or download):
        raise DatasetError(
            f"Data set '{name}' is not prepared in {folder}: allow its "
            "download with `download=True` (`--download` on the command line)."
        )
    if reason := downloads.unwritable(builder.data_path):
        raise DatasetError(f"Cannot write to the data folder: {reason}.")
    if not digits and (reason := downloads.unavailable(builder)):
        raise DatasetError(f"Cannot download data set '{name}': {reason}.")
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(downloads.tidy(builder))
            if digits:
                # TFDS can switch its bars off, but not tell whether they are
                # on; so they go where its printed lines go.
                silence = io.StringIO()
                stack.enter_context(contextlib.redirect_stdout(silence))
                stack.enter_context(contextlib.redirect_stderr(silence))
                scratch = stack.enter_context(tempfile.TemporaryDirectory())
                builder.download_and_prepare(download_dir=scratch)
            else:
                stack.enter_context(contextlib.redirect_stdout(sys.stderr))
                builder.download_and_prepare()
    except Exception as error:
        # TFDS renames the finished folder into place; a process that comes
        # second fails there, with the data ready.
        if not builder.data_path.exists():
            text = f"Data set '{name}' cannot be prepared: {first_line(error)}"
            raise DatasetError(text) from error


def find_test_split(builder, name):
    """Returns `"test"` if it has labels, else `"validation"`."""
    splits = builder.info.splits
    if "train" in splits:
        for split in ("test", "validation"):
            if split in splits and _has_labels(builder, split):
                return split
    raise DatasetError(
        f"Data set '{name}' needs the splits train and test (or validation) "
        f"with labels; it has: {', '.join(splits) or 'none'}."
    )


def _has_labels(builder, split):
    """Returns whether the first label is real: withheld ones are -1."""
    first = builder.as_dataset(split=f"{split}[:1]", as_supervised=True)
    return all(np.all(label.numpy() != -1) for _, label in first)


def first_line(error):
    """Returns the first line of what an exception says, without TFDS's frame.

    TFDS puts "Failed to construct dataset ...: " before its reason and
    " Here are ..." with many names behind it.
    """
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    line = re.sub('^Failed to construct dataset .*?}": ', "", line)
    return line.partition(" Here are ")[0]
