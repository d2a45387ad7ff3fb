"""What layers are called with while a model runs, to see or to change."""

import contextlib

from keras_dropx.callbacks.sites import ACTIVATION_LAYERS
from keras_dropx.layers import MaskedInput
from keras_dropx.layers.shadowing import shadowed, wrapped


def tapped(layer, tap):
    """Sends the net values of a layer through `tap(h, z)`, for a while.

    Args:
        layer: Layer or operation. Its net value z is what its activation
            takes, or else its output.
        tap: Function of the input h that the kernel was multiplied with and
            of z, that returns z. (For `MaskedInput` h is h ⊙ ε_b.)
    """
    linear = layer.layer if isinstance(layer, MaskedInput) else layer
    if isinstance(layer, ACTIVATION_LAYERS):
        return wrapped(
            layer,
            "call",
            lambda call: lambda x, **kwargs: call(tap(x, x), **kwargs),
        )
    # Of a recurrent layer the attribute is that of its cell.
    own = not isinstance(getattr(type(linear), "activation", None), property)
    if not (own and hasattr(linear, "activation")):

        def tap_output(call):
            def tapped_call(*args, **kwargs):
                return tap(args[0] if args else None, call(*args, **kwargs))

            return tapped_call

        return wrapped(layer, "call", tap_output)

    inputs = []

    def note_input(call):
        def noted_call(x, *args, **kwargs):
            inputs.append(x)
            return call(x, *args, **kwargs)

        return noted_call

    def tap_net(call):
        def tapped_call(*args, **kwargs):
            activation = linear.activation

            def after_tap(z):
                z = tap(inputs[-1], z)
                return z if activation is None else activation(z)

            with shadowed(linear, activation=after_tap):
                outputs = call(*args, **kwargs)
            inputs.clear()
            return outputs

        return tapped_call

    stack = contextlib.ExitStack()
    stack.enter_context(wrapped(linear, "call", note_input))
    stack.enter_context(wrapped(layer, "call", tap_net))
    return stack


def noted_inputs_and_outputs(layer, note):
    """Calls `note(x, y)` at each call of a layer, for a while."""

    def wrap(call):
        def noted(x, *args, **kwargs):
            y = call(x, *args, **kwargs)
            note(x, y)
            return y

        return noted

    return wrapped(layer, "call", wrap)


def noted_rates(layer, note):
    """Calls `note(p′)` for each p′ that a `Jumpout` layer draws."""

    def wrap(drop_rate):
        def noted(inputs, seed):
            rate = drop_rate(inputs, seed)
            note(rate)
            return rate

        return noted

    return wrapped(layer, "drop_rate", wrap)
