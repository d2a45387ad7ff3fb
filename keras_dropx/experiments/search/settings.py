"""What makes a search: its settings, its plan and its space."""

import dataclasses

import keras
import keras_tuner

from keras_dropx import errors
from keras_dropx.experiments import networks, papers
from keras_dropx.experiments.papers import ours
from keras_dropx.tuner import any_dropout
from keras_dropx.tuner.search_spaces import METHODS

OBJECTIVES = {"val_accuracy": "max", "val_loss": "min"}
OURS = {"mlp": ours.MASKS, "convnet_bn": ours.BATCHNORM}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What makes a search; two runs that differ in it are two searches.

    Attributes:
        dataset: TFDS name.
        train_size: Integer, training images.
        network: Name in `networks`.
        method: "any" or a method of `any_dropout`.
        tuner: "random", "bayesian", "hyperband" or "grid".
        executions: Integer, trainings a trial.
        epochs: Integer, epochs of each training.
        objective: Key of `OBJECTIVES`, on the validation images.
        seed: Integer of the split, the proposals and the trainings.
        rate: Pair, the range of the drop rates.
        backward_rate: Pair, the range of the backward ratio.
        sigma: Pair, the range of σ.
        precision: Name of a Keras dtype policy.
        jit: Whether to compile with XLA.
        backend: Name of Keras' backend.

    Raises:
        ValueError: If a range is empty, reversed or, of a rate, reaches 1, or
            a name is none.
    """

    dataset: str
    train_size: int
    network: str
    method: str
    tuner: str
    executions: int
    epochs: int
    objective: str
    seed: int
    rate: tuple
    backward_rate: tuple
    sigma: tuple
    precision: str
    jit: bool
    backend: str

    def __post_init__(self):
        errors.check_choice("network", self.network, networks.__all__)
        errors.check_choice("method", self.method, ("any", *METHODS))
        errors.check_choice("objective", self.objective, tuple(OBJECTIVES))
        any_dropout(keras_tuner.HyperParameters(), **self.ranges)

    @property
    def methods(self):
        """The searches: the method's, and plain dropout's beside it."""
        return tuple(dict.fromkeys((self.method, "dropout")))

    @property
    def ranges(self):
        """Dict from what is searched to its range."""
        return {
            name: getattr(self, name)
            for name in ("rate", "backward_rate", "sigma")
        }

    @property
    def direction(self):
        """Returns "max" or "min": which objective is better."""
        return OBJECTIVES[self.objective]


def default_epochs(network, dataset):
    """Returns the epochs of the plan that a network comes from."""
    return _origin(network, dataset).epochs


def make_plan(settings):
    """Returns a plan that trains the network of a search as it is trained."""
    return dataclasses.replace(
        _origin(settings.network, settings.dataset),
        name="search",
        claim="",
        methods=(),
        contrasts=(),
        measures=frozenset(),
        floor=None,
        printed=None,
        streamed=False,
        dataset=settings.dataset,
        epochs=settings.epochs,
        jit=settings.jit,
    )


def space(settings, input_shape, num_classes):
    """Returns the arguments of `any_dropout` but for the methods.

    Raises:
        ValueError: If the network does not take images of this shape.
    """
    plan = make_plan(settings)
    model = plan.network(tuple(input_shape), num_classes, **plan.options)
    norm = any(
        isinstance(layer, keras.layers.BatchNormalization)
        for layer in model.layers
    )
    # Jumpout's own rescale is for a batch normalisation that follows.
    return {**settings.ranges, "rescale": None if norm else "mean"}


def make_layer(method, values, arguments):
    """Returns a new layer of a trial.

    Args:
        values: Dict, the trial's hyperparameters.
        arguments: Dict, those of `any_dropout` but for the methods.
    """
    hp = keras_tuner.HyperParameters()
    hp.values = dict(values)
    methods = METHODS if method == "any" else (method,)
    return any_dropout(hp, methods=methods, **arguments)


def _origin(network, dataset):
    """Returns the plan that a network comes from: ours, or a paper's."""
    if network in OURS:
        return OURS[network]
    for name in papers.RECIPES:
        # The search is for a recipe, not for its data set.
        names = [p.network.__name__ for p in papers.RECIPES[name].plans]
        if network in names:
            plans = papers.find(name, dataset).plans
            return next(p for p in plans if p.network.__name__ == network)
    raise errors.invalid("network", "a network of a plan", network)
