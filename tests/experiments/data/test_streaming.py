import itertools

import numpy as np
import pytest
import tensorflow as tf

from keras_dropx.experiments.data import streaming
from keras_dropx.experiments.data.streaming import (
    evaluation_stream,
    random_crop,
    training_stream,
)

SIDES = [(40, 60), (64, 31), (50, 50)]


def encode(image):
    return tf.io.encode_png(image.astype("uint8")).numpy()


def dataset(count):
    """Encoded noise of several sizes, labelled by number."""
    rng = np.random.default_rng(0)
    files = [
        encode(rng.integers(0, 256, (*SIDES[i % 3], 3))) for i in range(count)
    ]
    return tf.data.Dataset.from_tensor_slices((files, np.arange(count)))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(streaming, "BLOCK", 4)


def take(stream, count):
    batches = list(itertools.islice(stream.as_numpy_iterator(), count))
    return (
        np.array([images for images, _ in batches]),
        np.array([labels for _, labels in batches]),
    )


def test_each_pass_has_every_image_once_within_blocks():
    _, labels = take(training_stream(dataset(10), 4, 0, size=8), 25)
    passes = labels.reshape(10, 10)
    for block in (slice(0, 4), slice(4, 8), slice(8, 10)):
        numbers = np.arange(10)[block]
        assert np.all(np.sort(passes[:, block]) == numbers)
        assert len({tuple(order) for order in passes[:, block]}) > 1
    first, second = passes[:, :4], passes[:, 4:8] - 4
    assert np.any(first != second)


@pytest.mark.few(2)
@pytest.mark.parametrize("first_step", [1, 2, 5, 7])
def test_start_in_the_middle(first_step):
    whole = take(training_stream(dataset(10), 4, 3, size=8), 9)
    rest = take(
        training_stream(dataset(10), 4, 3, first_step, size=8), 9 - first_step
    )
    for all_of_them, later in zip(whole, rest, strict=True):
        np.testing.assert_array_equal(later, all_of_them[first_step:])


def test_only_the_seed_matters():
    def images(seed, global_seed):
        tf.random.set_seed(global_seed)
        return take(training_stream(dataset(10), 4, seed, size=8), 3)[0]

    np.testing.assert_array_equal(images(0, 1), images(0, 2))
    assert np.any(images(0, 1) != images(1, 1))
    one_image = dataset(1).repeat(4)
    (same,), _ = take(training_stream(one_image, 4, 0, size=8), 1)
    assert np.any(same[0] != same[1])


def test_training_shapes():
    images, labels = training_stream(dataset(3), 2, 0).element_spec
    assert images.shape == (2, 224, 224, 3) and images.dtype == "float32"
    assert labels.shape == (2,)


def test_random_windows_have_the_sizes_asked_for(assert_share):
    """Channels that grow along an axis tell where a window lay."""
    height, width = 80, 80
    rows, columns = np.mgrid[0:height, 0:width]
    image = encode(np.stack([rows, columns, 0 * rows], axis=-1))
    crop = tf.function(lambda seed: random_crop(image, seed, 32))
    areas, ratios, mirrored = [], [], 0
    for i in range(300):
        got = crop(tf.constant([0, i], tf.int64)).numpy()
        got = 255 * (got * streaming.STD + streaming.MEAN)
        # Between the centres of the outermost of 32 pixels lie 31/32.
        tall = (got[-1, 16, 0] - got[0, 16, 0]) * 32 / 31
        wide = (got[16, -1, 1] - got[16, 0, 1]) * 32 / 31
        mirrored += wide < 0
        areas.append(tall * abs(wide) / (height * width))
        ratios.append(abs(wide) / tall)
    assert 0.06 < min(areas) < 0.15 and 0.85 < max(areas) < 1.1
    assert 0.65 < min(ratios) < 0.85 and 1.2 < max(ratios) < 1.55
    assert_share(mirrored, 300, 1 / 2)


def test_evaluation_of_an_image_that_needs_no_resizing():
    """Of 256 x 300 the centre is what is left without 16 rows, 38 columns."""
    image = np.random.default_rng(0).integers(0, 256, (256, 300, 3))
    files = tf.data.Dataset.from_tensors((encode(image), 5))
    ((images, labels),) = evaluation_stream(files, 8).as_numpy_iterator()
    want = image[16:240, 38:262] / 255 - [0.485, 0.456, 0.406]
    want /= [0.229, 0.224, 0.225]
    assert images.shape == (1, 224, 224, 3) and labels.tolist() == [5]
    np.testing.assert_allclose(images[0], want, atol=1e-5)


def test_evaluation_keeps_the_aspect_and_the_order():
    """A ramp stays one: its slope shrinks with the shorter side alone."""
    for height, width in ((64, 128), (128, 64)):
        image = np.zeros((height, width, 3))
        image[..., 0] = np.arange(height)[:, None]
        image[..., 1] = np.arange(width)
        files = tf.data.Dataset.from_tensors((encode(image), 0))
        ((images, _),) = evaluation_stream(files, 8, 28).as_numpy_iterator()
        got = 255 * (images[0] * streaming.STD + streaming.MEAN)
        # 64 -> 32: every second pixel, around the middle.
        steps = 2 * (np.arange(28) - 13.5)
        want = np.broadcast_to(steps, (28, 28))
        np.testing.assert_allclose(
            got[..., 1], want + (width - 1) / 2, atol=0.02
        )
        np.testing.assert_allclose(
            got[..., 0], want.T + (height - 1) / 2, atol=0.02
        )
    stream = evaluation_stream(dataset(10), 4, 8)
    labels = [labels for _, labels in stream.as_numpy_iterator()]
    assert np.concatenate(labels).tolist() == list(range(10))


def test_grey_images_become_coloured():
    files = tf.data.Dataset.from_tensors((encode(np.zeros((9, 9, 1))), 0))
    for stream in (
        evaluation_stream(files, 1, 8),
        training_stream(files, 1, 0, size=8),
    ):
        (images,), _ = take(stream, 1)
        assert images.shape == (1, 8, 8, 3)
