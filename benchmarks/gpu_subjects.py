"""What `gpu-plan` compiles, and how much each may move."""

from typing import Any, NamedTuple

import keras

from keras_dropx.layers import (
    GAAF,
    AugmentedDropout,
    BackwardDropout,
    ForwardDropout,
    Jumpout,
    MaskedInput,
)

DTYPES = ("float32", "mixed_bfloat16")


class Subject(NamedTuple):
    """A layer.

    Attributes:
        name: As the table has it.
        make: Function that makes the layer.
        budget: What it may move over a copy; None: it has to compile.
        dtypes: Names of dtype policies.
        kept: Bytes an element that it may keep.
        shape: Shape of the input, or None for the usual one.
    """

    name: str
    make: Any
    budget: float | None = None
    dtypes: tuple = DTYPES
    kept: float = 0.01
    shape: tuple | None = None


def _schedule():
    return keras.optimizers.schedules.PolynomialDecay(0.0, 100, 0.5)


def _convolution():
    layer = keras.layers.Conv2D(32, 3, padding="same")
    return MaskedInput(layer, AugmentedDropout(0.25, 1e-4))


_COMPILES = {"dtypes": ("float32",)}

LAYERS = (
    Subject("keras.Dropout(.25)", lambda: keras.layers.Dropout(0.25)),
    Subject(
        "AugmentedDropout(.25, .25)", lambda: AugmentedDropout(0.25, 0.25), 1.05
    ),
    Subject(
        "AugmentedDropout(.25, 1e-4)",
        lambda: AugmentedDropout(0.25, 1e-4),
        1.05,
    ),
    Subject("AugmentedDropout(.25)", lambda: AugmentedDropout(0.25), 1.05),
    Subject(
        "AugmentedDropout(.25, .25, independent)",
        lambda: AugmentedDropout(0.25, 0.25, coupling="independent"),
        1.05,
    ),
    Subject("ForwardDropout(.25)", lambda: ForwardDropout(0.25), 1.05),
    Subject("BackwardDropout(.25)", lambda: BackwardDropout(0.25), 1.05),
    Subject("Jumpout(sigma=.2)", lambda: Jumpout(sigma=0.2), 1.30),
    Subject("tanh", lambda: keras.layers.Activation("tanh")),
    # tanh reads x besides: 1.25.
    Subject("GAAF('tanh')", lambda: GAAF("tanh"), 1.30),
    Subject(
        "AugmentedDropout(.25, .25), float16",
        lambda: AugmentedDropout(0.25, 0.25),
        1.05,
        ("mixed_float16",),
    ),
    Subject(
        "AugmentedDropout(schedule, schedule)",
        lambda: AugmentedDropout(_schedule(), _schedule()),
        1.05,
        **_COMPILES,
    ),
    Subject(
        "AugmentedDropout(noise_shape=(None, 1))",
        lambda: AugmentedDropout(0.25, 0.25, noise_shape=(None, 1)),
        1.05,
        **_COMPILES,
    ),
    Subject(
        "AugmentedDropout(.25, .25), odd shape",
        lambda: AugmentedDropout(0.25, 0.25),
        1.05,
        shape=(1021, 4093),
        **_COMPILES,
    ),
    Subject(
        "Jumpout(sigma=.2, per_sample)",
        lambda: Jumpout(sigma=0.2, per_sample=True),
        1.30,
        **_COMPILES,
    ),
    Subject(
        "Jumpout(rate=.2, backward_rate=1e-4)",
        lambda: Jumpout(rate=0.2, backward_rate=1e-4),
        1.30,
        **_COMPILES,
    ),
    Subject("GAAF('gelu')", lambda: GAAF("gelu"), **_COMPILES),
    Subject(
        "MaskedInput(Conv2D)",
        _convolution,
        shape=(64, 32, 32, 16),
        dtypes=("float32", "mixed_float16"),
    ),
)
SHARDED = tuple(
    subject
    for subject in LAYERS
    if subject.name in ("AugmentedDropout(.25, .25)", "ForwardDropout(.25)")
)
# These have masks that need nothing but the seed.
LESS_THAN_KERAS = ("augmented", "augmented_paper", "forward", "backward")
# Network, subjects, dtypes and batch size.
STEPS = (
    (
        "mlp",
        ("none", "keras", *LESS_THAN_KERAS, "jumpout", "tanh", "gaaf"),
        DTYPES,
        4096,
    ),
    ("convnet", ("none", "keras", "augmented"), DTYPES, 256),
    ("resnet20", ("none", "keras", "augmented"), ("float32",), 64),
)
# Networks that take a minute to compile.
LONG = ("resnet20",)
# Of the bytes without dropout. Jumpout reads each activation once more, to
# count: 0.07 of them.
STEP_BUDGETS = {
    **{("mlp", name): 1.15 for name in LESS_THAN_KERAS},
    ("mlp", "jumpout"): 1.22,
    ("convnet", "augmented"): 1.16,
    ("resnet20", "augmented"): 1.10,
}
