import math

import tensorflow as tf

# A Keras seed is two int64 numbers, [seed, counter], each below 2**32. The
# replica goes above bit 48, so no two of them share a seed. Philox scrambles
# all 128 bits into its key and the upper half of its counter; the stream goes
# above bit 56 of the lower half, which counts the blocks of a draw.
_SHIFT = 48
_STREAM = 56
_PHILOX = tf.random.Algorithm.PHILOX.value
# The key under which `tf.random` scrambles a seed.
_SCRAMBLE = 0x02461E293EC8F720


def replica_seed(seed):
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return seed
    replica = tf.cast(context.replica_id_in_sync_group, seed.dtype)
    return seed + tf.stack([tf.zeros_like(replica), replica * 2**_SHIFT])


def step(seed):
    return seed[1] % 2**_SHIFT


def bits16(seed, stream, shape):
    size = math.prod(shape)
    # One Philox word of 64 bits holds four of ours.
    drawn = _philox([(size + 3) // 4], *_key_and_counter(seed, stream))
    words = tf.bitcast(drawn, tf.uint16)
    if isinstance(size, int) and size % 4 == 0:
        return tf.reshape(words, shape)
    return tf.reshape(tf.reshape(words, [-1])[:size], shape)


def _key_and_counter(seed, stream):
    # Stream 0 is `tf.random.stateless_uniform(…, alg="philox")` in a fifth of
    # its operations, whose fixed cost is what a small layer pays in graph
    # mode; TensorFlow derives what the streams of a seed share only once.
    # (With "auto_select" XLA on CPU repeats the derivation for each element.)
    mixed = _philox(
        [2], tf.constant([_SCRAMBLE], tf.uint64), tf.cast(seed, tf.uint64)
    )
    key, high = tf.split(mixed, 2)
    low = tf.constant([stream << _STREAM], tf.uint64)
    return key, tf.concat([low, high], 0)


def _philox(shape, key, counter):
    return tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=shape, key=key, counter=counter, alg=_PHILOX, dtype=tf.uint64
    )
