"""Other attributes and methods for a layer, for a while."""

import contextlib
import functools


@contextlib.contextmanager
def shadowed(instance, **attributes):
    """Gives an object other attributes, and then those it had.

    They go into the instance's own dict, past `__setattr__`: Keras would track
    what it finds there, and torch takes no function where a layer was.
    """
    own = vars(instance)
    before = {name: own[name] for name in attributes if name in own}
    own.update(attributes)
    try:
        yield
    finally:
        for name in attributes:
            del own[name]
        own.update(before)


def wrapped(instance, method, wrap):
    """Puts `wrap(method)` in the place of a method, for a while.

    Args:
        instance: Object.
        method: String, the name of the method.
        wrap: Function of the method that returns another one.
    """
    function = getattr(instance, method)
    replacement = functools.wraps(function)(wrap(function))
    return shadowed(instance, **{method: replacement})
