"""Batches of images too many, or too varied, for the memory: ImageNet.

The scale and aspect augmentation of Szegedy et al., 2015, "Going Deeper with
Convolutions", and the single centre crop; mean and standard deviation of the
channels of ImageNet's training images, scaled to 0..1, as `torchvision` and
GluonCV publish them beside their weights.
"""

import tensorflow as tf

from keras_dropx.experiments.data.batches import ORDER, permutation, stream

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
BLOCK = 8192
CROP = 2


def training_stream(dataset, batch_size, seed, first_step=0, size=224):
    """Returns an endless `tf.data.Dataset` of shuffled, augmented batches.

    From each image a window of 8 to 100 % of its area and an aspect ratio of
    3/4 to 4/3 is cut, resized (bilinear) to a square, and mirrored with
    probability 1/2; then the channels are standardised.

    Images are shuffled while they are still encoded, in blocks of 8,192
    neighbours, which TFDS has put next to each other at random. Two blocks are
    in memory, about 2 GB of ImageNet. As in `training_batches`, all follows
    from `seed`, the pass and the step, and batches run across the ends of
    passes. A start in the middle of a pass reads (but does not decode) what it
    leaves out.

    Args:
        dataset: `tf.data.Dataset` of known length of `(image, label)`, the
            images encoded: `load(..., decode=False)`.
        batch_size: integer.
        seed: integer.
        first_step: integer, number of batches left out at the start.
        size: integer, height and width in pixels. Defaults to 224.

    Returns:
        An infinite dataset of `(images, labels)`, the images float32 of shape
        (batch_size, size, size, 3).
    """
    length = int(dataset.cardinality())
    first_pass, left_out = divmod(first_step * batch_size, length)
    left_out, zero = tf.constant((left_out, 0), tf.int64)

    def one_pass(number):
        def shuffle(block, images, labels):
            key = tf.random.fold_in(
                stream(seed, ORDER, number), block, alg="philox"
            )
            order = permutation(tf.size(labels), key)
            return tf.gather(images, order), tf.gather(labels, order)

        blocks = dataset.batch(BLOCK).enumerate()
        blocks = blocks.map(lambda i, pair: shuffle(i, *pair)).prefetch(1)
        return blocks.unbatch().skip(
            tf.where(number == first_pass, left_out, zero)
        )

    def augment(index, pair):
        image, label = pair
        return random_crop(image, stream(seed, CROP, index), size), label

    return (
        tf.data.Dataset.counter(first_pass)
        .flat_map(one_pass)
        .enumerate(first_step * batch_size)
        .map(augment, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )


def evaluation_stream(dataset, batch_size, size=224):
    """Returns a `tf.data.Dataset` of batches in the stored order.

    The shorter side of each image becomes size · 256 / 224 pixels (bilinear);
    the centre is cut out and its channels are standardised.

    Args:
        dataset: as for `training_stream`.
        batch_size: integer; the last batch may be smaller.
        size: integer, height and width in pixels. Defaults to 224.
    """

    def cut(image, label):
        return centre_crop(image, size), label

    return (
        dataset.map(cut, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )


def random_crop(image, seed, size):
    """Returns a random window of an encoded image, resized and mirrored."""
    image = decode(image)
    start, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        tf.constant((0.0, 0.0, 1.0, 1.0), shape=(1, 1, 4)),
        seed,
        # Share of the box, which is the image, that the window must show.
        min_object_covered=0.0,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        max_attempts=10,
    )
    image = tf.slice(image, start, extent)
    image = tf.image.resize(image, (size, size), antialias=True)
    image = tf.image.stateless_random_flip_left_right(
        image, tf.random.fold_in(seed, 1, alg="philox")
    )
    return standardize(image)


def centre_crop(image, size):
    """Returns the centre of an encoded image, its shorter side resized."""
    image = decode(image)
    sides = tf.shape(image)[:2]
    wanted = tf.cast(round(size * 256 / 224), tf.float64)
    factor = wanted / tf.cast(tf.reduce_min(sides), tf.float64)
    sides = tf.cast(tf.round(tf.cast(sides, tf.float64) * factor), tf.int32)
    image = tf.image.resize(image, sides, antialias=True)
    top, left = tf.unstack((sides - size) // 2)
    image = tf.image.crop_to_bounding_box(image, top, left, size, size)
    return standardize(image)


def decode(image):
    """Returns an encoded image as a uint8 tensor (height, width, 3)."""
    return tf.io.decode_image(image, channels=3, expand_animations=False)


def standardize(image):
    """Returns an image of 0..255 with standardised channels."""
    return (image / 255 - tf.constant(MEAN)) / tf.constant(STD)
