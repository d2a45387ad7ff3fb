"""Which layers drop in training, Keras' own ones too."""

import inspect

from keras import layers

from keras_dropx.layers.masked_input import MaskedInput
from keras_dropx.layers.shadowing import wrapped
from keras_dropx.layers.split_mask_dropout import SplitMaskDropout

DROPOUT_LAYERS = (
    layers.Dropout,  # the base of SpatialDropout1D, 2D and 3D
    layers.GaussianDropout,
    layers.AlphaDropout,
)

# Layers that drop by themselves and do nothing else in training mode.
_DROP_INSIDE = (
    layers.RNN,  # LSTM, GRU, SimpleRNN, ConvLSTM
    layers.LSTMCell,
    layers.GRUCell,
    layers.SimpleRNNCell,
    layers.Attention,
    layers.AdditiveAttention,
    layers.MultiHeadAttention,
    layers.GroupQueryAttention,
)


def drops(layer):
    """Whether training mode means dropout, and nothing else, to a layer."""
    if isinstance(layer, (*DROPOUT_LAYERS, SplitMaskDropout, MaskedInput)):
        return True
    return isinstance(layer, _DROP_INSIDE) and bool(drop_rates(layer))


def drop_rates(layer):
    """Returns the rates above 0 that a layer of Keras drops at by itself.

    Args:
        layer: `keras.layers.Layer`, such as a recurrent or attention layer.
    """
    rates = [
        getattr(layer, name, 0)
        for name in ("dropout", "recurrent_dropout", "_dropout")
    ]
    return [rate for rate in rates if isinstance(rate, float) and rate > 0]


def in_training(layer):
    """Lets a layer take every call for one in training, for a while."""
    signature = inspect.signature(layer.call)

    def wrap(call):
        def in_training(*args, **kwargs):
            bound = signature.bind(*args, **kwargs)
            bound.arguments["training"] = True
            return call(*bound.args, **bound.kwargs)

        return in_training

    return wrapped(layer, "call", wrap)
