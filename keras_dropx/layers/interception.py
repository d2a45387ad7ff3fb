"""Other behaviour for the calls that one thread makes of a layer.

A method that is exchanged on a live layer is exchanged for all threads. Here
it is exchanged for a switch that does what the method does, but in a thread
that has said what else to do.
"""

import contextlib
import functools
import threading
import weakref

_LOCAL = threading.local()
_LOCK = threading.Lock()
# Of each switch: how many need it, and what stood in its place.
_SWITCHES = weakref.WeakKeyDictionary()
_NOTHING = object()


@contextlib.contextmanager
def reachable(layers):
    """Lets `intercepted` reach the calls of layers, for a while.

    Args:
        layers: List of `keras.layers.Layer`. To threads that intercept nothing
            they are what they were.
    """
    switches = []
    try:
        for layer in layers:
            switches.append((layer, _install(layer)))
        yield
    finally:
        for layer, switch in switches:
            _remove(layer, switch)


@contextlib.contextmanager
def intercepted(hooks):
    """Puts functions in the place of calls that this thread makes.

    Args:
        hooks: Dict from the `id` of a reachable layer to a function
            `(call, *args, **kwargs)`, `call` being the layer's own.
    """
    before = getattr(_LOCAL, "hooks", {})
    _LOCAL.hooks = {**before, **hooks}
    try:
        yield
    finally:
        _LOCAL.hooks = before


def _install(layer):
    own = vars(layer)  # past `__setattr__`, where Keras and torch track
    with _LOCK:
        switch = own.get("call", _NOTHING)
        if switch is _NOTHING or switch not in _SWITCHES:
            before, switch = switch, _switch(id(layer), layer.call)
            _SWITCHES[switch] = [0, before]
            own["call"] = switch
        _SWITCHES[switch][0] += 1
        return switch


def _remove(layer, switch):
    own = vars(layer)
    with _LOCK:
        entry = _SWITCHES[switch]
        entry[0] -= 1
        # Who wrapped it meanwhile holds it, and may put it back.
        if entry[0] == 0 and own.get("call") is switch:
            if entry[1] is _NOTHING:
                del own["call"]
            else:
                own["call"] = entry[1]


def _switch(key, call):
    @functools.wraps(call)
    def switch(*args, **kwargs):
        hook = getattr(_LOCAL, "hooks", {}).get(key)
        if hook is None:
            return call(*args, **kwargs)
        return hook(call, *args, **kwargs)

    return switch
