"""Other attributes and methods for a layer, for a while."""

import contextlib
import functools
import threading

# Two threads that put their attributes into one object in turn would leave it
# with those of one of them.
_LOCK = threading.RLock()


@contextlib.contextmanager
def shadowed(instance, **attributes):
    """Gives an object other attributes, and then those it had.

    They go into the instance's own dict, past `__setattr__`: Keras would track
    what it finds there, and torch takes no function where a layer was. Other
    threads that want the same wait.

    Yields:
        Dict of the attributes as they were.
    """
    own = vars(instance)
    with _LOCK:
        seen = {name: getattr(instance, name) for name in attributes}
        before = {name: own[name] for name in attributes if name in own}
        own.update(attributes)
        try:
            yield seen
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
