import numpy as np
import pytest

from keras_dropx.layers import AugmentedDropout, ForwardDropout


@pytest.mark.parametrize("rate", [-0.1, 1, float("nan"), False, "0.5", None])
def test_a_rate_outside_0_to_1_is_refused(rate):
    with pytest.raises(ValueError) as error:
        ForwardDropout(rate)
    assert str(error.value) == (
        "Invalid value received for argument `rate`. Expected a float value "
        f"between 0 and 1 (1 excluded). Received: rate={rate!r}"
    )


def test_rate_0_is_the_identity(vjp):
    x = np.array([1.0, -2.0, 0.0], "float32")
    y, dx = vjp(ForwardDropout(0.0), x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(dx, [1, 1, 1])


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 1e-3])
def test_the_forward_is_masked_and_the_gradient_is_not(rate, vjp, assert_share):
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(2, 1_000_000)).astype("float32")
    y, dx = vjp(ForwardDropout(rate, seed=1), x, dy)
    np.testing.assert_array_equal(dx, dy)
    assert_share(np.count_nonzero(y == 0), x.size, rate)
    scale = np.float32(1 / (1 - np.round(rate * 2**32) / 2**32))
    np.testing.assert_allclose(y[y != 0], (x * scale)[y != 0], rtol=2e-5)


@pytest.mark.parametrize("rescale", ["mean", "variance", "batchnorm", 0.3])
def test_it_drops_and_scales_as_augmented_dropout_does(rescale, vjp):
    x = np.random.default_rng(0).normal(size=(50, 21)).astype("float32")
    y, _ = vjp(ForwardDropout(0.3, rescale, seed=3), x)
    expected, _ = vjp(AugmentedDropout(0.3, 1e-4, rescale=rescale, seed=3), x)
    np.testing.assert_array_equal(y, expected)


def test_it_is_the_independent_coupling_without_backward_rate(vjp):
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(2, 50, 21)).astype("float32")
    independent = AugmentedDropout(0.3, coupling="independent", seed=3)
    for ours, theirs in zip(
        vjp(ForwardDropout(0.3, seed=3), x, dy),
        vjp(independent, x, dy),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)
