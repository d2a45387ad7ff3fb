"""Raw random words. The only package below `models` that imports a framework.

A *word* is an unsigned integer, the same for one seed in eager mode, in graph
mode and under XLA, and whatever the compute dtype: a uniform number drawn in
bfloat16 has 128 levels and cannot resolve a rate of 0.001, 16 bits can, and
where they cannot, a second stream of 16 bits extends them.
"""

import importlib
from typing import Any, NamedTuple

import keras

# Streams of one seed. Each call of a layer advances its seed once and takes
# every further draw of that call from another stream.
FORWARD = 0
BACKWARD = 1
RATE = 2

_BACKENDS = ("tensorflow", "jax", "torch")

if keras.config.backend() not in _BACKENDS:
    raise ImportError(
        f"keras_dropx needs one of the Keras backends {', '.join(_BACKENDS)}. "
        f"Received: KERAS_BACKEND={keras.config.backend()}"
    )

_backend = importlib.import_module(f"{__name__}.{keras.config.backend()}")


# The longest rows whose elements share a word of the second stream. Two that
# share have a covariance of up to 2^-34; in a row of 4,096 its sum adds 0.24 %
# to the variance of the number dropped at a ratio of 1e-4.
LONGEST_ROW = 4096


class Words(NamedTuple):
    """Random words: `high` alone, or `high` extended below by `low`.

    Attributes:
        high: Integer tensor of values in 0..65535.
        low: Integer tensor of the same range and shape, or with 1 for the
            last axis, along which it broadcasts; or None.
    """

    high: Any
    low: Any = None


def next_seed(seed_generator):
    """Advances a `keras.random.SeedGenerator` once and returns its seed.

    The replicas of a distribution strategy get different seeds.
    """
    return _backend.next_seed(seed_generator)


def step(seed):
    """Returns how often the generator of a seed had been advanced before it.

    Args:
        seed: Seed tensor from `next_seed`.

    Returns:
        Scalar integer tensor.
    """
    return _backend.step(seed)


def words(seed, shape, stream=FORWARD, extended=False):
    """Draws independent uniform words.

    The second word matters for one element in 65,536, whose first word is
    that of the threshold. So the elements of a row of up to `LONGEST_ROW`
    share one: the law of each element is exact, and two of a row are dependent
    only where both are that one, with a probability of 2^-32.

    Args:
        seed: Seed tensor from `next_seed`.
        shape: Tuple of integers or scalar integer tensors.
        stream: `FORWARD`, `BACKWARD` or `RATE`. Streams of one seed are
            independent.
        extended: Whether 16 further bits extend each word. `high` does not
            depend on it.

    Returns:
        `Words` of the given shape.
    """
    high, *low = _draws(shape, stream, extended)
    return Words(
        _backend.bits16(seed, *high),
        _backend.bits16(seed, *low[0]) if extended else None,
    )


def redrawn(words, seed, shape, stream=FORWARD):
    """Returns the same words once more, for the backward pass.

    In a program for a GPU they are drawn again there, which takes less time
    than to keep and read them. Elsewhere they are kept.

    Args:
        words: What `words` returned for these arguments.
        seed: See `words`.
        shape: See `words`.
        stream: See `words`.

    Returns:
        `Words`: `words` itself where no program redraws.
    """
    if not _backend.may_redraw():
        return words
    draws = _draws(shape, stream, words.low is not None)
    parts = zip(words, draws, strict=False)
    return Words(
        *(_backend.redraw16(part, seed, *draw) for part, draw in parts)
    )


def on_host(tensor):
    """Returns a few numbers as Python's where the backend is eager.

    On PyTorch on a CPU an operation on one number takes as long as one on
    thousands, and Python has them for nothing. No gradient flows through.

    Args:
        tensor: Tensor of rank 0 or 1.

    Returns:
        Number or list of numbers; elsewhere `tensor` itself.
    """
    return _backend.on_host(tensor)


def _draws(shape, stream, extended):
    """Lists the backend's stream and the shape of each part of the words."""
    if not extended:
        return [(2 * stream, shape)]
    row = shape
    if shape and isinstance(shape[-1], int) and shape[-1] <= LONGEST_ROW:
        row = (*shape[:-1], 1)
    return [(2 * stream, shape), (2 * stream + 1, row)]
