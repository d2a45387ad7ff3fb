import keras
import numpy as np
import pytest

from keras_dropx import random

BACKEND = keras.config.backend()
SHAPES = [(), (1,), (7,), (3, 5), (1001,), (2, 3, 4, 5), (0, 3)]
STREAMS = [random.FORWARD, random.BACKWARD, random.RATE]


def numpy_words(shape, stream=random.FORWARD, extended=True, seed=1, calls=1):
    generator = keras.random.SeedGenerator(seed)
    for _ in range(calls):
        drawn = random.next_seed(generator)
    words = random.words(drawn, shape, stream, extended)
    return [
        None if part is None else keras.ops.convert_to_numpy(part)
        for part in words
    ]


def correlation(first, second):
    first, second = (a.ravel() - 32767.5 for a in (first, second))
    return np.mean(first * second) / (65536**2 / 12)


def assert_uncorrelated(first, second):
    assert abs(correlation(first, second)) < 4 / np.sqrt(first.size)


@pytest.mark.parametrize("shape", SHAPES)
def test_words_are_the_same_in_every_mode(shape, mode, run):
    def draw(seed):
        return [random.words(seed, shape, s, extended=True) for s in STREAMS]

    seed = keras.random.SeedGenerator(3).next()
    words = run(draw, seed, mode=mode)
    row = (*shape[:-1], 1) if shape else ()
    for ours, expected in zip(words, draw(seed), strict=True):
        for part, wanted, size in zip(
            ours, expected, (shape, row), strict=True
        ):
            wanted = keras.ops.convert_to_numpy(wanted)
            assert part.shape == size
            np.testing.assert_array_equal(part, wanted)


def test_a_long_row_does_not_share_the_second_word():
    assert numpy_words((2, 4096))[1].shape == (2, 1)
    assert numpy_words((2, 4097))[1].shape == (2, 4097)


def test_words_do_not_depend_on_the_dtype_policy():
    expected = numpy_words((100,))
    keras.config.set_dtype_policy("mixed_bfloat16")
    for part, wanted in zip(numpy_words((100,)), expected, strict=True):
        np.testing.assert_array_equal(part, wanted)


def test_extension_leaves_the_high_words_as_they_are():
    high, low = numpy_words((1001,), extended=False)
    assert low is None
    np.testing.assert_array_equal(numpy_words((1001,))[0], high)


@pytest.mark.parametrize("stream", STREAMS)
def test_words_are_uniform_on_all_65536_levels(stream):
    for part in numpy_words((2_000_000,), stream):
        counts = np.bincount(part, minlength=65536)
        assert len(counts) == 65536
        expected = part.size / 65536
        chi_square = np.sum((counts - expected) ** 2) / expected
        assert abs(chi_square - 65535) < 4 * np.sqrt(2 * 65535)


@pytest.mark.parametrize("stream", STREAMS)
def test_neighbouring_words_are_uncorrelated(stream):
    for part in numpy_words((2500, 800), stream):
        flat = part.ravel()
        for lag in range(1, 9):
            assert_uncorrelated(flat[lag:], flat[:-lag])
        assert_uncorrelated(part[1:], part[:-1])


def test_streams_calls_and_seeds_are_uncorrelated():
    shape = (1_000_000,)
    drawn = [part for s in STREAMS for part in numpy_words(shape, s)]
    drawn += [part for s in STREAMS for part in numpy_words(shape, s, calls=2)]
    drawn += numpy_words(shape, seed=2)
    for i, first in enumerate(drawn):
        for second in drawn[:i]:
            assert_uncorrelated(first, second)


@pytest.mark.parametrize("value", [3, 0.25, [1, 65_535]])
def test_numbers_on_the_host_are_those_of_the_tensor(value):
    numbers = random.on_host(keras.ops.convert_to_tensor(value))
    assert isinstance(numbers, type(value)) == (BACKEND == "torch")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(numbers), value)


def test_next_seed_advances_the_generator_once():
    generator = keras.random.SeedGenerator(1)
    before = keras.ops.convert_to_numpy(generator.state)
    random.next_seed(generator)
    after = keras.ops.convert_to_numpy(generator.state)
    np.testing.assert_array_equal(after - before, [0, 1])
