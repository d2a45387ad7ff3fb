"""What an experiment is: methods, their contrasts, and how they train.

All are frozen and check themselves when they are made; `dataclasses.replace`
changes them. What a plan cannot do cannot be written into one.
"""

import dataclasses
import inspect
from collections.abc import Callable

from keras_dropx.errors import (
    check_bool,
    check_choice,
    check_not_negative,
    check_number,
    check_positive,
    invalid,
)
from keras_dropx.experiments.data.augmentation import augmenter
from keras_dropx.experiments.data.preprocessing import make_step
from keras_dropx.experiments.measures import NAMES, NEED_ALL_IMAGES, describe
from keras_dropx.experiments.method import (
    Method,
    check_count,
    check_name,
    described,
)
from keras_dropx.layers import Jumpout

__all__ = ["Contrast", "Deviation", "Method", "Plan"]


@dataclasses.dataclass(frozen=True)
class Contrast:
    """Treatment minus control, fixed before running.

    Attributes:
        metric: Key of a run's record.
        treatment: Method name. One `*` stands for a setting: the difference is
            then the mean over all methods that fit.
        control: Method name; its `*` is the treatment's setting.
        margin: What counts as equal, in the metric's unit; None: nothing.
        sentence: What a paper says of it, or "".
        sign: What the paper expects: "+", "-" or "=".

    Raises:
        ValueError: If an argument is no such thing.
    """

    metric: str
    treatment: str
    control: str
    margin: float | None
    sentence: str = ""
    sign: str = ""

    def __post_init__(self):
        for name in ("metric", "treatment", "control"):
            check_name(name, getattr(self, name))
        if self.treatment.count("*") > 1 or (
            "*" in self.control and "*" not in self.treatment
        ):
            raise invalid("treatment", "one *, first", self.treatment)
        if self.margin is not None:
            check_not_negative("margin", self.margin)
        check_choice("sign", self.sign, ("", "+", "-", "="))

    def pairs(self, methods):
        """Returns the pairs (treatment, control) among the names of methods."""
        head, star, tail = self.treatment.partition("*")
        settings = [
            name[len(head) : len(name) - len(tail)]
            for name in methods
            if name.startswith(head) and name.endswith(tail)
        ]
        found = [
            (f"{head}{setting}{tail}", self.control.replace("*", setting))
            for setting in (settings if star else [""])
        ]
        return [pair for pair in found if set(pair) <= set(methods)]


@dataclasses.dataclass(frozen=True)
class Deviation:
    """Something that a paper does not state, or prints wrongly.

    Attributes:
        what: String.
        printed: As the paper prints it; "not stated" where it does not.
        used: As it is used here.
        why: The reason.

    Raises:
        ValueError: If one is no string, or empty.
    """

    what: str
    printed: str
    used: str
    why: str

    def __post_init__(self):
        for name, value in vars(self).items():
            check_name(name, value)


