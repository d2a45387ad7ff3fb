"""Augmentation of training batches, from stateless random numbers."""

import re

import tensorflow as tf

from keras_dropx.errors import invalid


def augmenter(name):
    """Returns the augmentation of a name.

    `"pad-4-crop"` surrounds each image with 4 pixels of 0 and cuts a window of
    the image's own size out of it, at one of the 9 x 9 places, each as likely;
    `"pad-4-crop-flip"` mirrors it left to right with probability 1/2 as well.
    The 4 may be any number (12 for the 96x96 images of STL-10). Digits must
    not be flipped. The 0 is the mean image where the images were centred
    before.

    Both names cut at the same places for one seed.

    Args:
        name: string, `"pad-<pixels>-crop"` or `"pad-<pixels>-crop-flip"`.

    Returns:
        A function of a batch of images, shape (batch, height, width,
        channels), and a seed, an integer tensor of shape (2,); it returns the
        augmented batch. It runs in graphs and gives the same for the same
        seed.

    Raises:
        ValueError: if there is no such augmentation.

    Reference:
        - He et al., 2016, "Deep Residual Learning for Image Recognition",
          section 4.2.
    """
    match = re.fullmatch(r"pad-(\d+)-crop(-flip)?", name)
    if not match:
        expected = "'pad-<pixels>-crop' or 'pad-<pixels>-crop-flip'"
        raise invalid("augmentation", expected, name)
    padding, flip = int(match[1]), match[2] is not None

    def augment(images, seed):
        batch, height, width, channels = images.shape
        places = tf.random.stateless_uniform(
            (2, batch, 1), seed, 0, 2 * padding + 1, tf.int32, alg="philox"
        )
        rows = places[0] + tf.range(height)
        columns = tf.tile(tf.range(width)[None], (batch, 1))
        if flip:
            coins = tf.random.stateless_uniform(
                (batch, 1),
                tf.random.fold_in(seed, 1, alg="philox"),
                0,
                2,
                tf.int32,
                alg="philox",
            )
            columns = tf.where(coins == 1, width - 1 - columns, columns)
        columns += places[1]
        sides = (padding, padding)
        padded = tf.pad(images, ((0, 0), sides, sides, (0, 0)))
        # One flat index for each pixel: half the time of two gathers.
        rows += tf.range(batch)[:, None] * (height + 2 * padding)
        pixels = rows[:, :, None] * (width + 2 * padding) + columns[:, None]
        return tf.gather(tf.reshape(padded, (-1, channels)), pixels)

    return augment
