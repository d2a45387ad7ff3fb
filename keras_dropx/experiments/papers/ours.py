"""The three plans of `dropx compare`, as data: one claim each."""

import keras

from keras_dropx.experiments import networks
from keras_dropx.experiments.baselines.gain_matched import gaaf_control
from keras_dropx.experiments.plan import Contrast, Method, Plan
from keras_dropx.layers import (
    GAAF,
    AugmentedDropout,
    BackwardDropout,
    ForwardDropout,
    Jumpout,
)

RATE = 0.5
MASKS = Plan(
    name="masks",
    claim="Which pass of dropout helps: forward, backward or both?",
    network=networks.mlp,
    methods=(
        Method("plain"),
        Method("dropout", lambda: AugmentedDropout(RATE)),
        Method("forward", lambda: ForwardDropout(RATE)),
        Method("backward", lambda: BackwardDropout(RATE)),
        Method("augmented", lambda: AugmentedDropout(RATE, 1e-4)),
        Method("augmented-strong", lambda: AugmentedDropout(RATE, 0.3)),
        Method("forward-exact", lambda: ForwardDropout(RATE), exact=True),
        Method("backward-exact", lambda: BackwardDropout(RATE), exact=True),
        Method(
            "augmented-exact", lambda: AugmentedDropout(RATE, 1e-4), exact=True
        ),
        Method(
            "dropout-remasked", lambda: AugmentedDropout(RATE), mask_offset=1
        ),
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
BATCHNORM = Plan(
    name="batchnorm",
    claim=(
        "Does a smaller rescale before batch normalisation train better "
        "weights, or repair its statistics?"
    ),
    network=networks.convnet_bn,
    methods=(
        Method("plain"),
        Method("dropout", lambda: AugmentedDropout(BN_RATE)),
        Method(
            "dropout-batchnorm",
            lambda: AugmentedDropout(BN_RATE, rescale="batchnorm"),
        ),
        Method("jumpout", lambda: Jumpout(sigma=0.2)),
        Method(
            "jumpout-control",
            lambda rate: AugmentedDropout(rate, rescale="batchnorm"),
            rates_of="jumpout",
        ),
        Method(
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

SATURATION = Plan(
    name="saturation",
    claim="Is GAAF's gain more than a larger gradient?",
    network=networks.mlp,
    methods=(
        Method("plain-tanh", None, lambda: keras.layers.Activation("tanh")),
        Method(
            "dropout-tanh",
            lambda: AugmentedDropout(RATE),
            lambda: keras.layers.Activation("tanh"),
        ),
        Method("gaaf", None, lambda: GAAF("tanh")),
        Method("gaaf-control", None, lambda: gaaf_control("tanh")),
        Method(
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

PLANS = {plan.name: plan for plan in (MASKS, BATCHNORM, SATURATION)}
