"""Data sets by their TFDS names, `digits` among them without a download.

Pixel values are passed on as they are stored (digits: 0..16, most others:
0..255); scaling them belongs to the recipe, which knows its network.

The data sets of the papers:

| name | how |
| --- | --- |
| `digits`, `mnist`, `fashion_mnist`, ... | `load`, then `arrays` |
| `svhn_cropped` | so too; `train_split="train+extra"` gives 7.4 GB |
| `imagenet2012` | `load(decode=False)`, then the functions of `streaming` |
"""

import contextlib
import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging

from keras_dropx.experiments.data import builders
from keras_dropx.experiments.data.builders import DatasetError


def load(
    name,
    data_dir=None,
    download=False,
    source=None,
    train_split="train",
    decode=True,
):
    """Loads the training and the test part of a data set.

    The test part is the split `test`, or `validation` where there is no
    `test` or its labels are withheld (ImageNet's are -1). Examples come one
    by one, always in the same order, with pixel values as stored: shuffling,
    batching and scaling are the caller's.

    Args:
        name: string, a TFDS name such as `"digits"`, `"cifar10"`,
            `"cifar10_corrupted/fog_5"` or `"cifar10:3.0.2"`. `"digits"` is
            prepared on the spot and never downloaded.
        data_dir: folder of prepared data sets. Defaults to TFDS's:
            `$TFDS_DATA_DIR`, else `~/tensorflow_datasets`.
        download: bool, whether a data set that is not prepared in `data_dir`
            may be downloaded. Defaults to `False`.
        source: folder of the data set's original files, or None. A data set
            that is not prepared in `data_dir` is prepared from them, without
            a network; TFDS verifies their checksums. `originals` says which
            files.
        train_split: string, the training part in TFDS's words, such as
            `"train+extra"` (all 604,388 images of `svhn_cropped`) or
            `"train[:45000]"`. Defaults to `"train"`.
        decode: bool. With `False` images come as the bytes of their files, as
            `streaming` wants the images of varying shape of `imagenet2012`.
            Defaults to `True`.

    Returns:
        A tuple `(train, test, info)`: two `tf.data.Dataset`s of
        `(image, label)` and the `tfds.core.DatasetInfo`.

    Raises:
        DatasetError: if the data set is unknown, not prepared, cannot be
            downloaded or written, a file of `source` is missing or damaged,
            it has no labels, test split or `train_split`,
            or (`decode=False`) its images are no image files.

    Example:

    ```python
    train, test, info = load("digits")
    images, labels = arrays(test)
    ```
    """
    if data_dir is not None:
        data_dir = os.path.expanduser(data_dir)
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        builder = builders.open_builder(name, data_dir)
        if not builder.info.supervised_keys:
            raise DatasetError(
                f"Data set '{name}' is not made of (image, label) pairs: it "
                "declares no supervised keys."
            )
        if not builder.data_path.exists():
            builders.write(builder, name, download, source)
            # Another process may have been first; read what is there.
            builder = builders.open_builder(name, data_dir)
        if not builder.is_prepared():
            raise DatasetError(
                f"Data set '{name}' is damaged: remove {builder.data_dir}, "
                "then load it again."
            )
        decoders = None
        if not decode:
            image = builder.info.supervised_keys[0]
            if not isinstance(
                builder.info.features[image], tfds.features.Image
            ):
                raise DatasetError(
                    f"Data set '{name}' cannot be streamed: its images are "
                    "not stored as image files."
                )
            decoders = {image: tfds.decode.SkipDecoding()}
        try:
            train, test = builder.as_dataset(
                split=[train_split, builders.find_test_split(builder, name)],
                decoders=decoders,
                as_supervised=True,
            )
        except DatasetError:
            raise
        except Exception as error:
            raise DatasetError(
                f"Data set '{name}' cannot be read from {builder.data_dir}: "
                f"{builders.first_line(error)}"
            ) from error
        return train, test, builder.info
    finally:
        logging.set_verbosity(verbosity)


def arrays(dataset):
    """Reads a whole data set into memory.

    Args:
        dataset: finite, unbatched `tf.data.Dataset` of `(image, label)`, all
            images of one shape.

    Returns:
        A tuple `(images, labels)` of arrays, float32 and int64. The values
        of the images are not scaled.

    Raises:
        DatasetError: if `dataset` is empty, infinite or of varying shapes.
    """
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise DatasetError("An infinite data set cannot be read into memory.")
    shape = dataset.element_spec[0].shape
    if not shape.is_fully_defined():
        raise DatasetError(f"Images of varying shape {shape}: resize them.")
    batches = list(dataset.batch(1024).as_numpy_iterator())
    if not batches:
        raise DatasetError("The data set is empty.")
    images, labels = zip(*batches, strict=True)
    return (
        np.concatenate(images, dtype="float32", casting="unsafe"),
        np.concatenate(labels, dtype="int64", casting="unsafe"),
    )


class Subsets(NamedTuple):
    """Three disjoint parts of a data set, each a pair `(images, labels)`."""

    train: tuple
    validation: tuple
    test: tuple


def subsets(images, labels, seed, train_size=300, validation_size=200):
    """Splits arrays into stratified training, validation and test parts.

    Args:
        images: array of shape (n, ...).
        labels: array of n integers.
        seed: int. The same seed gives the same parts.
        train_size: int, number of training images. Defaults to 300.
        validation_size: int, number of validation images. Defaults to 200.

    Returns:
        `Subsets(train, validation, test)`; `test` is all that is left.

    Raises:
        DatasetError: if a part would lack a class.
    """
    from sklearn.model_selection import train_test_split

    images, labels = np.asarray(images), np.asarray(labels)
    classes = np.unique(labels)
    test_size = len(labels) - train_size - validation_size
    parts = []
    if min(train_size, validation_size, test_size) >= len(classes):
        # scikit-learn refuses classes of which too few images are left.
        with contextlib.suppress(ValueError):
            rest = np.arange(len(labels))
            for size in (train_size, validation_size):
                part, rest = train_test_split(
                    rest,
                    train_size=size,
                    stratify=labels[rest],
                    random_state=seed,
                )
                parts.append(part)
            parts.append(rest)
    if len(parts) < 3 or any(
        len(np.unique(labels[part])) < len(classes) for part in parts
    ):
        raise DatasetError(
            f"{len(labels)} images of {len(classes)} classes cannot be split "
            f"into train_size={train_size}, validation_size={validation_size} "
            f"and {test_size} for testing with each class in each part."
        )
    return Subsets(*((images[part], labels[part]) for part in parts))
