import math

import tensorflow as tf

# A Keras seed is two int64 numbers, [seed, counter], each below 2**32. The
# stream and the replica go above bit 48, so no two of them share a seed.
# Philox scrambles all 128 bits into its key and counter.
_SHIFT = 48


def replica_seed(seed):
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return seed
    replica = tf.cast(context.replica_id_in_sync_group, seed.dtype)
    return seed + tf.stack([tf.zeros_like(replica), replica * 2**_SHIFT])


def step(seed):
    return seed[1] % 2**_SHIFT


def bits16(seed, stream, shape):
    if stream:
        seed = seed + tf.constant([stream * 2**_SHIFT, 0], seed.dtype)
    size = math.prod(shape)
    # alg: with "auto_select" XLA on CPU repeats the key derivation for every
    # element. uint64: one Philox word holds four of ours.
    drawn = tf.random.stateless_uniform(
        [(size + 3) // 4], seed, None, None, tf.uint64, alg="philox"
    )
    flat = tf.reshape(tf.bitcast(drawn, tf.uint16), [-1])
    return tf.reshape(flat[:size], shape)
