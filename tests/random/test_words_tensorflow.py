import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_dropx import random


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
