import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def next_seed(generator):
    return generator.next()


def step(seed):
    return seed[1]


def on_host(tensor):
    return tensor


def may_redraw():
    return True


# Compiled also in eager mode: what is traced is chosen when it is lowered for
# a device.
@functools.partial(jax.jit, static_argnums=(1, 2), inline=True)
def bits16(seed, stream, shape):
    # A block of ThreeFry, 64 bits, has the words of four neighbours. A CPU
    # draws the blocks and cuts them. On a GPU each element finds its word by
    # its place: that is fused into the loops that read the words, which then
    # never lie in memory, and each device makes those of its own shard.
    return lax.platform_dependent(
        seed,
        cpu=functools.partial(_by_block, stream=stream, shape=shape),
        default=functools.partial(_by_element, stream=stream, shape=shape),
    )


@functools.partial(jax.jit, static_argnums=(2, 3), inline=True)
def redraw16(words, seed, stream, shape):
    # A CPU keeps the words; a GPU draws them anew. Without the barrier XLA
    # would see that they are the same, and keep them too.
    return lax.platform_dependent(
        words,
        seed,
        cpu=lambda words, seed: words,
        default=lambda words, seed: _by_element(
            lax.optimization_barrier(seed), stream, shape
        ),
    )


def _by_block(seed, stream, shape):
    size = math.prod(shape)
    blocks = _threefry(seed, stream, *_count(-(-size // 4)))
    words = lax.bitcast_convert_type(jnp.stack(blocks, axis=-1), "uint16")
    return jnp.reshape(jnp.reshape(words, -1)[:size], shape)


def _by_element(seed, stream, shape):
    high, low = (jnp.reshape(n, shape) for n in _count(math.prod(shape)))
    block = (high >> 2, (high << 30) | (low >> 2))
    first, second = _threefry(seed, stream, *block)
    word = jnp.where(low & 2, second, first)
    return (word >> ((low & 1) << 4)).astype("uint16")


def _count(size):
    """0, 1, …, size - 1 in two halves of 32 bits."""
    if not isinstance(size, int) or size <= 2**32:
        low = lax.iota("uint32", size)
        return jnp.zeros_like(low), low
    with jax.enable_x64(True):
        count = lax.iota("uint64", size)
        return tuple(
            lax.convert_element_type(part, "uint32")
            for part in (count >> jnp.uint64(32), count)
        )


def _threefry(seed, stream, high, low):
    """ThreeFry-2x32 of (stream and `high`, `low`), in 20 rounds.

    `jax.random`'s is a loop of five steps on the CPU, each of which reads and
    writes five arrays.
    """
    key = jnp.asarray(seed, "uint32")
    keys = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(0x1BD11BDA))
    # Streams are a few; the blocks of one are at most 2^56.
    first = (jnp.uint32(stream) | (high << 8)) + keys[0]
    second = low + keys[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            first = first + second
            second = (second << rotation) | (second >> (32 - rotation))
            second = second ^ first
        first = first + keys[(group + 1) % 3]
        second = second + keys[(group + 2) % 3] + jnp.uint32(group + 1)
    return first, second
