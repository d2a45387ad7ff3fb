"""The recipes on 300 embedded digits: what changes, and nothing else.

The images have 8 × 8 pixels and the training sets 300, so networks are
narrower, trainings shorter, and nothing is cropped or flipped. Rates, methods
and contrasts stay. Learning rates are those at which the network without
dropout learns the training images; they were set before any comparison, but for
that of gaaf_svhn_cnn: at 0.02 GAAF without batch normalisation stays at chance.
"""

import dataclasses
from typing import NamedTuple

from keras_dropx.experiments.papers.recipe import (
    IN_MEMORY,
    Deviation,
    on_dataset,
)


class Small(NamedTuple):
    """How a network is trained on digits.

    Attributes:
        epochs: Integer.
        learning_rate: Float.
        options: Dict, arguments of the network in place of the recipe's.
        size: Integer, height and width the images are resized to, or None.
        why: String, what else is to be said of these deviations.
    """

    epochs: int
    learning_rate: float
    options: dict = {}
    size: int | None = None
    why: str = ""


BATCH_SIZE = 50
NETWORKS = {
    "lenet": Small(60, 0.02, size=16),
    "convnet_quick": Small(100, 0.003),
    "resnet20": Small(40, 0.05),
    "all_cnn": Small(100, 0.02, {"scale": 0.25}, 12),
    "nin": Small(100, 0.02, {"scale": 0.25, "stddev": 0.1}),
    "cifar10_small": Small(40, 0.02, {"scale": 0.5}),
    "wide_resnet": Small(40, 0.05, {"depth": 16, "width": 1}),
    "preact_resnet20": Small(40, 0.05),
    "resnet18": Small(40, 0.05, {"scale": 0.25}),
    "gaaf_mlp": Small(100, 0.03),
    "gaaf_vgg": Small(60, 0.02, {"scale": 0.25}),
    "gaaf_svhn_cnn": Small(
        60,
        0.002,
        {"scale": 0.5},
        why="; set after a run at 0.02, where GAAF without batch "
        "normalisation stayed at chance",
    ),
    "srivastava_mlp": Small(100, 0.02, {"units": (256, 256, 256)}),
    "srivastava_convnet": Small(100, 0.003, {"scale": 0.5}),
}


def on_digits(recipe):
    """Returns a recipe for digits."""
    plans = tuple(map(_on_digits, recipe.plans))
    small = dataclasses.replace(recipe, plans=plans)
    small = on_dataset(small, "digits")
    names = [plan.network.__name__ for plan in small.plans]
    deviations = [
        Deviation(
            f"{name} on digits",
            "not in the paper",
            _describe(NETWORKS[name]),
            "300 images of 8 × 8 pixels, two CPU cores; no augmentation; "
            "global contrast, where it is used, such that pixels have "
            f"variance 1{NETWORKS[name].why}",
        )
        for name in names
    ]
    deviations = (*recipe.deviations, *deviations)
    return dataclasses.replace(small, deviations=deviations)


def _on_digits(plan):
    small = NETWORKS[plan.network.__name__]
    if plan.streamed:
        plan = dataclasses.replace(plan, **IN_MEMORY)
    # Pixels of variance 1, as contrast 55 makes them at 32 × 32 × 3.
    contrast = ("gcn", float(small.size or 8))
    steps = [contrast if s[0] == "gcn" else s for s in plan.preparation]
    resize = ()
    if small.size is not None:
        resize = (("resize", small.size, small.size),)
    return dataclasses.replace(
        plan,
        epochs=small.epochs,
        batch_size=BATCH_SIZE,
        learning_rate=small.learning_rate,
        options=small.options,
        preparation=(*resize, *steps),
        augmentation=None,
    )


def _describe(small):
    parts = [
        f"{small.epochs} epochs from learning rate {small.learning_rate:g}",
        f"batch {BATCH_SIZE}",
        *(f"{key} {value}" for key, value in small.options.items()),
    ]
    if small.size is not None:
        parts.append(f"images resized to {small.size} × {small.size}")
    return ", ".join(parts)
