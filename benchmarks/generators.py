"""Times random generators that fill an array with 16-bit words.

"write" stores as many words and draws none: the limit. "library" is
`keras_dropx.random.words`. The others are what the backend offers; "cut" are
drawn in wider words, each of which gives several.
"""

import keras

from benchmarks import device, timing
from keras_dropx import random

SEED = (1, 2)


def subjects(mode):
    """Returns a dict of names and functions of (seed, number of words)."""
    if device.BACKEND == "jax":
        return {"write": _write, "library": _library, **_jax()}
    return {"write": _write, "library": _library, **_tensorflow(mode)}


def measure(names, size, mode, rounds):
    """Times generators.

    Args:
        names: Names of the subjects.
        size: Integer, the number of words.
        mode: "graph" or "xla".
        rounds: Integer, how often each is timed.

    Returns:
        Dict of names and `timing.Timings`.
    """
    draws = subjects(mode)
    calls = {name: _compiled(draws[name], size, mode) for name in names}
    return timing.interleave(calls, device.synchronize, rounds)


def _compiled(draw, size, mode):
    seed = keras.random.SeedGenerator(1).next()

    def words(seed):
        return draw(seed, size)

    if device.BACKEND == "jax":
        import jax

        words = jax.jit(words)
    else:
        import tensorflow as tf

        words = tf.function(words, jit_compile=mode == "xla")
    return lambda: words(seed)


def _write(seed, size):
    word = keras.ops.cast(seed[0], "uint16")
    return keras.ops.broadcast_to(word, (size,))


def _library(seed, size):
    return random.words(seed, (size,)).high


def _jax():
    import jax

    def bits(implementation, width):
        def draw(seed, size):
            if implementation == "rbg":
                seed = jax.numpy.concatenate([seed, seed])
            key = jax.random.wrap_key_data(seed, impl=implementation)
            drawn = jax.random.bits(key, (size * 16 // width,), f"uint{width}")
            return jax.lax.bitcast_convert_type(drawn, "uint16").ravel()

        return draw

    def philox(width):
        def draw(seed, size):
            _, drawn = jax.lax.rng_bit_generator(
                jax.numpy.concatenate([seed, seed]),
                (size * 16 // width,),
                f"uint{width}",
                jax.lax.RandomAlgorithm.RNG_PHILOX,
            )
            return jax.lax.bitcast_convert_type(drawn, "uint16").ravel()

        return draw

    def threefry_blocks(seed, size):
        counts = jax.lax.iota("uint32", size // 2)
        from jax.extend.random import threefry_2x32

        drawn = threefry_2x32(seed, counts)
        return jax.lax.bitcast_convert_type(drawn, "uint16").ravel()

    return {
        "threefry": bits("threefry2x32", 16),
        "threefry_cut": bits("threefry2x32", 32),
        "threefry_blocks_cut": threefry_blocks,
        "rbg": bits("rbg", 16),
        "rbg_cut": bits("rbg", 32),
        "philox": philox(16),
        "philox_cut": philox(32),
    }


def _tensorflow(mode):
    import tensorflow as tf

    def draws(algorithm, dtype):
        def draw(seed, size):
            drawn = tf.random.stateless_uniform(
                [size * 2 // dtype.size], seed, None, None, dtype, alg=algorithm
            )
            return tf.bitcast(drawn, tf.uint16)

        return draw

    draws_of = {
        "philox_32": draws("philox", tf.uint32),
        "philox_64": draws("philox", tf.uint64),
    }
    if mode == "xla":  # Graph mode has no ThreeFry on the CPU.
        draws_of["threefry_32"] = draws("threefry", tf.uint32)
        draws_of["threefry_64"] = draws("threefry", tf.uint64)
    return draws_of
