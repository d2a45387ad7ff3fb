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
# Philox 4x32's.
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)


def next_seed(generator):
    seed = generator.next()
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return seed
    replica = tf.cast(context.replica_id_in_sync_group, seed.dtype)
    return seed + tf.stack([tf.zeros_like(replica), replica * 2**_SHIFT])


def step(seed):
    return seed[1] % 2**_SHIFT


def on_host(tensor):
    return tensor


def may_redraw():
    # On a CPU XLA, too, is faster with the operation (by 1.2 to 1.7).
    in_graph = not tf.executing_eagerly()
    return in_graph and bool(tf.config.get_visible_devices("GPU"))


def bits16(seed, stream, shape):
    key, counter = _key_and_counter(seed, stream)
    if not may_redraw():
        return _by_operation(key, counter, shape)
    return _under_xla(
        lambda: _by_element(key, counter, shape),
        lambda: _by_operation(key, counter, shape),
    )


def redraw16(words, seed, stream, shape):
    def redraw():
        return _by_element(*_key_and_counter(*_again(seed), stream), shape)

    return _under_xla(redraw, lambda: words)


def _under_xla(then, otherwise):
    # XLA compiles for no device of the list: the index is then its length.
    index = tf.raw_ops.DeviceIndex(device_names=["CPU", "GPU"])
    return tf.switch_case(index, [otherwise, otherwise, then])


def again(tensor):
    return _under_xla(lambda: _again(tensor)[0], lambda: tensor)


def _again(*tensors):
    # The one way to compute once more that XLA does not see through;
    # TensorFlow has no public name for it.
    from tensorflow.compiler.tf2xla.ops import gen_xla_ops

    return gen_xla_ops.xla_optimization_barrier(tensors)


def _by_operation(key, counter, shape):
    size = math.prod(shape)
    # One Philox word of 64 bits holds four of ours.
    drawn = _philox([(size + 3) // 4], key, counter)
    words = tf.bitcast(drawn, tf.uint16)
    if isinstance(size, int) and size % 4 == 0:
        return tf.reshape(words, shape)
    return tf.reshape(tf.reshape(words, [-1])[:size], shape)


def _by_element(key, counter, shape):
    # The same words, each found by its place. XLA does not fuse a program
    # for a GPU into the operation, but fuses this into what reads the words,
    # which then never lie in memory. 120 operations: not for graph mode.
    size = math.prod(shape)
    small = isinstance(size, int) and size <= 2**31
    place = tf.range(size, dtype=tf.int32 if small else tf.int64)
    # From one draw to the next XLA would keep what depends on the place
    # alone, 4 B an element, if it knew that all start at 0.
    key, counter, start = _again(key, counter, tf.constant(0, tf.int64))
    place = tf.reshape(place + tf.cast(start, place.dtype), shape)
    block = tf.cast(place // 8, tf.uint64)
    # Eight to a block of 128 bits. Blocks are far fewer than 2^56: no carry.
    x = [*_halves(counter[0] + block), *_halves(counter[1])]
    x = _philox_rounds(x, _halves(key[0]))
    part = tf.cast(place % 8, tf.uint32)
    odd, high = (tf.not_equal(part & bit, 0) for bit in (2, 4))
    word = tf.where(high, tf.where(odd, x[3], x[2]), tf.where(odd, x[1], x[0]))
    return tf.cast(_right(word, (part & 1) * 16) & 0xFFFF, tf.uint16)


def _philox_rounds(x, key):
    """Philox 4x32-10, the generator of the operation."""
    for number in range(10):
        if number:
            key = (
                key[0] + tf.constant(0x9E3779B9, tf.uint32),
                key[1] + tf.constant(0xBB67AE85, tf.uint32),
            )
        low0, high0 = _halves(_MULTIPLIERS[0] * tf.cast(x[0], tf.uint64))
        low1, high1 = _halves(_MULTIPLIERS[1] * tf.cast(x[2], tf.uint64))
        x = (
            tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(high1, x[1]), key[0]),
            low1,
            tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(high0, x[3]), key[1]),
            low0,
        )
    return x


def _halves(number):
    """The lower and the upper 32 of 64 bits."""
    upper = _right(number, tf.constant(32, tf.uint64))
    return tf.cast(number & 0xFFFFFFFF, tf.uint32), tf.cast(upper, tf.uint32)


def _right(number, count):
    return tf.bitwise.right_shift(number, count)


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
