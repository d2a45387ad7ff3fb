import numpy as np
import pytest
import tensorflow as tf

from keras_dropx.experiments.data.augmentation import augmenter


def windows(image, padding):
    """Every (window, mirrored window) of a padded image, by its place."""
    height, width, _ = image.shape
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            window = padded[top : top + height, left : left + width]
            yield (top, left), window, window[:, ::-1]


def places(images, augmented, padding):
    """The ((top, left), mirrored) that each augmented image came from."""
    found = []
    for image, got in zip(images, augmented, strict=True):
        matches = [
            (place, mirrored)
            for place, *both in windows(image, padding)
            for mirrored, window in enumerate(both)
            if np.array_equal(window, got)
        ]
        assert len(matches) == 1, matches
        found += matches
    return found


@pytest.fixture
def images():
    shape = (1200, 3, 5, 2)
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@pytest.mark.parametrize("flip", [False, True])
def test_every_window_is_as_likely(images, flip, assert_share):
    augment = augmenter("pad-2-crop-flip" if flip else "pad-2-crop")
    got = augment(images, tf.constant([3, 4], tf.int64)).numpy()
    assert got.shape == images.shape and got.dtype == "float32"
    found = places(images, got, 2)
    tops = np.bincount([place[0] for place, _ in found], minlength=5)
    lefts = np.bincount([place[1] for place, _ in found], minlength=5)
    assert len(tops) == len(lefts) == 5
    for count in (*tops, *lefts):
        assert_share(count, 1200, 1 / 5)
    assert len({place for place, _ in found}) == 25
    assert_share(sum(place[0] == place[1] for place, _ in found), 1200, 1 / 5)
    mirrored = sum(mirrored for _, mirrored in found)
    if flip:
        assert_share(mirrored, 1200, 1 / 2)
        low = sum(mirrored for place, mirrored in found if place[1] < 2)
        assert_share(low, np.sum(lefts[:2]), 1 / 2)
    else:
        assert mirrored == 0


def test_both_names_cut_at_the_same_places(images):
    seed = tf.constant([3, 4], tf.int64)
    plain = augmenter("pad-2-crop")(images[:50], seed).numpy()
    flipped = augmenter("pad-2-crop-flip")(images[:50], seed).numpy()
    mirrored = 0
    for one, other in zip(plain, flipped, strict=True):
        if not np.array_equal(one, other):
            np.testing.assert_array_equal(one, other[:, ::-1])
            mirrored += 1
    assert 10 < mirrored < 40


def test_seed_alone_decides(images):
    augment = augmenter("pad-4-crop-flip")
    compiled = tf.function(augment)
    one, same, other = (
        function(images, tf.constant(seed, tf.int64)).numpy()
        for function, seed in (
            (augment, (1, 2)),
            (compiled, (1, 2)),
            (augment, (1, 3)),
        )
    )
    np.testing.assert_array_equal(one, same)
    assert np.any(one != other)


def test_no_padding_is_the_identity(images):
    got = augmenter("pad-0-crop")(images, tf.constant([0, 0], tf.int64))
    np.testing.assert_array_equal(got, images)


def test_larger_padding_than_the_image(images):
    seed = tf.constant([0, 0], tf.int64)
    got = augmenter("pad-12-crop-flip")(images, seed).numpy()
    assert np.any(np.all(got == 0, axis=(1, 2, 3)))


@pytest.mark.parametrize(
    "name", ["flip", "pad-4", "pad--4-crop", "pad-4-crop-"]
)
def test_unknown_name(name):
    with pytest.raises(ValueError, match="pad-<pixels>-crop-flip'. Received"):
        augmenter(name)
