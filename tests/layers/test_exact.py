"""Small nets whose masks can all be enumerated, and closed forms."""

import itertools

import numpy as np
import pytest

from keras_dropx.layers import AugmentedDropout, BackwardDropout, ForwardDropout

UNITS = 6
ROWS = 200_000
RATE, RATIO = 0.4, 0.3
H = np.array([0.5, -1.0, 2.0, 0.3, 1.5, -0.7])
W = np.array([0.4, 0.3, -0.2, 1.0, 0.1, -0.6])

# Per unit: probability, ε_f, ε_b of each state.
KEEP, RATIO_KEEP = 1 - RATE, 1 - RATIO
CASES = {
    "nested": (
        AugmentedDropout(RATE, RATIO, seed=1),
        [
            (RATE, 0, 0),
            (KEEP * RATIO, 1 / KEEP, 0),
            (KEEP * RATIO_KEEP, 1 / KEEP, 1 / KEEP / RATIO_KEEP),
        ],
    ),
    "independent": (
        AugmentedDropout(RATE, RATIO, "independent", seed=1),
        [
            (p * q, f, b)
            for p, f in ((RATE, 0), (KEEP, 1 / KEEP))
            for q, b in ((RATIO, 0), (RATIO_KEEP, 1 / RATIO_KEEP))
        ],
    ),
    "forward": (
        ForwardDropout(RATE, seed=1),
        [(RATE, 0, 1), (KEEP, 1 / KEEP, 1)],
    ),
    "backward": (
        BackwardDropout(RATE, seed=1),
        [(RATE, 1, 0), (KEEP, 1, 1 / KEEP)],
    ),
}


def enumerated(states):
    """The exact E[y] and E[dy/dh] of y = tanh(w·(h ⊙ ε))."""
    output, gradient = 0.0, np.zeros(UNITS)
    for unit_states in itertools.product(states, repeat=UNITS):
        p, forward, backward = np.array(unit_states).T
        y = np.tanh(W @ (H * forward))
        output += p.prod() * y
        gradient += p.prod() * (1 - y**2) * W * backward
    return output, gradient


@pytest.mark.parametrize("case", CASES)
def test_mean_over_draws_is_the_mean_over_all_masks(case, vjp):
    layer, states = CASES[case]
    x = np.tile(H, (ROWS, 1)).astype("float32")
    # The error that arrives at the mask depends on the mask: take the masked
    # values first, then send the error of each row down through the same.
    state = layer.seed_generator.state.numpy()
    masked, _ = vjp(layer, x, mode="eager")
    y = np.tanh(masked @ W)
    error = ((1 - y**2)[:, None] * W).astype("float32")
    layer.seed_generator.state.assign(state)
    again, gradients = vjp(layer, x, error, mode="eager")
    np.testing.assert_array_equal(masked, again)

    output, gradient = enumerated(states)
    for sample, expected in ((y[:, None], [output]), (gradients, gradient)):
        error = sample.std(axis=0) / np.sqrt(ROWS)
        assert (
            np.abs(sample.mean(axis=0) - expected) <= 4 * error + 1e-6
        ).all()


def test_linear_regression_has_the_marginalised_loss(vjp):
    """E[(w·(x ⊙ ε) - t)²] = (w·x - t)² + p/(1 - p)·Σ w²x²."""
    layer = AugmentedDropout(RATE, seed=3)
    masked, _ = vjp(layer, np.tile(H, (ROWS, 1)).astype("float32"))
    losses = (masked @ W - 0.25) ** 2
    expected = (W @ H - 0.25) ** 2 + RATE / (1 - RATE) * np.sum((W * H) ** 2)
    assert abs(losses.mean() - expected) <= 4 * losses.std() / np.sqrt(ROWS)
