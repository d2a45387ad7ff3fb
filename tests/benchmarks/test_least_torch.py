import torch

from benchmarks.least_torch import KEPT, RATE, LeastSplitMask


def test_it_drops_what_augmented_dropout_does(assert_share):
    x = torch.ones(1000, 1000, requires_grad=True)
    y = LeastSplitMask()(x, training=True)
    y.sum().backward()
    forward, backward = y.detach() != 0, x.grad != 0
    assert_share(forward.sum(), 10**6, 1 - RATE)
    assert_share(backward.sum(), 10**6, KEPT)
    assert not (backward & ~forward).any()
    assert set(y.detach().unique().tolist()) == {0.0, y.max().item()}
    assert abs(y.max().item() * (1 - RATE) - 1) < 1e-6
    assert abs(x.grad.max().item() * KEPT - 1) < 1e-6
