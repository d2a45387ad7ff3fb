"""The numbers of a run: what a plan may measure, and how each is shown."""

import re
from typing import NamedTuple

import numpy as np

from keras_dropx import callbacks

# Functions of some training images, their labels and the test images.
CALLBACKS = {
    "gradient_information": lambda x, y, test: callbacks.GradientInformation(
        data=(x, y)
    ),
    "net_variance": lambda x, y, test: callbacks.NetVariance(x),
    "net_distribution": lambda x, y, test: callbacks.NetDistribution(test),
    "moment_drift": lambda x, y, test: callbacks.MomentDrift(x),
    "active_fraction": lambda x, y, test: callbacks.ActiveFraction(x),
}
# What a plan may ask for.
NAMES = (
    "convergence",  # the first epoch at a training loss of 0.02
    "curve",  # the test loss at some epochs
    "gradient",  # mean|∂E/∂W| of each kernel
    "reestimated",  # the test set with batch statistics without noise
    "saturation",  # shares of saturated net values
    "train",  # accuracy on the training images
    *CALLBACKS,
)
# Which of them ask for all images at once, so not for a stream of them.
NEED_ALL_IMAGES = {
    "convergence",
    "net_distribution",
    "reestimated",
    "saturation",
    "train",
}


class Metric(NamedTuple):
    """How a number of a record is shown.

    Attributes:
        heading: Of its column in a table of methods.
        text: Its name and unit elsewhere.
        scale: What the record is multiplied by.
        digits: Decimals shown below 1,000, or None: four digits in all.
        better: "max" or "min", or None where neither is better.
        unit: What a difference of it is counted in, within a sentence.
        measure: What a plan must measure for it, or None.
    """

    heading: str
    text: str
    scale: float = 1
    digits: int | None = None
    better: str | None = None
    unit: str = ""
    measure: str | None = None

    def format(self, number, sign=""):
        """Returns a (scaled) number as a string; `sign` "+" gives all one."""
        if self.digits is not None and not abs(number) >= 1000:
            return f"{number:{sign}.{self.digits}f}"
        large = 1e4 <= abs(number) < 1e15
        return f"{number:{sign},.0f}" if large else f"{number:{sign}.4g}"

    def span(self, interval, sign=""):
        """Returns the ends of a `statistics.Interval`, or why it has none."""
        low, high = interval.low, interval.high
        if low is None:
            return interval.why_no_interval
        return f"{self.format(low, sign)} to {self.format(high, sign)}"

    def amount(self, number):
        """Returns a (scaled) number with its unit: "1 point", "2 points"."""
        text = f"{number:g}"
        unit = re.sub(r"^(\w+)s\b", r"\1", self.unit)
        return f"{text} {unit if text == '1' else self.unit}"


METRICS = {
    "test_loss": Metric("loss", "loss, nats", 1, 3, "min", "nats of loss"),
    "reestimated_loss": Metric(
        "loss, BN re-estimated",
        "loss, BN re-estimated, nats",
        1,
        3,
        "min",
        "nats of loss with BN re-estimated",
        "reestimated",
    ),
    "epochs_to_loss": Metric(
        "epochs to 0.02",
        "epochs to training loss 0.02",
        1,
        1,
        "min",
        "epochs to training loss 0.02",
        "convergence",
    ),
    "train_accuracy": Metric(
        "train accuracy %",
        "accuracy on the training data, %",
        100,
        2,
        "max",
        "points on the training data",
        "train",
    ),
    "final_train_loss": Metric(
        "train loss",
        "training loss with its noise, last epoch, nats",
        1,
        3,
        "min",
        "nats of training loss",
    ),
    "early_accuracy": Metric(
        "early accuracy %",
        "accuracy over the first fifth of epochs, %",
        100,
        2,
        "max",
        "points over the first fifth of epochs",
        "curve",
    ),
    "log_gradient": Metric(
        "log gradient",
        "log10 of the gradient information, mean over hidden layers",
        1,
        2,
        None,
        "in log10 of the gradient information",
        "gradient_information",
    ),
    "log_gradient_normalized": Metric(
        "log gradient / output",
        "log10 of the gradient information over the output error, mean over "
        "hidden layers",
        1,
        2,
        None,
        "in log10 of the gradient information over the output error",
        "gradient_information",
    ),
    "val_loss": Metric(
        "val_loss, nats",
        "loss on the validation data, nats",
        1,
        4,
        "min",
        "nats of loss on the validation data",
    ),
    "mean_saturation": Metric(
        "saturated", "share of saturated net values", 1, 3, measure="saturation"
    ),
}
REESTIMATED = "reestimated_"
_MAX = ("acc", "auc", "precision", "recall", "f1", "iou", "r2", "top_k")
_MIN = ("loss", "error", "entropy", "mse", "mae", "mape", "msle", "perplexity")
LABELS = {
    "plain": "no dropout",
    "none": "no dropout",
    "plain-tanh": "tanh without dropout",
    "dropout-tanh": "tanh with dropout",
}


def describe(name, plan=None):
    """Returns the `Metric` of a record's key.

    It may be any key with a number. The directions of a user's own metrics are
    the plan's; those of others are told from their names.
    """
    own = getattr(plan, "directions", {})
    if name in METRICS and name not in own:
        return METRICS[name]
    again = name.startswith(REESTIMATED)
    shown = name.removeprefix(REESTIMATED).removeprefix("test_")
    better = own.get(name) or direction(shown)
    unit, scale, digits = f"in {shown}", 1, None
    parts = [shown] + ["BN re-estimated"] * again
    if re.search("(^|_)acc(uracy)?(_|$)", shown.lower()):
        unit = "points" if shown == "accuracy" else f"points of {shown}"
        scale, digits = 100, 2
        parts.append("%")
    text = ", ".join(parts)
    return Metric(
        text if again else text.replace(", %", " %"),
        text,
        scale,
        digits,
        better,
        unit + " with BN re-estimated" * again,
        "reestimated" if again else None,
    )


def direction(name):
    """Returns which is better, "max" or "min", if the name says it, or None."""
    for found, parts in (("min", _MIN), ("max", _MAX)):
        if any(part in name.lower() for part in parts):
            return found
    return None


def label(method):
    """Returns what a method is called where people read it."""
    base, _, other = method.partition("remasked")
    if method != base:
        base = base.removesuffix("-") or "dropout"
        return f"{base}{other}, other masks"
    return LABELS.get(method, method)


def value(record, metric):
    """Returns a number of a record, or None where it has none.

    What a run that diverged predicts is none, whatever it scores.
    """
    if record.get("diverged") and metric.startswith(("test_", REESTIMATED)):
        return float("nan")
    return DERIVED[metric](record) if metric in DERIVED else record.get(metric)


def _early_accuracy(record):
    early = [
        point["test_accuracy"]
        for point in record.get("curve", ())
        if point["epoch"] <= record["epochs"] / 5
    ]
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
        with np.errstate(divide="ignore"):
            return float(np.mean(np.log10(means)))

    return of


def _mean_saturation(record):
    saturation = record.get("saturation")
    return saturation and float(np.mean(list(saturation.values())))


DERIVED = {
    "final_train_loss": lambda record: (record.get("train_loss") or [None])[-1],
    "early_accuracy": _early_accuracy,
    "log_gradient": _log_gradient("gradient_information"),
    "log_gradient_normalized": _log_gradient("gradient_information_normalized"),
    "mean_saturation": _mean_saturation,
}
