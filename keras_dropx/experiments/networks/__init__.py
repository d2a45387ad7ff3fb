"""Networks: `<name>(input_shape, num_classes, dropout=None)` to logits.

`dropout` is called once per dropout site, from the input to the output, and
returns a layer; without it the sites are left out. The models come uncompiled.
"""

from keras_dropx.experiments.networks.all_cnn import all_cnn
from keras_dropx.experiments.networks.cifar10_small import cifar10_small
from keras_dropx.experiments.networks.convnet_bn import convnet_bn
from keras_dropx.experiments.networks.convnet_quick import convnet_quick
from keras_dropx.experiments.networks.gaaf_mlp import gaaf_mlp
from keras_dropx.experiments.networks.gaaf_svhn_cnn import gaaf_svhn_cnn
from keras_dropx.experiments.networks.gaaf_vgg import gaaf_vgg
from keras_dropx.experiments.networks.lenet import lenet
from keras_dropx.experiments.networks.mlp import mlp
from keras_dropx.experiments.networks.nin import nin
from keras_dropx.experiments.networks.preact_resnet20 import preact_resnet20
from keras_dropx.experiments.networks.resnet18 import resnet18
from keras_dropx.experiments.networks.resnet20 import resnet20
from keras_dropx.experiments.networks.srivastava_convnet import (
    srivastava_convnet,
)
from keras_dropx.experiments.networks.srivastava_mlp import srivastava_mlp
from keras_dropx.experiments.networks.wide_resnet import wide_resnet

__all__ = [
    "all_cnn",
    "cifar10_small",
    "convnet_bn",
    "convnet_quick",
    "gaaf_mlp",
    "gaaf_svhn_cnn",
    "gaaf_vgg",
    "lenet",
    "mlp",
    "nin",
    "preact_resnet20",
    "resnet18",
    "resnet20",
    "srivastava_convnet",
    "srivastava_mlp",
    "wide_resnet",
]
