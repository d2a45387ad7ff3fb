"""The images of a recipe's panel, drawn, whole or streamed."""

from keras_dropx.experiments import datasets
from keras_dropx.experiments.preprocessing import prepare
from keras_dropx.experiments.streaming import evaluation_stream

# Whole sets of images too many, or too varied, for the memory.
STREAMED = ("imagenet2012",)
DIGITS_TRAIN_SIZE = 300


def open_data(panel, train_size, data_dir, download):
    """Opens the data set of a panel.

    Args:
        panel: `panel.Panel`.
        train_size: Integer, or None for the whole set.
        data_dir: Folder of TFDS, or None.
        download: Whether TFDS may download.

    Returns:
        A tuple of a function from a seed to prepared `datasets.Subsets`, and
        a dict that describes the data.

    Raises:
        DatasetError: If the data set cannot be had, or is too small.
    """
    name, plus, extra = panel.dataset.partition("+")
    if name == "digits" and train_size is None:
        train_size = DIGITS_TRAIN_SIZE
    if train_size is not None:
        splits, source = datasets.splits(name, train_size, data_dir, download)
        splits(0)  # A train_size that does not fit fails here.

        def drawn(seed):
            return prepared(panel, splits(seed))

        shape = shape_after(panel, source["input_shape"])
        return drawn, {**source, "input_shape": shape}
    streamed = name in STREAMED
    train, test, info = datasets.load(
        name, data_dir, download, f"train{plus}{extra}", decode=not streamed
    )
    image, label = info.supervised_keys
    source = {
        "dataset": panel.dataset,
        "data_version": str(info.version),
        "train_size": int(train.cardinality()),
        "num_classes": info.features[label].num_classes,
    }
    if streamed:
        subsets = datasets.Subsets(
            train, None, evaluation_stream(test, panel.batch_size)
        )
        return lambda seed: subsets, {**source, "input_shape": [224, 224, 3]}
    read = []

    def whole(seed):
        if not read:
            parts = datasets.Subsets(
                datasets.arrays(train), None, datasets.arrays(test)
            )
            read.append(prepared(panel, parts))
        return read[0]

    shape = info.features[image].shape
    return whole, {**source, "input_shape": shape_after(panel, shape)}


def shape_after(panel, shape):
    """Returns the shape of images after a panel's preparation, a list."""
    for name, *numbers in panel.preparation:
        if name == "resize":
            shape = (*numbers, shape[-1])
    return list(shape)


def prepared(panel, subsets):
    """Returns `datasets.Subsets` as a panel's network takes them."""
    parts = [part for part in subsets if part is not None]
    images = prepare(panel.preparation, *(images for images, _ in parts))
    remaining = iter(zip(images, (labels for _, labels in parts), strict=True))
    return datasets.Subsets(
        *(None if part is None else next(remaining) for part in subsets)
    )
