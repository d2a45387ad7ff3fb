import numpy as np

from keras_dropx.experiments import networks
from keras_dropx.experiments.build import decay


def test_weight_decay_is_half_the_square_of_the_kernels():
    model = networks.mlp((6,), 3, units=(8,))
    decay(model, 0.02)
    kernels = [w for w in model.get_weights() if w.ndim == 2]
    expected = [0.01 * np.sum(kernel**2) for kernel in kernels]
    np.testing.assert_allclose(sum(model.losses), sum(expected), rtol=1e-5)
    free = networks.mlp((6,), 3, units=(8,))
    decay(free, 0.0)
    assert free.losses == []
