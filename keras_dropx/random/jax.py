import math

import jax
import jax.numpy as jnp
from jax.extend.random import threefry2x32_p


def replica_seed(seed):
    return seed


def step(seed):
    return seed[1]


def bits16(seed, stream, shape):
    # `jax.random.bits` spends a block of 64 bits on each word of 16. Here a
    # block gives four words of one row: the leading axes stay as they are, so
    # that a sharded input gets its words where it is.
    *lead, last = shape or (1,)
    blocks = (*lead, -(-last // 4))
    count = jnp.zeros(blocks, "uint32")
    for axis in range(len(blocks)):
        stride = math.prod(blocks[axis + 1 :]) % 2**32
        index = jax.lax.broadcasted_iota("uint32", blocks, axis)
        count += index * jnp.uint32(stride)
    key = jnp.asarray(seed, "uint32")
    drawn = threefry2x32_p.bind(
        *jnp.broadcast_arrays(key[0], key[1], jnp.uint32(stream), count)
    )
    parts = [part for word in drawn for part in (word >> 16, word & 0xFFFF)]
    words = jnp.concatenate(parts, axis=-1)[..., :last]
    return jnp.reshape(words, shape).astype("uint16")
