"""Layers whose masks a dropout object draws in the place of its own."""

import inspect


class StandIn:
    """The `call` of a dropout object that masks as another layer does.

    It shadows the method of the class in the object's own dict. To exchange
    the object's class would be the other way, and would let a layer that
    stands in a model's graph save as ours; but those inside a block are made
    again by the block, as plain dropout, so a file would hold a mixture. It
    would also add a part (the random state) to built layers, whose names in
    weight files depend on their parts, and hide the object from those who
    ask `isinstance(layer, Dropout)`. A `call` needs nothing but that Keras
    calls `layer.call`, which it does in 3.13 to 3.15 on each backend.
    """

    def __init__(self, layer):
        self.layer = layer
        self._takes_training = (
            "training" in inspect.signature(layer.call).parameters
        )

    def __call__(self, inputs, training=False):
        if self._takes_training:
            return self.layer.call(inputs, training=training)
        return self.layer.call(inputs)


def stand_in(layer):
    """Returns the layer whose masks a dropout object draws, or None.

    Args:
        layer: `keras.layers.Layer`; one that `replace_dropout` changed in
            place has a layer that stands in for it.
    """
    call = vars(layer).get("call")
    # What listens to the calls of a layer wraps them.
    call = None if call is None else inspect.unwrap(call)
    return call.layer if isinstance(call, StandIn) else None


def acting(layer):
    """Returns the layer that masks: the one that stands in, or itself."""
    return stand_in(layer) or layer
