"""The numbers of a run's record: what they are called and how they compare."""

from typing import NamedTuple

import numpy as np

from keras_dropx.experiments import statistics


class Metric(NamedTuple):
    """How a number of a record is shown.

    Attributes:
        heading: Of its column in a table of arms.
        text: Its name and unit elsewhere.
        scale: What the record is multiplied by.
        digits: Decimals shown.
    """

    heading: str
    text: str
    scale: float
    digits: int


METRICS = {
    "test_accuracy": Metric("accuracy %", "accuracy, %", 100, 2),
    "test_loss": Metric("loss", "loss, nats", 1, 3),
    "reestimated_accuracy": Metric(
        "re-est. accuracy %", "accuracy, BN re-estimated, %", 100, 2
    ),
    "reestimated_loss": Metric(
        "re-est. loss", "loss, BN re-estimated, nats", 1, 3
    ),
    "epochs_to_loss": Metric(
        "epochs to 0.02", "epochs to training loss 0.02", 1, 1
    ),
    "train_accuracy": Metric(
        "train accuracy %", "accuracy on the training images, %", 100, 2
    ),
    "final_train_loss": Metric(
        "train loss", "training loss with its noise, last epoch, nats", 1, 3
    ),
    "early_accuracy": Metric(
        "early accuracy %", "accuracy over the first fifth of epochs, %", 100, 2
    ),
    "log_gradient": Metric(
        "log gradient",
        "log10 of the gradient information, mean over hidden layers",
        1,
        2,
    ),
    "log_gradient_normalized": Metric(
        "log gradient / output",
        "log10 of the gradient information over the output error, mean over "
        "hidden layers",
        1,
        2,
    ),
    "mean_saturation": Metric(
        "saturated", "share of saturated net values", 1, 3
    ),
}


def value(record, metric):
    """Returns a number of a record, or None where it has none."""
    return DERIVED[metric](record) if metric in DERIVED else record.get(metric)


def by_seed(records, arm, metric="test_accuracy"):
    """Returns a dict from seed to the number of an arm's run."""
    found = {
        record["seed"]: value(record, metric)
        for record in records
        if record["arm"] == arm
    }
    return {
        seed: number for seed, number in found.items() if number is not None
    }


def paired(records, metric, treatment, control):
    """Returns treatment minus control, an array over the seeds both have."""
    return _array(_differences(records, metric, treatment, control))


def contrasted(records, contrast):
    """Returns a contrast's difference, an array over seeds.

    Args:
        records: List of run records of a panel.
        contrast: `panel.Contrast`; of several pairs the mean is taken, over
            the seeds that all have.
    """
    arms = list(dict.fromkeys(record["arm"] for record in records))
    pairs = [
        _differences(records, contrast.metric, *pair)
        for pair in contrast.pairs(arms)
    ]
    if not pairs:
        return np.array([])
    seeds = set.intersection(*map(set, pairs))
    return _array(
        {seed: np.mean([pair[seed] for pair in pairs]) for seed in seeds}
    )


def compared(records, contrasts):
    """Returns a `statistics.Comparison` for each contrast, Holm over all."""
    return statistics.compare(
        [contrasted(records, contrast) for contrast in contrasts],
        [contrast.margin for contrast in contrasts],
    )


def _differences(records, metric, treatment, control):
    treated = by_seed(records, treatment, metric)
    controls = by_seed(records, control, metric)
    scale = METRICS[metric].scale
    return {
        seed: scale * (treated[seed] - controls[seed])
        for seed in treated.keys() & controls.keys()
    }


def _array(differences):
    return np.array([differences[seed] for seed in sorted(differences)])


def _early_accuracy(record):
    if "curve" not in record:
        return None
    end = record["epochs"] / 5
    early = [p["test_accuracy"] for p in record["curve"] if p["epoch"] <= end]
    return float(np.mean(early)) if early else None


def _log_gradient(name):
    def of(record):
        points = [
            point["gradient_information"]
            for point in record.get("measured", ())
            if "gradient_information" in point
        ]
        if not points:
            return None
        layers = [k for k in points[0] if k.startswith(f"{name}/hidden_")]
        means = [np.mean([point[key] for point in points]) for key in layers]
        return float(np.mean(np.log10(means)))

    return of


def _mean_saturation(record):
    saturation = record.get("saturation")
    return saturation and float(np.mean(list(saturation.values())))


DERIVED = {
    "final_train_loss": lambda record: record["train_loss"][-1],
    "early_accuracy": _early_accuracy,
    "log_gradient": _log_gradient("gradient_information"),
    "log_gradient_normalized": _log_gradient("gradient_information_normalized"),
    "mean_saturation": _mean_saturation,
}
