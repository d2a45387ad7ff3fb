import jax
import keras
import numpy as np
import pytest
from jax.extend.random import threefry2x32_p

from keras_dropx import random
from keras_dropx.random import jax as backend

SEED = np.array([7, 2**32 - 1], "uint32")
# How a CPU and how a GPU makes the words.
WAYS = [backend._by_block, backend._by_element]


@pytest.mark.parametrize("way", WAYS)
def test_four_neighbours_have_the_words_of_one_block(way):
    count = np.arange(251, dtype="uint32")
    key, stream = (np.full_like(count, n) for n in (SEED[0], 3))
    blocks = threefry2x32_p.bind(key, np.full_like(key, SEED[1]), stream, count)
    expected = np.stack(blocks, axis=-1).view("uint16").ravel()
    words = jax.jit(way, static_argnums=(1, 2))(SEED, 3, (7, 11, 13))
    np.testing.assert_array_equal(np.ravel(words), expected[:1001])


def last_words(way, size, count):
    """The last words of a draw; what nobody reads is not made."""

    def draw(seed):
        return way(seed, 2, (size,))[-count:]

    compiled = jax.jit(draw).lower(SEED).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 2**20
    return np.asarray(compiled(SEED))


def test_the_place_goes_on_past_32_bits():
    # Were it to wrap, these would be the first words.
    words = last_words(backend._by_element, 2**32 + 64, 128)
    count = np.arange(2**30 - 16, 2**30 + 16, dtype="uint32")
    key, stream = (np.full_like(count, n) for n in (SEED[0], 2))
    blocks = threefry2x32_p.bind(key, np.full_like(key, SEED[1]), stream, count)
    expected = np.stack(blocks, axis=-1).view("uint16").ravel()
    np.testing.assert_array_equal(words, expected)


def test_the_number_of_the_block_goes_on_past_32_bits():
    words = last_words(backend._by_element, 2**34 + 64, 128)
    count = np.arange(-16, 16).astype("uint32")
    stream = np.where(count < 16, 2 | 1 << 8, 2).astype("uint32")
    key = np.full_like(count, SEED[0])
    blocks = threefry2x32_p.bind(key, np.full_like(key, SEED[1]), stream, count)
    expected = np.stack(blocks, axis=-1).view("uint16").ravel()
    np.testing.assert_array_equal(words, expected)
    high, low = jax.jit(lambda: [n[-2:] for n in backend._count(2**32 + 1)])()
    np.testing.assert_array_equal([high, low], [[0, 1], [2**32 - 1, 0]])


def test_the_words_are_drawn_again_on_a_gpu_only():
    def step(seed):
        words = random.words(seed, (8, 16), extended=True)
        return words, random.redrawn(words, seed, (8, 16))

    kept, drawn = step(SEED)
    for part, again in zip(kept, drawn, strict=True):
        np.testing.assert_array_equal(part, again)
    traced = jax.jit(step).trace(SEED)
    cpu, gpu = (
        traced.lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "cuda")
    )
    assert cpu.count("optimization_barrier") == 0
    assert gpu.count("stablehlo.optimization_barrier") == 2


def test_eager_calls_compile_once():
    generator = keras.random.SeedGenerator(1)
    shape = (5, 77)
    random.words(random.next_seed(generator), shape)
    before = backend.bits16._cache_size()
    for _ in range(3):
        random.words(random.next_seed(generator), shape)
    assert backend.bits16._cache_size() == before
