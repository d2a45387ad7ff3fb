"""Training batches whose order can be taken up at any step."""

import tensorflow as tf

from keras_dropx.experiments.data.augmentation import augmenter

ORDER, AUGMENTATION = 0, 1


def training_batches(x, y, batch_size, seed, first_step=0, augmentation=None):
    """Returns an endless `tf.data.Dataset` of shuffled batches.

    Each pass over the images has an order of its own, which follows from
    `seed` and the number of the pass; what is drawn for augmentation follows
    from `seed` and the number of the step. Global seeds play no part, so a
    training that starts at step s sees the batches that one from step 0 sees
    from there on. Batches run across the ends of passes: all are full.

    Args:
        x: array of n images, shape (n, height, width, channels).
        y: array of n labels.
        batch_size: integer, may exceed n.
        seed: integer, of the order and of the augmentation.
        first_step: integer, number of batches left out at the start.
        augmentation: string, see `augmenter`, or None.

    Returns:
        An infinite dataset of `(images, labels)` with static shapes.

    Raises:
        ValueError: if there is no such augmentation.
    """
    augment = augmenter(augmentation) if augmentation else None
    size = len(x)
    first_pass, left_out = divmod(first_step * batch_size, size)
    # A pipeline runs on the CPU: data on a GPU would be copied back and forth.
    with tf.device("CPU"):
        x, y = tf.convert_to_tensor(x), tf.convert_to_tensor(y)

    def order(number):
        start = tf.where(number == first_pass, left_out, 0)
        return permutation(size, stream(seed, ORDER, number))[start:]

    def batch(step, indices):
        images = tf.gather(x, indices)
        if augment:
            images = augment(images, stream(seed, AUGMENTATION, step))
        return images, tf.gather(y, indices)

    # To end the autotuning of a pipeline can take longer than an epoch.
    options = tf.data.Options()
    options.autotune.enabled = False
    return (
        tf.data.Dataset.counter(first_pass)
        .map(order)
        .rebatch(batch_size, drop_remainder=True)
        .enumerate(first_step)
        .map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .apply(
            tf.data.experimental.assert_cardinality(
                tf.data.INFINITE_CARDINALITY
            )
        )
        .prefetch(2)
        .with_options(options)
    )


def stream(seed, kind, number):
    """Returns the seed of one of the draws of a training, shape (2,).

    Args:
        seed: integer, of the training.
        kind: integer, what is drawn.
        number: int64 scalar, of the draw.
    """
    key = tf.constant((seed, kind), tf.int64)
    return tf.random.fold_in(key, number, alg="philox")


def permutation(size, seed):
    """Returns the numbers below `size` in an order that `seed` decides."""
    words = tf.random.stateless_uniform(
        (size,), seed, None, None, tf.int64, alg="philox"
    )
    return tf.argsort(words)
