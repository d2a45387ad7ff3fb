import keras
import numpy as np
import pytest

from keras_dropx.ops.masks import Noise
from keras_dropx.ops.split import split

X = np.array([[1.5, -2.0, 3.0], [0.25, 5.0, -1.0]], "float32")
DY = np.array([[1.0, 2.0, -3.0], [0.5, -7.0, 11.0]], "float32")
AHEAD = np.array([[True, False, True], [False, True, True]])
BACK = np.array([[False, False, True], [True, True, False]])


@pytest.mark.parametrize("forward_mask", [None, AHEAD, AHEAD[:, :1]])
@pytest.mark.parametrize("backward_mask", [None, BACK, BACK[:1]])
@pytest.mark.parametrize("scales", [(1.0, 1.0), (2.0, 1.0), (1.25, 4.0)])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_split_is_the_two_products(
    forward_mask, backward_mask, scales, as_tensor, mode, vjp
):
    ahead, back = scales
    if as_tensor:
        scales = [np.full((2, 1), scale, "float32") for scale in scales]
    noise = Noise(forward_mask, backward_mask, *scales)
    y, dx = vjp(lambda x: split(x, noise), X, DY, mode=mode)
    keep = True if forward_mask is None else forward_mask
    np.testing.assert_array_equal(y, np.where(keep, X * ahead, 0))
    keep = True if backward_mask is None else backward_mask
    np.testing.assert_array_equal(dx, np.where(keep, DY * back, 0))


def test_one_noise_gives_the_gradient_of_standard_dropout(vjp):
    noise = Noise(AHEAD, AHEAD, 4 / 3, 4 / 3)
    _, dx = vjp(lambda x: split(x, noise), X, DY)
    scale = np.float32(4 / 3)
    _, expected = vjp(lambda x: keras.ops.where(AHEAD, x * scale, 0.0), X, DY)
    np.testing.assert_array_equal(dx, expected)


def test_no_noise_returns_the_input_itself():
    assert split(X, Noise()) is X


def test_dropping_removes_what_is_not_finite(vjp):
    x = np.where(AHEAD, X, np.array([np.inf, np.nan, 1], "float32"))
    dy = np.where(AHEAD, DY, np.array([np.nan, -np.inf, 1], "float32"))
    y, dx = vjp(lambda x: split(x, Noise(AHEAD, AHEAD)), x, dy)
    np.testing.assert_array_equal(y, np.where(AHEAD, X, 0))
    np.testing.assert_array_equal(dx, np.where(AHEAD, DY, 0))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_kept_values_are_rounded_once_in_the_input_dtype(dtype, as_tensor, vjp):
    scale = np.float32(4 / 3) if as_tensor else 4 / 3
    x = keras.ops.cast(X, dtype)
    y, dx = vjp(lambda x: split(x, Noise(AHEAD, AHEAD, scale, scale)), x)
    assert y.dtype.name == dx.dtype.name == dtype
    rounded = keras.ops.cast(keras.ops.cast(4 / 3, dtype), "float32")
    rounded = keras.ops.convert_to_numpy(rounded)
    expected = np.where(AHEAD, X * rounded, 0)
    np.testing.assert_array_equal(y, expected.astype(y.dtype))


@pytest.mark.parametrize("as_tensor", [False, True])
def test_a_scale_beyond_float16_is_its_largest_number(as_tensor, vjp):
    scale = np.float32(65536) if as_tensor else 65536.0
    x = np.array([0, 0.5, 1], "float16")
    y, dx = vjp(lambda x: split(x, Noise(None, None, scale, scale)), x)
    np.testing.assert_array_equal(y, [0, 32752, 65504])
    np.testing.assert_array_equal(dx, [65504] * 3)
