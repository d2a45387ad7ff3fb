"""A user's own data from a file or folder: `.npz`, `.csv`, images."""

import csv
import math
import pathlib
import warnings
import zipfile

import keras
import numpy as np

from keras_dropx.errors import UserError

PARTS = ("x_train", "y_train", "x_test", "y_test")


def read(path, target=None, test_share=0.2, seed=0, image_shape=None):
    """Reads training and test data.

    | path | what it holds |
    | --- | --- |
    | `….npz` | `x_train`, `y_train`, `x_test`, `y_test`; or `x` and `y`, \
which are split |
    | `….csv` | a head line and numbers, one column being the target; split |
    | a folder | a subfolder of images for each class; split |

    A split is drawn by `seed`, and stratified where the targets are classes.
    Everything is read into memory.

    Args:
        path: Path of the file or folder.
        target: Name of the column of a CSV file that is to be predicted.
        test_share: Float in (0, 1), the share of samples that become test
            data where the file does not say which.
        seed: Integer, of the split.
        image_shape: Tuple (height, width, channels) to which the images of a
            folder are read; channels are 1, 3 or 4.

    Returns:
        A tuple of two pairs, `(x_train, y_train), (x_test, y_test)`; float32
        inputs, and int64 targets where all are whole numbers, else float32.
        Pixels are 0..255.

    Raises:
        UserError: One line that names the file and what is wrong with it.
    """
    path = pathlib.Path(path)
    if not 0 < test_share < 1:
        raise UserError(f"a test share between 0 and 1, not {test_share}")
    if not path.exists():
        raise UserError(f"no file or folder '{path}'")
    if path.is_dir():
        return split(path, *_images(path, image_shape), test_share, seed)
    if path.suffix == ".csv":
        return split(path, *_table(path, target), test_share, seed)
    if path.suffix != ".npz":
        raise UserError(
            f"'{path}' is no data: expected a .npz or .csv file or a folder "
            "of images"
        )
    arrays = _arrays(path)
    if set(PARTS) <= set(arrays):
        train = arrays["x_train"], arrays["y_train"]
        test = arrays["x_test"], arrays["y_test"]
        for name, (x, y) in (("train", train), ("test", test)):
            _check_lengths(path, f"x_{name}", x, f"y_{name}", y)
        return train, test
    if {"x", "y"} <= set(arrays):
        _check_lengths(path, "x", arrays["x"], "y", arrays["y"])
        return split(path, arrays["x"], arrays["y"], test_share, seed)
    raise UserError(
        f"'{path}' holds {', '.join(arrays) or 'nothing'}: expected the arrays "
        "x and y, or x_train, y_train, x_test and y_test"
    )


def _arrays(path):
    try:
        # Pickled objects could run code.
        with np.load(path, allow_pickle=False) as file:
            return {name: _numbers(path, name, file[name]) for name in file}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as e:
        if isinstance(e, UserError):
            raise
        reason = (str(e).splitlines() or [type(e).__name__])[0]
        raise UserError(f"'{path}' cannot be read: {reason}") from None


def _numbers(path, name, array):
    if array.ndim == 0 or array.dtype.kind not in "fiub":
        raise UserError(
            f"array {name} of '{path}' holds no rows of numbers: shape "
            f"{array.shape}, {array.dtype}"
        )
    if not np.isfinite(array).all():
        raise UserError(
            f"array {name} of '{path}' has values that are NaN or infinite: "
            "fill them in or leave their rows out"
        )
    if not name.startswith("y"):
        return array.astype("float32")
    return _targets(array)


def _targets(array):
    whole = array.dtype.kind != "f" or (array == np.round(array)).all()
    return array.astype("int64" if whole else "float32")


def _check_lengths(path, x_name, x, y_name, y):
    if len(x) != len(y):
        raise UserError(
            f"'{path}': {x_name} has {len(x)} samples, {y_name} {len(y)}"
        )


def _table(path, target):
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head, *rows = [row for row in csv.reader(file) if row] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"'{path}' cannot be read: {error}") from None
    if target is None:
        raise UserError(
            f"'{path}': name the column to predict with --target, one of "
            f"{', '.join(head)}"
        )
    if target not in head:
        raise UserError(
            f"'{path}' has no column '{target}'; it has: {', '.join(head)}"
        )
    values = np.empty((len(rows), len(head)))
    for number, row in enumerate(rows):
        if len(row) != len(head):
            raise UserError(
                f"row {number + 2} of '{path}' has {len(row)} values, the "
                f"head {len(head)}"
            )
        for column, (name, text) in enumerate(zip(head, row, strict=True)):
            try:
                value = float(text)
            except ValueError:
                value = None
            if value is None or not math.isfinite(value):
                remedy = "encode it as numbers or leave the column out"
                if value is not None or not text.strip():
                    remedy = "fill it in or leave the row out"
                raise UserError(
                    f"column '{name}' of '{path}' is not numeric (row "
                    f"{number + 2}: {text!r}): {remedy}"
                )
            values[number, column] = value
    place = head.index(target)
    inputs = np.delete(values, place, axis=1).astype("float32")
    return inputs, _targets(values[:, place])


def _images(path, shape):
    if shape is None or len(shape) != 3 or shape[-1] not in (1, 3, 4):
        raise UserError(
            f"'{path}' is a folder of images, and the model takes none: its "
            f"input has the shape {shape}, not (height, width, 1, 3 or 4)"
        )
    *size, channels = shape
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            batches = keras.utils.image_dataset_from_directory(
                path,
                color_mode={1: "grayscale", 3: "rgb", 4: "rgba"}[channels],
                image_size=tuple(size),
                shuffle=False,
                verbose=False,
            )
            images, labels = zip(*batches.as_numpy_iterator(), strict=True)
    except Exception as error:  # TensorFlow's errors of decoding are its own.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"'{path}' cannot be read: {reason}") from None
    return np.concatenate(images), np.concatenate(labels).astype("int64")


def split(path, x, y, test_share, seed):
    """Returns two pairs of arrays, stratified where the targets are classes.

    Args:
        path: Path of the file, for the error.
        x: Array.
        y: Array of the same length.
        test_share: Float in (0, 1), the second pair's share of the samples.
        seed: Integer.

    Raises:
        UserError: If there are too few samples.
    """
    from sklearn.model_selection import train_test_split

    stratify = None
    if y.ndim == 1 and y.dtype.kind == "i":
        counts = np.unique(y, return_counts=True)[1]
        enough = min(test_share, 1 - test_share) * len(y) >= len(counts)
        if counts.min() > 1 and enough:
            stratify = y
    try:
        x_train, x_test, y_train, y_test = train_test_split(
            x, y, test_size=test_share, random_state=seed, stratify=stratify
        )
    except ValueError:
        raise UserError(
            f"'{path}' has {len(y)} samples, too few for a test share of "
            f"{test_share:g}"
        ) from None
    return (x_train, y_train), (x_test, y_test)