@dataclasses.dataclass(frozen=True)
class Plan:
    """A set of methods that train one network on one data set.

    Attributes:
        name: String.
        claim: What the plan is about, a sentence.
        network: Function of (input_shape, num_classes, dropout, …).
        methods: The `Method`s, the one without noise first where there is one.
        contrasts: The primary `Contrast`s.
        epochs: Integer, epochs of training.
        batch_size: Integer, in samples.
        learning_rate: Float.
        measures: What is measured besides test accuracy and loss, keys of
            `measures.NAMES`.
        floor: `Contrast` of one method under two sets of masks, or None: the
            spread that masks alone cause.
        jit: Whether to compile with XLA; else Keras decides.
        dataset: TFDS name.
        options: Dict, arguments of the network.
        preparation: Steps of `preprocessing.prepare`.
        augmentation: Name of an augmentation of `batches`, or None.
        momentum: Float in [0, 1), of SGD.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: Float λ: λ/2 · ‖W‖² over all kernels is in the loss.
        drops: Rising floats in (0, 1): after which parts of the training the
            learning rate is multiplied by `drop`.
        drop: Float.
        directions: Dict from the metrics of a user's own model, keys of a
            record, to "max" or "min"; the tables show these alone.
        printed: Pair (network, data set) as the paper's tables call them.
        streamed: Whether the images are read as they are used, too many or
            too varied for the memory: `streaming` crops, mirrors and
            standardises them, so there is no `preparation` and no
            `augmentation`.

    Raises:
        ValueError: If the plan cannot be run as it is written.
    """

    name: str
    claim: str
    network: Callable
    methods: tuple
    contrasts: tuple
    epochs: int
    batch_size: int
    learning_rate: float
    measures: frozenset = frozenset()
    floor: Contrast | None = None
    jit: bool = False
    dataset: str = "digits"
    options: dict = dataclasses.field(default_factory=dict)
    preparation: tuple = (("scale",),)
    augmentation: str | None = None
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    drops: tuple = ()
    drop: float = 0.1
    directions: dict = dataclasses.field(default_factory=dict)
    printed: tuple | None = None
    streamed: bool = False

    def __post_init__(self):
        for name in ("name", "dataset"):
            check_name(name, getattr(self, name))
        for name in ("epochs", "batch_size"):
            check_count(name, getattr(self, name))
        for name in ("learning_rate", "drop"):
            check_positive(name, getattr(self, name))
        for name in ("jit", "nesterov", "streamed"):
            check_bool(name, getattr(self, name))
        check_not_negative("weight_decay", self.weight_decay)
        check_number(
            "momentum",
            self.momentum,
            "a number in [0, 1)",
            lambda m: 0 <= m < 1,
        )
        edges = (0, *self.drops, 1)
        if list(edges) != sorted(set(edges)):
            raise invalid("drops", "rising numbers in (0, 1)", self.drops)
        for measure in self.measures:
            check_choice("measures", measure, NAMES)
        described(self.options)
        self._check_images()
        self._check_methods()
        self._check_contrasts()

    def _check_images(self):
        if self.streamed and (self.preparation or self.augmentation):
            raise invalid(
                "streamed",
                "no preparation and no augmentation beside it",
                self.streamed,
            )
        whole = NEED_ALL_IMAGES & set(self.measures)
        whole |= {m.name for m in self.methods if m.samples or m.finish}
        if self.streamed and whole:
            raise invalid(
                "streamed",
                f"images in memory, for {', '.join(sorted(whole))}",
                self.streamed,
            )
        for step in self.preparation:
            make_step(step)
        if self.augmentation is not None:
            augmenter(self.augmentation)

    def _check_methods(self):
        seen = {}
        for method in self.methods:
            if method.name in seen:
                raise invalid("methods", "different names", method.name)
            if method.source is not None:
                source = seen.get(method.source)
                layer = source and source.example()
                if not isinstance(layer, Jumpout) or layer.sigma is None:
                    raise invalid(
                        "methods",
                        f"a Jumpout that draws p before {method.name}",
                        method.source,
                    )
            seen[method.name] = method
            try:
                inspect.signature(self.network).bind(
                    (), 0, None, **self.arguments(method)
                )
            except TypeError as error:
                raise ValueError(
                    f"The network of plan {self.name} does not take what "
                    f"method {method.name} asks for: {error}"
                ) from None

    def _check_contrasts(self):
        names = [method.name for method in self.methods]
        floor = () if self.floor is None else (self.floor,)
        for contrast in (*self.contrasts, *floor):
            if not contrast.pairs(names):
                raise invalid(
                    "contrasts",
                    f"methods of plan {self.name}",
                    f"{contrast.treatment} - {contrast.control}",
                )
            needed = describe(contrast.metric, self).measure
            if needed is not None and needed not in self.measures:
                raise invalid(
                    "measures",
                    f"'{needed}', for the contrast in {contrast.metric}",
                    sorted(self.measures),
                )

    def arguments(self, method):
        """Returns the network's arguments of a method, but for its dropout."""
        options = {**self.options, **method.options}
        if method.activation:
            options["activation"] = method.activation
        if method.exact:
            options["exact"] = True
        return options

    def only(self, methods):
        """Returns the plan with these methods, and their contrasts alone."""
        methods = tuple(methods)
        names = [method.name for method in methods]
        floor = self.floor
        return dataclasses.replace(
            self,
            methods=methods,
            contrasts=tuple(c for c in self.contrasts if c.pairs(names)),
            floor=floor if floor is not None and floor.pairs(names) else None,
        )
