import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_dropx import random
from keras_dropx.random import tensorflow as backend


@pytest.mark.parametrize("seed", [[1, 0], [2**32 - 1, 2**32 - 1]])
def test_forward_words_are_cut_from_a_draw_of_tensorflow(seed, mode, run):
    seed = tf.constant(seed, tf.int64)
    drawn = tf.random.stateless_uniform(
        [250], seed, None, None, tf.uint64, alg="philox"
    )
    expected = tf.reshape(tf.bitcast(drawn, tf.uint16), [-1])
    for size in (1000, 999, 1):
        high = run(
            lambda seed, size=size: random.words(seed, (size,)).high,
            seed,
            mode=mode,
        )
        np.testing.assert_array_equal(high, expected[:size])


def test_no_two_streams_and_no_two_calls_share_a_block():
    generator = keras.random.SeedGenerator(1)
    blocks = []
    for _ in range(3):
        seed = random.next_seed(generator)
        for stream in (random.FORWARD, random.BACKWARD, random.RATE):
            for part in random.words(seed, (4 * 4097,), stream, extended=True):
                words = part.numpy().reshape(-1, 4).astype("uint64")
                blocks.append(words @ 2 ** np.array([0, 16, 32, 48], "uint64"))
    blocks = np.concatenate(blocks)
    assert len(np.unique(blocks)) == len(blocks) == 3 * 6 * 4097


@pytest.fixture
def gpu(monkeypatch):
    """Functions are traced as if a GPU were visible."""
    monkeypatch.setattr(
        backend, "may_redraw", lambda: not tf.executing_eagerly()
    )


SHAPES = [(), (1,), (7,), (3, 5), (1001,), (2, 3, 4, 5), (0, 3)]


@pytest.mark.few(2)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_gpu_has_the_words_of_a_cpu(shape, jit_compile, gpu):
    def step(seed):
        words = random.words(seed, shape, random.RATE, extended=True)
        return words, random.redrawn(words, seed, shape, random.RATE)

    seed = tf.constant([2**32 - 1, 2**32 - 1], tf.int64)
    drawn = tf.function(step, jit_compile=jit_compile)(seed)
    expected = random.words(seed, shape, random.RATE, extended=True)
    for words in drawn:
        for part, wanted in zip(words, expected, strict=True):
            np.testing.assert_array_equal(part, wanted)


def test_only_xla_draws_by_element_and_again(gpu):
    @tf.function
    def step(seed):
        words = random.words(seed, (64, 32))
        return words.high, random.redrawn(words, seed, (64, 32)).high

    seed = tf.constant([1, 2], tf.int64)
    compiled = tf.function(step, jit_compile=True)
    text = compiled.experimental_get_compiler_ir(seed)
    # The key is drawn by the operation, the words are not.
    assert "u64[512]" not in text(stage="hlo")
    assert "opt-barrier" in text(stage="hlo")
    assert "conditional" not in text(stage="optimized_hlo")
    first, second = step(seed)
    np.testing.assert_array_equal(first, second)


def test_an_element_finds_its_block_past_32_bits():
    seed = tf.constant([1, 2], tf.int64)
    key, counter = backend._key_and_counter(seed, 0)

    @tf.function(jit_compile=True)
    def last_words():
        return backend._by_element(key, counter, (2**35 + 64,))[-128:]

    # The operation, started at the same block.
    blocks = (2**35 - 64) // 8
    start = tf.concat([counter[:1] + blocks, counter[1:]], 0)
    expected = backend._by_operation(key, start, (128,))
    np.testing.assert_array_equal(last_words(), expected)
