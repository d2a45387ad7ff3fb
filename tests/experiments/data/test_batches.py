import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_dropx.experiments.data.batches import training_batches


def numbers(count):
    """Images that each hold their own number, and labels that repeat it."""
    labels = np.arange(count)
    images = np.broadcast_to(labels[:, None, None, None], (count, 2, 2, 1))
    return images.astype("float32"), labels


def take(dataset, count):
    batches = list(itertools.islice(dataset.as_numpy_iterator(), count))
    assert len(batches) == count
    for images, labels in batches:
        np.testing.assert_array_equal(images[:, 0, 0, 0], labels)
    return np.array([labels for _, labels in batches])


@pytest.mark.parametrize(
    ("count", "batch_size"), [(10, 5), (10, 4), (7, 16), (1, 3)]
)
def test_each_pass_has_every_image_once(count, batch_size):
    labels = take(training_batches(*numbers(count), batch_size, 0), 30)
    assert labels.shape == (30, batch_size)
    passes = labels.ravel()[: 30 * batch_size // count * count]
    passes = passes.reshape(-1, count)
    np.testing.assert_array_equal(
        np.sort(passes), np.tile(np.arange(count), (len(passes), 1))
    )
    if count > 1:
        assert len({tuple(order) for order in passes}) > 1


def test_shapes_are_static_and_batches_endless():
    dataset = training_batches(*numbers(10), 4, 0)
    images, labels = dataset.element_spec
    assert images.shape == (4, 2, 2, 1) and images.dtype == "float32"
    assert labels.shape == (4,) and labels.dtype == "int64"
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY


@pytest.mark.few(5)
@pytest.mark.parametrize(
    ("count", "batch_size"), [(10, 5), (10, 4), (7, 16), (300, 100)]
)
@pytest.mark.parametrize("first_step", [1, 2, 5, 6, 13])
def test_start_in_the_middle(count, batch_size, first_step):
    whole = take(training_batches(*numbers(count), batch_size, 3), 20)
    rest = take(
        training_batches(*numbers(count), batch_size, 3, first_step),
        20 - first_step,
    )
    np.testing.assert_array_equal(rest, whole[first_step:])


def test_augmentation_of_a_start_in_the_middle():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(10, 6, 6, 3)).astype("float32"), np.arange(10)

    def take(first_step, count):
        batches = training_batches(x, y, 4, 3, first_step, "pad-1-crop-flip")
        iterator = batches.as_numpy_iterator()
        return [images for images, _ in itertools.islice(iterator, count)]

    whole, rest = take(0, 9), take(4, 5)
    np.testing.assert_array_equal(rest, whole[4:])
    # The words of a step are its own.
    same_images = np.zeros((4, 6, 6, 3), "float32") + x[0]
    batches = training_batches(same_images, y[:4], 4, 3, 0, "pad-1-crop-flip")
    first, second = itertools.islice(batches.as_numpy_iterator(), 2)
    assert np.any(first[0] != second[0])


def test_order_of_a_pass_is_a_fair_permutation(assert_share):
    """Of 3 images: six orders, 3,000 passes; neighbours independent."""
    labels = take(training_batches(*numbers(3), 3000, 1), 3).reshape(-1, 3)
    words = labels @ [9, 3, 1]
    orders, counts = np.unique(words, return_counts=True)
    assert len(orders) == 6
    for count in counts:
        assert_share(count, 3000, 1 / 6)
    assert_share(np.sum(words[1:] == words[:-1]), 2999, 1 / 6)


def test_only_the_seed_matters():
    def order(seed, global_seed):
        keras.utils.set_random_seed(global_seed)
        return take(training_batches(*numbers(50), 10, seed), 10)

    np.testing.assert_array_equal(order(0, 1), order(0, 2))
    assert np.any(order(0, 1) != order(1, 1))
    order(2**40, 0)


def test_order_does_not_depend_on_augmentation_or_machine():
    """A change of these numbers breaks the resuming of older runs."""
    images, labels = numbers(10)
    plain = take(training_batches(images, labels, 5, 7), 4)
    cropped = training_batches(images, labels, 5, 7, 0, "pad-4-crop-flip")
    for batch, (_, augmented) in zip(plain, cropped, strict=False):
        np.testing.assert_array_equal(batch, augmented)
    assert plain.ravel().tolist() == [
        *[9, 5, 3, 1, 7, 0, 4, 6, 8, 2],
        *[8, 9, 1, 0, 5, 7, 3, 4, 6, 2],
    ]


def test_unknown_augmentation_fails_at_once():
    with pytest.raises(ValueError, match="Received: augmentation='flip'"):
        training_batches(*numbers(3), 3, 0, augmentation="flip")


def test_resumed_fit_is_the_uninterrupted_one():
    def train(*spans):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((2, 2, 1)), keras.layers.Flatten()]
            + [keras.layers.Dense(1)]
        )
        model.compile("sgd", "mse")
        x, y = numbers(10)
        for first, last in spans:
            batches = training_batches(
                x / 10, y / 10, 4, 5, 3 * first, "pad-1-crop"
            )
            model.fit(
                batches,
                initial_epoch=first,
                epochs=last,
                steps_per_epoch=3,
                shuffle=False,
                verbose=0,
            )
        return model.get_weights()

    for one, other in zip(train((0, 3)), train((0, 1), (1, 3)), strict=True):
        np.testing.assert_array_equal(one, other)
