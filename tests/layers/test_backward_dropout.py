import numpy as np
import pytest

from keras_dropx.layers import AugmentedDropout, BackwardDropout


@pytest.mark.parametrize("rate", [-0.1, 1, float("nan"), False, "0.5", None])
def test_a_rate_outside_0_to_1_is_refused(rate):
    with pytest.raises(ValueError) as error:
        BackwardDropout(rate)
    assert str(error.value) == (
        "Invalid value received for argument `rate`. Expected a float value "
        f"between 0 and 1 (1 excluded). Received: rate={rate!r}"
    )


def test_rescale_is_no_argument():
    with pytest.raises((TypeError, ValueError), match="rescale"):
        BackwardDropout(0.5, rescale="mean")


@pytest.mark.parametrize("rate", [0.0, 1e-4, 2e-4, 0.01, 0.1, 0.25, 0.5])
def test_the_gradient_is_masked_and_the_forward_is_not(
    rate, normal, vjp, assert_share
):
    y, dx = vjp(BackwardDropout(rate, seed=1), normal, normal)
    assert np.array_equal(y, normal)
    assert_share(np.count_nonzero(dx == 0), normal.size, rate)
    scales = (dx / normal)[dx != 0]
    tolerance = 1e-3 * rate / (1 - rate) + 3e-7
    np.testing.assert_allclose(scales, 1 / (1 - rate), rtol=tolerance)


@pytest.mark.parametrize("rate", [1e-4, 0.3])
def test_it_drops_the_units_that_dropout_of_its_seed_drops(rate, vjp):
    x = np.ones((100, 101), "float32")
    _, dx = vjp(BackwardDropout(rate, seed=3), x)
    _, expected = vjp(AugmentedDropout(rate, seed=3), x)
    np.testing.assert_array_equal(dx, expected)
