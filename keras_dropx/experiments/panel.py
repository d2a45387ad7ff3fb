"""What an experiment is made of: arms, their contrasts, and how they train."""

from collections.abc import Callable
from typing import NamedTuple


class Arm(NamedTuple):
    """One method of a panel.

    Attributes:
        name: String, what the tables call it.
        dropout: Function that returns a masking layer for a site, or None.
            With `rates`, `rates_of`, `fractions_of` or `sized` it takes one
            argument.
        activation: Function that returns an activation layer, or None.
        rates: Tuple, what `dropout` takes, site by site.
        rates_of: Name of a Jumpout arm whose mean p′, site by site and seed
            by seed, is what `dropout` takes.
        fractions_of: Name of a Jumpout arm whose mean q⁺ is, likewise.
        sized: Whether `dropout` takes the number of training images.
        mask_offset: Integer added to the seeds of the masks.
        exact: Whether the weight gradients are those of Eq. 9 too.
        options: Dict, arguments of the network that are this arm's.
        train_as: Function from the network to the model that is trained in
            its place, with the same variables, or None.
        finish: Function of (trained model, training images, seed, panel)
            that returns the model to evaluate, or None.
        samples: Integer, masks of a Monte Carlo prediction at the end. 0: a
            prediction without masks.
        learning_rate: Float, times the panel's.
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
    options: dict = {}
    train_as: Callable | None = None
    finish: Callable | None = None
    samples: int = 0
    learning_rate: float = 1.0

    @property
    def source(self):
        """Name of the arm that this one's noise is measured in, or None."""
        return self.rates_of or self.fractions_of

    def details(self):
        """Returns all that makes the arm, a JSON-able dict, for the records.

        A layer is described by its configuration, of a site whose argument is
        0.3, or 300 training images.
        """
        layer = activation = None
        if self.dropout is not None:
            arguments = ()
            if self.source or self.rates:
                arguments = (0.3,)
            elif self.sized:
                arguments = (300,)
            layer = _described(self.dropout(*arguments))
        if self.activation is not None:
            activation = _described(self.activation())
        return {
            "layer": layer,
            "activation": activation,
            "options": {
                key: value.__name__ if callable(value) else value
                for key, value in self.options.items()
            },
            "train_as": self.train_as is not None,
            "finish": self.finish is not None,
            **{
                name: getattr(self, name)
                for name in (
                    "rates",
                    "rates_of",
                    "fractions_of",
                    "sized",
                    "mask_offset",
                    "exact",
                    "samples",
                    "learning_rate",
                )
            },
        }


# What in a configuration says nothing of a layer's numbers, or of a run's.
UNSAID = ("name", "dtype", "trainable", "seed", "build_config")


def _described(layer):
    return {"class": type(layer).__name__, **_without_names(layer.get_config())}


def _without_names(config):
    if not isinstance(config, dict):
        return config
    return {
        key: _without_names(value)
        for key, value in config.items()
        if key not in UNSAID
    }


class Contrast(NamedTuple):
    """Treatment minus control, fixed before running.

    Attributes:
        metric: Key of a run's record.
        treatment: Arm name. One `*` stands for a setting: the difference is
            then the mean over all arms that fit.
        control: Arm name; its `*` is the treatment's setting.
        margin: What counts as equal, in the metric's unit.
        sentence: What a paper says of it, or "".
        sign: What the paper expects: "+", "-" or "=".
    """

    metric: str
    treatment: str
    control: str
    margin: float
    sentence: str = ""
    sign: str = ""

    def pairs(self, arms):
        """Returns the pairs (treatment, control) among the names of arms."""
        head, star, tail = self.treatment.partition("*")
        if not star:
            found = [(self.treatment, self.control)]
        else:
            settings = [
                name[len(head) : len(name) - len(tail)]
                for name in arms
                if name.startswith(head) and name.endswith(tail)
            ]
            found = [
                (f"{head}{setting}{tail}", self.control.replace("*", setting))
                for setting in settings
            ]
        return [pair for pair in found if set(pair) <= set(arms)]


class Panel(NamedTuple):
    """A set of arms that train one network on one data set.

    Attributes:
        name: String.
        claim: What the panel is about, a sentence.
        network: Function of (input_shape, num_classes, dropout, …).
        arms: The `Arm`s, the one without noise first where there is one.
        contrasts: The primary `Contrast`s.
        epochs: Integer, epochs of training.
        batch_size: Integer, in samples.
        learning_rate: Float.
        measures: What is measured besides test accuracy and loss: "curve",
            "train", "convergence", "reestimated", "saturation", "gradient",
            or keys of `measures.CALLBACKS`.
        floor: `Contrast` of one method under two sets of masks, or None: the
            spread that masks alone cause.
        jit: Whether to compile with XLA; else Keras decides.
        dataset: TFDS name.
        options: Dict, arguments of the network.
        preparation: Steps of `preprocessing.prepare`.
        augmentation: Name of an augmentation of `batches`, or None.
        momentum: Float, of SGD.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: Float λ: λ/2 · ‖W‖² over all kernels is in the loss.
        drops: Floats in (0, 1): after which parts of the training the
            learning rate is multiplied by `drop`.
        drop: Float.
        printed: Pair (network, data set) as the paper's tables call them.
    """

    name: str
    claim: str
    network: Callable
    arms: tuple
    contrasts: tuple
    epochs: int
    batch_size: int
    learning_rate: float
    measures: frozenset = frozenset()
    floor: Contrast | None = None
    jit: bool = False
    dataset: str = "digits"
    options: dict = {}
    preparation: tuple = (("scale",),)
    augmentation: str | None = None
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    drops: tuple = ()
    drop: float = 0.1
    printed: tuple | None = None
