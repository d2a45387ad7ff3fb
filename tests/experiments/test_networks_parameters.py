import numpy as np
import pytest

from keras_dropx.experiments import networks


def conv(size, inputs, outputs, bias=True):
    return size**2 * inputs * outputs + bias * outputs


def dense(inputs, outputs):
    return (inputs + 1) * outputs


def residual(channels, projections, norms, logits):
    """Counts a ResNet whose 3 × 3 convolutions are (inputs, outputs) pairs."""
    return (
        sum(conv(3, *pair, bias=False) for pair in channels)
        + sum(conv(1, *pair, bias=False) for pair in projections)
        + 2 * sum(norms)
        + dense(*logits)
    )


def wide(depth, k):
    n = (depth - 4) // 6
    a, b, c = 16 * k, 32 * k, 64 * k
    rest = 2 * n - 1
    return residual(
        [(3, 16), (16, a), (a, b), (b, c)]
        + [(a, a)] * rest
        + [(b, b)] * rest
        + [(c, c)] * rest,
        [(16, a), (a, b), (b, c)],
        [16] + [a] * (2 * n) + [b] * (2 * n) + [c] * (2 * n),
        (c, 10),
    )


VGG = [(64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256)]
VGG += [(256, 512), (512, 512), (512, 512)]
CIFAR_RESNET = [(3, 16), *[(16, 16)] * 6, (16, 32), *[(32, 32)] * 5]
CIFAR_RESNET += [(32, 64), *[(64, 64)] * 5]
SMALL_CONVS = conv(3, 3, 64) + conv(3, 64, 64) + conv(3, 64, 128)
SMALL_CONVS += conv(3, 128, 128)


# The hand count, and the published number with the precision it has.
@pytest.mark.few(5)
@pytest.mark.parametrize(
    ("network", "shape", "options", "by_hand", "published"),
    [
        (
            networks.lenet,
            (28, 28, 1),
            {},
            conv(5, 1, 20)
            + conv(5, 20, 50)
            + dense(4 * 4 * 50, 500)
            + dense(500, 10),
            (431_080, 1),
        ),
        (
            networks.convnet_quick,
            (32, 32, 3),
            {},
            conv(5, 3, 32)
            + conv(5, 32, 32)
            + conv(5, 32, 64)
            + dense(4 * 4 * 64, 64)
            + dense(64, 10),
            (145_578, 1),
        ),
        (
            networks.resnet20,
            (32, 32, 3),
            {},
            residual(
                CIFAR_RESNET, [], [16] * 7 + [32] * 6 + [64] * 6, (64, 10)
            ),
            (0.27e6, 1e4),
        ),
        (
            networks.preact_resnet20,
            (32, 32, 3),
            {},
            residual(
                CIFAR_RESNET,
                [(16, 32), (32, 64)],
                [16] * 7 + [32] * 6 + [64] * 6,
                (64, 10),
            ),
            None,
        ),
        # DeepOBS counts 1,387,108 for its 100 classes.
        (
            networks.all_cnn,
            (32, 32, 3),
            {"num_classes": 100},
            conv(3, 3, 96)
            + 2 * conv(3, 96, 96)
            + conv(3, 96, 192)
            + 3 * conv(3, 192, 192)
            + conv(1, 192, 192)
            + conv(1, 192, 100),
            (1_387_108, 1),
        ),
        (
            networks.nin,
            (32, 32, 3),
            {},
            conv(5, 3, 192)
            + conv(1, 192, 160)
            + conv(1, 160, 96)
            + conv(5, 96, 192)
            + conv(3, 192, 192)
            + 3 * conv(1, 192, 192)
            + conv(1, 192, 10),
            (0.97e6, 1e4),
        ),
        (
            networks.cifar10_small,
            (32, 32, 3),
            {"batch_norm": False},
            SMALL_CONVS
            + dense(8 * 8 * 128, 256)
            + dense(256, 256)
            + dense(256, 10),
            None,
        ),
        (networks.wide_resnet, (32, 32, 3), {}, wide(28, 10), (36.5e6, 1e5)),
        (
            networks.wide_resnet,
            (96, 96, 3),
            {"depth": 16, "width": 8},
            wide(16, 8),
            (11.0e6, 1e5),
        ),
        # torchvision counts 11,689,512.
        (
            networks.resnet18,
            (224, 224, 3),
            {"num_classes": 1000},
            7 * 7 * 3 * 64
            + residual(
                [(64, 64)] * 4
                + [(64, 128), *[(128, 128)] * 3]
                + [(128, 256), *[(256, 256)] * 3]
                + [(256, 512), *[(512, 512)] * 3],
                [(64, 128), (128, 256), (256, 512)],
                [64] * 5 + [128] * 5 + [256] * 5 + [512] * 5,
                (512, 1000),
            ),
            (11_689_512, 1),
        ),
        (
            networks.gaaf_mlp,
            (28, 28, 1),
            {},
            dense(784, 512)
            + dense(512, 256)
            + dense(256, 256)
            + dense(256, 10),
            None,
        ),
        (
            networks.gaaf_vgg,
            (32, 32, 3),
            {},
            conv(3, 3, 64)
            + sum(conv(3, *pair) for pair in VGG)
            + dense(2 * 2 * 512, 512)
            + dense(512, 512)
            + dense(512, 10),
            None,
        ),
        (
            networks.gaaf_svhn_cnn,
            (32, 32, 3),
            {},
            SMALL_CONVS
            + dense(8 * 8 * 128, 256)
            + dense(256, 256)
            + dense(256, 10),
            None,
        ),
        (
            networks.srivastava_mlp,
            (28, 28, 1),
            {},
            dense(784, 1024) + 2 * dense(1024, 1024) + dense(1024, 10),
            None,
        ),
        (
            networks.srivastava_convnet,
            (32, 32, 3),
            {},
            conv(5, 3, 96)
            + conv(5, 96, 128)
            + conv(5, 128, 256)
            + dense(4 * 4 * 256, 2048)
            + dense(2048, 2048)
            + dense(2048, 10),
            None,
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_trainable_parameters(network, shape, options, by_hand, published):
    model = network(shape, **{"num_classes": 10, **options})
    count = sum(np.prod(weight.shape) for weight in model.trainable_weights)
    assert count == by_hand
    if published:
        number, precision = published
        assert abs(count - number) <= precision / 2


def test_mlp_has_the_parameters_of_64_256_256_10():
    expected = 64 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10
    assert networks.mlp((8, 8, 1), 10).count_params() == expected
