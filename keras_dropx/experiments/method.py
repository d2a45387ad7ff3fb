import dataclasses
import functools
import inspect
from collections.abc import Callable

from keras_dropx.errors import check_bool, check_positive, invalid

# What a site's argument is where a method is described without a run.
EXAMPLE_RATE, EXAMPLE_SIZE = 0.3, 300


@dataclasses.dataclass(frozen=True)
class Method:
    """One method of a plan.

    Attributes:
        name: String, what the tables call it.
        dropout: Function that returns a masking layer for a site, or None.
            With `rates`, `rates_of`, `fractions_of` or `sized` (one of them)
            it takes one argument.
        activation: Function that returns an activation layer, or None.
        rates: Tuple, what `dropout` takes, site by site.
        rates_of: Name of a Jumpout method whose mean p′, site by site and seed
            by seed, is what `dropout` takes.
        fractions_of: Name of a Jumpout method whose mean q⁺ is, likewise.
        sized: Whether `dropout` takes the number of training images.
        mask_offset: Integer added to the seeds of the masks.
        exact: Whether the weight gradients are those of Eq. 9 too.
        options: Dict, arguments of the network that are this method's.
        train_as: Function from the network to the model that is trained in
            its place, with the same variables, or None.
        finish: Function of (trained model, training images, seed, plan)
            that returns the model to evaluate, or None.
        samples: Integer, masks of a Monte Carlo prediction at the end. 0: a
            prediction without masks.
        learning_rate: Float, times the plan's.

    `train_as`, `finish` and functions in `options` must be such that
    `described` can say what they do.

    Raises:
        ValueError: If an argument is no such thing, or two exclude each other.
    """

    name: str
    dropout: Callable | None = None
    activation: Callable | None = None
    rates: tuple | None = None
    rates_of: str | None = None
    fractions_of: str | None = None
    sized: bool = False
    mask_offset: int = 0
    exact: bool = False
    options: dict = dataclasses.field(default_factory=dict)
    train_as: Callable | None = None
    finish: Callable | None = None
    samples: int = 0
    learning_rate: float = 1.0

    def __post_init__(self):
        check_name("name", self.name)
        for name in ("sized", "exact"):
            check_bool(name, getattr(self, name))
        for name in ("mask_offset", "samples"):
            check_count(name, getattr(self, name), least=0)
        check_positive("learning_rate", self.learning_rate)
        needs = self.argument or (self.exact and "exact")
        if self.dropout is None and needs:
            raise invalid("dropout", f"a function, for {needs}", self.dropout)
        if self.samples and (self.dropout is None or self.finish is not None):
            raise invalid(
                "samples",
                "0 without dropout or with finish, which gives another model",
                self.samples,
            )
        for value in (self.train_as, self.finish, self.options):
            described(value)

    @property
    def argument(self):
        """Name of what `dropout` takes, or None."""
        names = [
            name
            for name in ("rates", "rates_of", "fractions_of", "sized")
            if getattr(self, name)
        ]
        if len(names) > 1:
            raise invalid(
                names[1], f"nothing beside {names[0]}", getattr(self, names[1])
            )
        return names[0] if names else None

    @property
    def source(self):
        """Name of the method that this one's noise is measured in, or None."""
        return self.rates_of or self.fractions_of

    def example(self):
        """Returns a masking layer of the method, or None.

        It is of a site whose argument is 0.3, or 300 training images.
        """
        if self.dropout is None:
            return None
        if self.argument is None:
            return self.dropout()
        return self.dropout(EXAMPLE_SIZE if self.sized else EXAMPLE_RATE)

    def details(self):
        """Returns all that makes the method, a JSON-able dict, for the records.

        The layer is that of `example`.
        """
        activation = self.activation and self.activation()
        return {
            "layer": described(self.example()),
            "activation": described(activation),
            **{
                field.name: described(getattr(self, field.name))
                for field in dataclasses.fields(self)
                if field.name not in ("name", "dropout", "activation")
            },
        }


# What in a configuration says nothing of a layer's numbers, or of a run's.
UNSAID = ("name", "dtype", "trainable", "seed", "build_config")


def described(thing):
    """Returns what an object does, JSON-able, for the records.

    Args:
        thing: A number, a string or None; a list, tuple or dict of such; a
            function of a module; `functools.partial` of one; a layer or
            another object with `get_config`; a dataclass.

    Raises:
        ValueError: If it is another: the name of a lambda, or of a function
            within a function, does not say what it does.
    """
    if thing is None or isinstance(thing, (bool, int, float, str)):
        return thing
    if isinstance(thing, (list, tuple)):
        return [described(part) for part in thing]
    if isinstance(thing, dict):
        return {str(key): described(value) for key, value in thing.items()}
    if isinstance(thing, functools.partial):
        arguments = {"arguments": thing.args} if thing.args else {}
        return {
            "function": described(thing.func),
            **described({**arguments, **thing.keywords}),
        }
    if inspect.isroutine(thing) or isinstance(thing, type):
        name = getattr(thing, "__qualname__", "<")
        if "<" not in name and not inspect.ismethod(thing):
            return thing.__name__
    elif dataclasses.is_dataclass(thing):
        return {"class": type(thing).__name__, **described(vars(thing))}
    elif hasattr(thing, "get_config"):
        config = _without_names(thing.get_config())
        return {"class": type(thing).__name__, **config}
    raise ValueError(
        "Expected a function of a module, functools.partial of one or a "
        "dataclass, so that records can say what it does. "
        f"Received: {thing!r}"
    )


def _without_names(config):
    if not isinstance(config, dict):
        return config
    return {
        key: _without_names(value)
        for key, value in config.items()
        if key not in UNSAID
    }


def check_name(name, value):
    """Raises unless `value` is a string with something in it."""
    if not isinstance(value, str) or not value:
        raise invalid(name, "a string, not empty", value)


def check_count(name, value, least=1):
    """Raises unless `value` is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise invalid(name, f"an integer of at least {least}", value)
