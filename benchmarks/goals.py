"""The goals for the speed and the memory of the layers."""

from typing import NamedTuple

MASKING = (
    "augmented",
    "augmented_paper",
    "augmented_single",
    "forward",
    "backward",
    "jumpout",
)
ALL = ("tensorflow", "jax")


class Goal(NamedTuple):
    """A number that is not to be exceeded.

    Attributes:
        what: What is measured, in words.
        level: "op" or "train".
        subjects: Names of the subjects, each of which has to hold it.
        reference: What the time is divided by, or None: the goal is then
            about the bytes kept for backward, per element.
        mode: "graph", "xla" or "eager".
        limit: Number.
        dtype: Name of a dtype policy.
        smallest: The smallest number of elements that it is about.
        largest: The largest.
        networks: Names of the networks, or None for all.
        backends: Names of the Keras backends.
        device: "cpu" or "gpu".
    """

    what: str
    level: str
    subjects: tuple
    reference: str | None
    mode: str
    limit: float
    dtype: str = "float32"
    smallest: int = 2**16
    largest: int = 2**62
    networks: tuple | None = None
    backends: tuple = ("tensorflow",)
    device: str = "cpu"


def _op(what, subject, reference, mode, limit, **bounds):
    return Goal(what, "op", (subject,), reference, mode, limit, **bounds)


GOALS = (
    _op(
        "AugmentedDropout, >= 1M",
        "augmented",
        "keras",
        "graph",
        0.75,
        smallest=2**20,
    ),
    _op(
        "AugmentedDropout, >= 1M",
        "augmented",
        "keras",
        "graph",
        0.62,
        dtype="mixed_bfloat16",
        smallest=2**20,
    ),
    _op(
        "AugmentedDropout, 64k",
        "augmented",
        "keras",
        "graph",
        0.95,
        largest=2**16,
    ),
    _op("AugmentedDropout", "augmented", "keras", "xla", 0.05),
    _op("AugmentedDropout", "augmented", "keras_philox", "xla", 0.75),
    _op("the paper's .25 / 1e-4", "augmented_paper", "keras", "graph", 1.0),
    _op("the paper's .25 / 1e-4", "augmented_paper", "keras", "xla", 0.05),
    _op("Jumpout, >= 1M", "jumpout", "keras", "graph", 0.85, smallest=2**20),
    _op("Jumpout, >= 1M", "jumpout", "keras", "xla", 0.03, smallest=2**20),
    _op("bytes kept per element", "augmented", None, "graph", 1.0),
    _op("bytes kept per element", "augmented", None, "xla", 2.0, backends=ALL),
    Goal("masking layers", "train", MASKING, "keras", "graph", 1.0),
    Goal(
        "masking layers",
        "train",
        MASKING,
        "keras",
        "graph",
        1.0,
        dtype="mixed_bfloat16",
    ),
    Goal(
        "GAAF over the activation",
        "train",
        ("gaaf",),
        "tanh",
        "graph",
        1.10,
        networks=("mlp",),
    ),
    Goal(
        "GAAF over the activation",
        "train",
        ("gaaf",),
        "tanh",
        "xla",
        1.03,
        networks=("mlp",),
        backends=ALL,
    ),
    Goal(
        "MaskedInput",
        "train",
        ("masked_input",),
        "augmented_in_front",
        "graph",
        1.05,
    ),
    Goal(
        "MaskedInput",
        "train",
        ("masked_input",),
        "augmented_in_front",
        "xla",
        1.05,
        backends=ALL,
    ),
    Goal(
        "GradientInformation",
        "train",
        ("gradient_information",),
        "none",
        "graph",
        1.05,
    ),
    Goal(
        "GradientInformation",
        "train",
        ("gradient_information",),
        "none",
        "xla",
        1.05,
    ),
    Goal(
        "AugmentedDropout",
        "train",
        ("augmented",),
        "keras",
        "eager",
        1.05,
        networks=("mlp",),
        backends=("torch",),
    ),
    Goal(
        "Jumpout",
        "train",
        ("jumpout",),
        "keras",
        "eager",
        1.15,
        networks=("mlp",),
        backends=("torch",),
    ),
    _op(
        "AugmentedDropout, >= 64M",
        "augmented",
        "copy",
        "xla",
        1.5,
        smallest=2**26,
        backends=ALL,
        device="gpu",
    ),
)


def that_apply(machine):
    """Returns the goals for a machine, as `device.describe` describes it."""
    return [
        goal
        for goal in GOALS
        if machine["backend"] in goal.backends
        and machine["device"] == goal.device
    ]


def values(goal, records):
    """Finds what was measured for a goal.

    Args:
        goal: `Goal`.
        records: List of the measurements, as the JSON files have them.

    Returns:
        List of tuples (number, record).
    """
    found = []
    for record in records:
        if (
            record["level"] != goal.level
            or record["subject"] not in goal.subjects
            or record["mode"] != goal.mode
            or record["dtype"] != goal.dtype
            or goal.networks
            and record["network"] not in goal.networks
            or goal.level == "op"
            and not goal.smallest <= record["size"] <= goal.largest
        ):
            continue
        if goal.reference is None:
            found.append((record["kept_bytes"] / record["size"], record))
        elif goal.reference in record["ratios"]:
            ratio = record["ratios"][goal.reference]
            found.append((ratio["median"], record))
    return found


def verdict(goal, records):
    """Judges the worst of what was measured, to two decimal places.

    Returns:
        Tuple ("held", "missed" or "not measured"; number or None; record or
        None).
    """
    found = values(goal, records)
    if not found:
        return "not measured", None, None
    worst, record = max(found, key=lambda pair: pair[0])
    held = round(worst, 2) <= goal.limit
    return "held" if held else "missed", worst, record
