"""Networks: `<name>(input_shape, num_classes, dropout=None)` to logits.

`dropout` is called once per dropout site and returns a layer; without it the
sites are left out. The models come uncompiled.
"""

from keras_dropx.experiments.networks.convnet_bn import convnet_bn
from keras_dropx.experiments.networks.mlp import mlp

__all__ = ["convnet_bn", "mlp"]
