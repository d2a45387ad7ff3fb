"""Which layers drop in training, Keras' own ones too."""

import contextlib
import inspect

import keras
from keras import layers

from keras_dropx.layers.backward_dropout import BackwardDropout
from keras_dropx.layers.interception import intercepted, reachable
from keras_dropx.layers.jumpout import Jumpout
from keras_dropx.layers.masked_input import MaskedInput
from keras_dropx.layers.split_mask_dropout import SplitMaskDropout
from keras_dropx.layers.stand_in import acting

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
    layer = acting(layer)
    if isinstance(layer, (*DROPOUT_LAYERS, SplitMaskDropout, MaskedInput)):
        return True
    return isinstance(layer, _DROP_INSIDE) and bool(drop_rates(layer))


def drops_forward(layer):
    """Whether a layer drops now, in training, in its forward pass.

    Those whose rate is 0 do not, nor do those that mask the gradient alone. A
    rate that follows a schedule counts as one above 0.
    """
    layer = acting(layer)
    if isinstance(layer, MaskedInput):
        return drops_forward(layer.dropout)
    if not drops(layer) or isinstance(layer, BackwardDropout):
        return False
    if isinstance(layer, Jumpout) and layer.rate is None:
        return not (_is_zero(layer.sigma) and _is_zero(layer.min_rate))
    return not _is_zero(getattr(layer, "rate", None))


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


def seed_generators(layer):
    """Lists the `keras.random.SeedGenerator`s that a layer holds itself."""
    return [
        value
        for value in vars(layer).values()
        if isinstance(value, keras.random.SeedGenerator)
    ]


@contextlib.contextmanager
def in_training(layer):
    """Lets a layer take every call for one in training, for a while.

    Calls that other threads make are what they were.
    """
    signature = inspect.signature(layer.call)

    def hook(call, *args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        bound.arguments["training"] = True
        return call(*bound.args, **bound.kwargs)

    with reachable([layer]), intercepted({id(layer): hook}):
        yield


def _is_zero(value):
    return isinstance(value, (int, float)) and value == 0
