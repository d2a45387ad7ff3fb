"""The three panels of `dropx compare`, as data: one claim each."""

from collections.abc import Callable
from typing import NamedTuple

import keras

from keras_dropx.experiments import networks
from keras_dropx.experiments.controls import gaaf_control
from keras_dropx.layers import (
    GAAF,
    AugmentedDropout,
    BackwardDropout,
    ForwardDropout,
    Jumpout,
)


class Arm(NamedTuple):
    """One method of a panel.

    Attributes:
        name: String, what the tables call it.
        dropout: Function that returns a masking layer for a site, or None.
            With `rates_of` it takes the site's rate.
        activation: Function that returns an activation layer, or None.
        rates_of: Name of a Jumpout arm whose mean p′, site by site and seed
            by seed, is this arm's rate.
        mask_offset: Integer added to the seeds of the masks.
        exact: Whether the weight gradients are those of Eq. 9 too.
    """

    name: str
    dropout: Callable | None = None
    activation: Callable | None = None
    rates_of: str | None = None
    mask_offset: int = 0
    exact: bool = False


class Contrast(NamedTuple):
    """Treatment minus control, fixed before running.

    Attributes:
        metric: Key of a run's record.
        treatment: Arm name.
        control: Arm name.
        margin: What counts as equal, in the metric's unit.
    """

    metric: str
    treatment: str
    control: str
    margin: float


class Panel(NamedTuple):
    """A set of arms on one network, for one claim.

    Attributes:
        name: String.
        claim: What the panel is about, a sentence.
        network: Function of (input_shape, num_classes, dropout, …).
        arms: The `Arm`s, the one without noise first.
        contrasts: The primary `Contrast`s.
        floor: `Contrast` of one method under two sets of masks: the spread
            that masks alone cause.
        epochs: Integer, epochs of training.
        batch_size: Integer, in samples.
        learning_rate: Float, of SGD with momentum 0.9, the papers' optimizer.
        measures: What is measured besides test accuracy and loss: "gradient",
            "reestimated", "saturation", "convergence".
        jit: Whether to compile with XLA; else Keras decides.
    """

    name: str
    claim: str
    network: Callable
    arms: tuple
    contrasts: tuple
    floor: Contrast
    epochs: int
    batch_size: int
    learning_rate: float
    measures: frozenset
    jit: bool = False


RATE = 0.5
MASKS = Panel(
    name="masks",
    claim="Which pass of dropout helps: forward, backward or both?",
    network=networks.mlp,
    arms=(
        Arm("plain"),
        Arm("dropout", lambda: AugmentedDropout(RATE)),
        Arm("forward", lambda: ForwardDropout(RATE)),
        Arm("backward", lambda: BackwardDropout(RATE)),
        Arm("augmented", lambda: AugmentedDropout(RATE, 1e-4)),
        Arm("augmented-strong", lambda: AugmentedDropout(RATE, 0.3)),
        Arm("forward-exact", lambda: ForwardDropout(RATE), exact=True),
        Arm("backward-exact", lambda: BackwardDropout(RATE), exact=True),
        Arm(
            "augmented-exact", lambda: AugmentedDropout(RATE, 1e-4), exact=True
        ),
        Arm("dropout-remasked", lambda: AugmentedDropout(RATE), mask_offset=1),
    ),
    contrasts=(
        Contrast("test_accuracy", "dropout", "plain", 0.5),
        Contrast("test_accuracy", "forward", "dropout", 0.5),
        Contrast("test_accuracy", "backward", "plain", 0.5),
        Contrast("test_accuracy", "augmented", "dropout", 0.5),
        Contrast("test_accuracy", "forward-exact", "dropout", 0.5),
        Contrast("test_accuracy", "backward-exact", "plain", 0.5),
        Contrast("test_accuracy", "augmented-exact", "dropout", 0.5),
    ),
    floor=Contrast("test_accuracy", "dropout-remasked", "dropout", 0.5),
    epochs=100,
    batch_size=50,
    learning_rate=0.02,
    measures=frozenset({"gradient"}),
)

BN_RATE = 0.3
BATCHNORM = Panel(
    name="batchnorm",
    claim=(
        "Does a smaller rescale before batch normalisation train better "
        "weights, or repair its statistics?"
    ),
    network=networks.convnet_bn,
    arms=(
        Arm("plain"),
        Arm("dropout", lambda: AugmentedDropout(BN_RATE)),
        Arm(
            "dropout-batchnorm",
            lambda: AugmentedDropout(BN_RATE, rescale="batchnorm"),
        ),
        Arm("jumpout", lambda: Jumpout(sigma=0.2)),
        Arm(
            "jumpout-control",
            lambda rate: AugmentedDropout(rate, rescale="batchnorm"),
            rates_of="jumpout",
        ),
        Arm(
            "dropout-remasked",
            lambda: AugmentedDropout(BN_RATE),
            mask_offset=1,
        ),
    ),
    contrasts=tuple(
        Contrast(metric, treatment, control, 0.5)
        for metric in ("test_accuracy", "reestimated_accuracy")
        for treatment, control in (
            ("dropout-batchnorm", "dropout"),
            ("jumpout", "jumpout-control"),
        )
    ),
    floor=Contrast("reestimated_accuracy", "dropout-remasked", "dropout", 0.5),
    epochs=24,
    batch_size=50,
    learning_rate=0.02,
    measures=frozenset({"reestimated"}),
)

SATURATION = Panel(
    name="saturation",
    claim="Is GAAF's gain more than a larger gradient?",
    network=networks.mlp,
    arms=(
        Arm("plain-tanh", None, lambda: keras.layers.Activation("tanh")),
        Arm(
            "dropout-tanh",
            lambda: AugmentedDropout(RATE),
            lambda: keras.layers.Activation("tanh"),
        ),
        Arm("gaaf", None, lambda: GAAF("tanh")),
        Arm("gaaf-control", None, lambda: gaaf_control("tanh")),
        Arm(
            "dropout-remasked",
            lambda: AugmentedDropout(RATE),
            lambda: keras.layers.Activation("tanh"),
            mask_offset=1,
        ),
    ),
    contrasts=(
        Contrast("test_accuracy", "dropout-tanh", "plain-tanh", 0.5),
        Contrast("test_accuracy", "gaaf", "gaaf-control", 0.5),
        Contrast("epochs_to_loss", "gaaf", "plain-tanh", 2),
        Contrast("epochs_to_loss", "gaaf", "gaaf-control", 2),
    ),
    floor=Contrast("test_accuracy", "dropout-remasked", "dropout-tanh", 0.5),
    epochs=100,
    batch_size=50,
    learning_rate=0.03,
    measures=frozenset({"gradient", "saturation", "convergence"}),
)

PANELS = {panel.name: panel for panel in (MASKS, BATCHNORM, SATURATION)}
