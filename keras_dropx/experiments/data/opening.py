"""The one door to the images of a plan: drawn, whole or streamed."""

import functools

import numpy as np

from keras_dropx.experiments.data import datasets
from keras_dropx.experiments.data.preprocessing import prepare
from keras_dropx.experiments.data.streaming import evaluation_stream

DIGITS_TRAIN_SIZE = 300


def open_data(
    plan, train_size=None, data_dir=None, download=False, source=None
):
    """Opens the data set of a plan.

    Args:
        plan: `plan.Plan`; its `dataset`, `preparation`, `batch_size` and
            `streamed` count.
        train_size: Integer, training images that each seed draws (200 more
            are for validation); or None: all, of digits 300.
        data_dir: Folder of prepared data sets, or None for that of TFDS.
        download: Whether TFDS may download.
        source: Folder of the original files, or None.

    Returns:
        A tuple `(data, description)`: a function from a seed to
        `datasets.Subsets` as the plan's network takes them, and a dict that
        describes the data. The test part is the data set's, but of `digits`,
        which is so small that each seed draws its test images too.

    Raises:
        DatasetError: If the data set cannot be had, or is too small.
    """
    name, plus, extra = plan.dataset.partition("+")
    if name == "digits" and train_size is None:
        train_size = DIGITS_TRAIN_SIZE
    train, test, info = datasets.load(
        name,
        data_dir,
        download,
        source,
        train_split=f"train{plus}{extra}",
        decode=not plan.streamed,
    )
    image, label = info.supervised_keys
    description = {
        "dataset": plan.dataset,
        "data_version": str(info.version),
        "train_size": train_size or int(train.cardinality()),
        "num_classes": info.features[label].num_classes,
    }
    if plan.streamed:
        subsets = datasets.Subsets(
            train, None, evaluation_stream(test, plan.batch_size)
        )
        shape = [224, 224, 3]
        return lambda seed: subsets, {**description, "input_shape": shape}
    shape = info.features[image].shape
    for step, *numbers in plan.preparation:
        if step == "resize":
            shape = (*numbers, shape[-1])
    description["input_shape"] = list(shape)
    if train_size is not None:
        return _drawn(plan, train, test, train_size), description

    @functools.cache
    def whole():
        return prepared(
            plan, datasets.arrays(train), None, datasets.arrays(test)
        )

    return lambda seed: whole(), description


def _drawn(plan, train, test, train_size):
    images, labels = datasets.arrays(train)
    test_images, test_labels = datasets.arrays(test)
    scale = images.max()
    images, test_images = images / scale, test_images / scale
    digits = plan.dataset == "digits"
    if digits:
        images = np.concatenate([images, test_images])
        labels = np.concatenate([labels, test_labels])

    def drawn(seed):
        parts = datasets.subsets(images, labels, seed, train_size)
        if not digits:
            parts = parts._replace(test=(test_images, test_labels))
        return prepared(plan, *parts)

    drawn(0)  # A train_size that does not fit fails here.
    return drawn


def prepared(plan, *parts):
    """Returns `datasets.Subsets` of parts as a plan's network takes them."""
    images = prepare(plan.preparation, *(part[0] for part in parts if part))
    images = iter(images)
    return datasets.Subsets(
        *(part and (next(images), part[1]) for part in parts)
    )
