"""The layers: hyper-parameters and a training gate around `ops`."""

from keras_dropx.layers.augmented_dropout import AugmentedDropout
from keras_dropx.layers.backward_dropout import BackwardDropout
from keras_dropx.layers.forward_dropout import ForwardDropout
from keras_dropx.layers.gaaf import GAAF
from keras_dropx.layers.jumpout import Jumpout
from keras_dropx.layers.masked_input import MaskedInput

__all__ = [
    "GAAF",
    "AugmentedDropout",
    "BackwardDropout",
    "ForwardDropout",
    "Jumpout",
    "MaskedInput",
]
