import jax


def replica_seed(seed):
    return seed


def step(seed):
    return seed[1]


def bits16(seed, stream, shape):
    key = jax.random.wrap_key_data(seed, impl="threefry2x32")
    if stream:
        key = jax.random.fold_in(key, stream)
    return jax.random.bits(key, shape, "uint16")
