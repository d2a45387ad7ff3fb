"""Rates that follow a schedule of the layer's own calls."""

import json

import keras
import numpy as np
import pytest

from keras_dropx.layers import (
    AugmentedDropout,
    BackwardDropout,
    ForwardDropout,
    Jumpout,
)

schedules = keras.optimizers.schedules
EARLY = schedules.PiecewiseConstantDecay([1], [0.5, 0.0])
N = 100_000
MAKERS = {
    "augmented": lambda rate, **kw: AugmentedDropout(rate, **kw),
    "independent": lambda rate, **kw: AugmentedDropout(
        rate, 0.3, "independent", **kw
    ),
    "forward": lambda rate, **kw: ForwardDropout(rate, **kw),
    "backward": lambda rate, **kw: BackwardDropout(rate, **kw),
    "jumpout": lambda rate, **kw: Jumpout(rate=rate, **kw),
}


@pytest.mark.few(2)
@pytest.mark.parametrize("name", MAKERS)
def test_rate_of_each_call_is_that_of_its_step(name, mode, vjp, assert_share):
    layer = MAKERS[name](
        schedules.PolynomialDecay(0.0, 3, 0.6), seed=1, noise_shape=(None,)
    )
    for expected in (0.0, 0.2, 0.4, 0.6, 0.6):
        y, dx = vjp(layer, np.ones(N, "float32"), mode=mode)
        dropped = (dx if name == "backward" else y) == 0
        if expected == 0:
            assert not dropped.any()
        else:
            assert_share(dropped.sum(), N, expected)


def test_backward_rate_and_sigma_may_be_schedules(vjp, assert_share):
    layer = AugmentedDropout(0.5, EARLY, seed=1)
    shares = []
    for _ in range(4):
        y, dx = vjp(layer, np.ones(N, "float32"))
        shares.append(np.mean(dx[y != 0] == 0))
    np.testing.assert_allclose(shares, [0.5, 0.5, 0, 0], atol=0.01)
    layer = Jumpout(sigma=EARLY, min_rate=0.1, adaptive=False, seed=1)
    for call in range(4):
        y, _ = vjp(layer, np.ones(N, "float32"))
        if call >= 2:
            assert_share((y == 0).sum(), N, 0.1)
        else:
            assert np.mean(y == 0) > 0.105


@pytest.mark.parametrize(
    "schedule, expected",
    [
        (schedules.PiecewiseConstantDecay([9], [-0.5, 0.0]), 0.0),
        (schedules.PiecewiseConstantDecay([9], [1.5, 0.0]), 1 - 2.0**-16),
    ],
)
def test_values_outside_are_clipped(schedule, expected, vjp):
    y, dx = vjp(AugmentedDropout(schedule, seed=1), np.ones(N, "float32"))
    assert np.isfinite(y).all() and np.isfinite(dx).all()
    kept = np.mean(y != 0)
    assert abs(kept - (1 - expected)) <= 4 * np.sqrt((1 - expected) / N)


def test_a_constant_schedule_drops_what_the_number_drops(vjp):
    constant = schedules.PiecewiseConstantDecay([10**6], [0.25, 0.0])
    x = np.ones(N, "float32")
    fixed = vjp(AugmentedDropout(0.25, 0.25, seed=3), x)
    scheduled = vjp(AugmentedDropout(constant, 0.25, seed=3), x)
    for mine, theirs in zip(fixed, scheduled, strict=True):
        # 0.25 · 2^16 is whole; the ratio's threshold is cut finer.
        assert np.mean((mine == 0) != (theirs == 0)) < 1e-4
        both = (mine != 0) & (theirs != 0)
        np.testing.assert_allclose(mine[both], theirs[both], rtol=1e-4)


@pytest.mark.parametrize("name", MAKERS)
def test_a_schedule_adds_no_variable_and_is_in_the_config(name):
    layer, fixed = MAKERS[name](EARLY), MAKERS[name](0.5)
    assert len(layer.variables) == len(fixed.variables) == 1
    config = json.loads(json.dumps(layer.get_config()))
    copy = layer.__class__.from_config(config)
    assert copy.rate.get_config() == EARLY.get_config()
    assert copy.get_config() == layer.get_config()


def test_stateless_call_counts_too():
    layer = AugmentedDropout(EARLY, seed=1)
    x = keras.ops.ones((1000,))
    state, shares = [v.value for v in layer.variables], []
    for _ in range(4):
        y, state = layer.stateless_call([], state, x, training=True)
        shares.append(np.mean(keras.ops.convert_to_numpy(y) == 0))
    np.testing.assert_allclose(shares, [0.5, 0.5, 0, 0], atol=0.1)
    state = keras.ops.convert_to_numpy(layer.variables[0].value)
    assert state[1] == 0
