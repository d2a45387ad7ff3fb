"""What layers are called with while a model runs, to see or to change.

A model that trains may be called elsewhere meanwhile: what stands in for a
method of a live layer does so for the calls that asked for it, and passes
those of other threads on.
"""

import contextlib
import functools
import inspect
import threading

import keras

from keras_dropx.layers import GAAF, MaskedInput

ACTIVATION_LAYERS = (
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ELU,
    GAAF,
)
_LOCK = threading.RLock()


class _Ways:
    """What goes by way of one attribute of one object."""

    def __init__(self, own, name, function):
        self.own = own
        self.name = name
        self.before = {name: own[name]} if name in own else {}
        self.function = _identity if function is None else function
        self.wraps = ()

        def rerouted(*args, **kwargs):
            function = self.function
            for applies, wrap in self.wraps:
                if applies():
                    function = wrap(function)
            return function(*args, **kwargs)

        self.stand_in = functools.update_wrapper(rerouted, self.function)
        self.stand_in.ways = self
        own[name] = self.stand_in

    def remove(self, way):
        self.wraps = tuple(other for other in self.wraps if other is not way)
        if not self.wraps and self.own.get(self.name) is self.stand_in:
            del self.own[self.name]
            self.own.update(self.before)


@contextlib.contextmanager
def rerouted(instance, name, wrap, applies=None):
    """Sends the calls of a function by way of another one, for a while.

    Args:
        instance: Object. The stand-in goes into its own dict, past
            `__setattr__`: Keras would track what it finds there.
        name: String, the attribute: a method, or a function or None, which
            counts as the identity.
        wrap: Function of the function that returns another one.
        applies: Function without arguments: whether a call goes this way.
            None: those of the thread that asks for it here.
    """
    thread = threading.get_ident()
    way = (applies or (lambda: threading.get_ident() == thread), wrap)
    own = vars(instance)
    with _LOCK:
        ways = getattr(own.get(name), "ways", None)
        if not isinstance(ways, _Ways):
            ways = _Ways(own, name, getattr(instance, name))
        ways.wraps = (*ways.wraps, way)
    try:
        yield
    finally:
        with _LOCK:
            ways.remove(way)


def tapped(layer, tap, applies=None):
    """Sends the net values of a layer through `tap(h, z)`, for a while.

    Args:
        layer: Layer or operation. Its net value z is what its activation
            takes, or else its output.
        tap: Function of the input h that the kernel was multiplied with and
            of z, that returns z. (For `MaskedInput` h is h ⊙ ε_b.)
        applies: As for `rerouted`.
    """
    linear = layer.layer if isinstance(layer, MaskedInput) else layer
    if isinstance(layer, ACTIVATION_LAYERS):

        def tap_input(call):
            def tapped_call(*args, **kwargs):
                x = _first(args, kwargs)
                if args:
                    return call(tap(x, x), *args[1:], **kwargs)
                return call(**{**kwargs, next(iter(kwargs)): tap(x, x)})

            return tapped_call

        return rerouted(layer, "call", tap_input, applies)
    # Of a recurrent layer the attribute is that of its cell.
    own = not isinstance(getattr(type(linear), "activation", None), property)
    if not (own and hasattr(linear, "activation")):

        def tap_output(call):
            def tapped_call(*args, **kwargs):
                return tap(_first(args, kwargs), call(*args, **kwargs))

            return tapped_call

        return rerouted(layer, _method(layer), tap_output, applies)

    def tap_net(call):
        def tapped_call(*args, **kwargs):
            inputs = []

            def noting(call):
                def noted_call(*args, **kwargs):
                    inputs.append(_first(args, kwargs))
                    return call(*args, **kwargs)

                return noted_call

            def after_tap(activation):
                return lambda z: activation(tap(inputs[-1], z))

            if linear is layer:
                inputs.append(_first(args, kwargs))
                noted = contextlib.nullcontext()
            else:
                noted = rerouted(linear, _method(linear), noting)
            with noted, rerouted(linear, "activation", after_tap):
                return call(*args, **kwargs)

        return tapped_call

    return rerouted(layer, _method(layer), tap_net, applies)


def without_activation(linear):
    """Lets a layer return its net values, for a while."""
    if not hasattr(linear, "activation"):
        return contextlib.nullcontext()
    return rerouted(linear, "activation", lambda activation: _identity)


def in_training(layer):
    """Lets a layer take every call for one in training, for a while."""
    signature = inspect.signature(layer.call)

    def wrap(call):
        def trained(*args, **kwargs):
            bound = signature.bind(*args, **kwargs)
            bound.arguments["training"] = True
            return call(*bound.args, **bound.kwargs)

        return trained

    return rerouted(layer, "call", wrap)


def noted_inputs_and_outputs(layer, note):
    """Calls `note(x, y)` at each call of a layer, for a while."""

    def wrap(call):
        def noted(*args, **kwargs):
            y = call(*args, **kwargs)
            note(_first(args, kwargs), y)
            return y

        return noted

    return rerouted(layer, _method(layer), wrap)


def noted_rates(layer, note):
    """Calls `note(p′)` for each p′ that a `Jumpout` layer draws."""

    def wrap(drop_rate):
        def noted(inputs, seed):
            rate = drop_rate(inputs, seed)
            note(rate)
            return rate

        return noted

    return rerouted(layer, "drop_rate", wrap)


def _method(layer):
    """The method that Keras calls: another one of a quantized layer."""
    if getattr(layer, "quantization_mode", None) is None:
        return "call"
    return "quantized_call"


def _first(args, kwargs):
    """The inputs of a call; None of one without."""
    return next(iter((*args, *kwargs.values())), None)


def _identity(z):
    return z
