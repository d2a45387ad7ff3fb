"""The argument checks, so that each message is worded once."""

import contextlib
import math
import numbers

from keras.optimizers import schedules

LONGEST = 300  # characters of a value in a message


class UserError(ValueError):
    """What the user of a command can mend, said in one line."""


class ProcessError(RuntimeError):
    """A process of a command failed, said in one line."""


@contextlib.contextmanager
def naming(path):
    """Gives an `OSError` of the body the name of a file, if it has none.

    A full disk is met when a file is written, which knows no name.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def invalid(name, expected, received):
    """Returns the `ValueError` for a bad argument, worded as Keras does.

    Args:
        name: String, the argument's name.
        expected: String, a sentence part that follows "Expected".
        received: The value that came.
    """
    return ValueError(
        f"Invalid value received for argument `{name}`. "
        f"Expected {expected}. Received: {name}={shown(received)}"
    )


def shown(value, text=repr):
    """Returns a value as text of a message: one line, not too long."""
    try:
        text = " ".join(text(value).split())
    except Exception:  # such as that of an integer of 5,000 digits
        text = f"<{type(value).__name__}>"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def is_config(value):
    """Whether a value is an object in the form that configs keep."""
    return isinstance(value, dict) and isinstance(value.get("class_name"), str)


def check_number(name, value, expected, valid):
    """Returns `value` as a float, or raises.

    Args:
        name: String, the argument's name.
        value: The value that came.
        expected: String, what to say was expected.
        valid: Function of a finite float that tells whether it is allowed.

    Raises:
        ValueError: If `value` is not a finite real number (a bool is none)
            or `valid` says no.
    """
    number = math.nan
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            number = float(value)
    if not math.isfinite(number) or not valid(number):
        raise invalid(name, expected, value)
    return number


def check_rate(name, value):
    """Returns a drop probability in [0, 1) as a float, or raises."""
    return check_number(
        name,
        value,
        "a float value between 0 and 1 (1 excluded)",
        lambda rate: 0 <= rate < 1,
    )


def check_scheduled(name, value, check):
    """Returns a schedule, or what `check` makes of anything else.

    Args:
        name: String, the argument's name.
        value: Number, `keras.optimizers.schedules.LearningRateSchedule`, or
            the dict that a schedule is in a layer's config.
        check: Function of (name, value) for a number.
    """
    if is_config(value):
        value = schedules.deserialize(value)
    if isinstance(value, schedules.LearningRateSchedule):
        return value
    return check(name, value)


def check_scheduled_rate(name, value):
    """Returns a drop probability as a float or a schedule, or raises."""
    return check_scheduled(name, value, check_rate)


def check_positive(name, value):
    """Returns a positive finite number as a float, or raises."""
    return check_number(
        name, value, "a finite number greater than 0", lambda x: x > 0
    )


def check_not_negative(name, value):
    """Returns a non-negative finite number as a float, or raises."""
    return check_number(
        name, value, "a finite number of at least 0", lambda x: x >= 0
    )


def check_rescale(name, value):
    """Returns the name of a rescale or an exponent as a float, or raises."""
    if isinstance(value, str) and value in ("mean", "variance", "batchnorm"):
        return value
    return check_number(
        name,
        value,
        "'mean', 'variance', 'batchnorm' or a number in [0, 1]",
        lambda exponent: 0 <= exponent <= 1,
    )


def check_bool(name, value):
    """Returns `value` if it is a bool, or raises."""
    if not isinstance(value, bool):
        raise invalid(name, "True or False", value)
    return value


def check_choice(name, value, choices):
    """Returns `value` if it is one of the strings `choices`, or raises."""
    if not isinstance(value, str) or value not in choices:
        raise invalid(name, f"one of {', '.join(map(repr, choices))}", value)
    return value
