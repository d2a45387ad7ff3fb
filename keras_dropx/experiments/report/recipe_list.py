"""`dropx list`: the recipes, and how long they take."""

import functools
import math
import time

import keras
import numpy as np

from keras_dropx.experiments import papers
from keras_dropx.experiments.report.table import Table

# Training images, their shape and classes, for the costs: TFDS knows them
# once a data set is prepared.
SIZES = {
    "mnist": (60_000, (28, 28, 1), 10),
    "fashion_mnist": (60_000, (28, 28, 1), 10),
    "cifar10": (50_000, (32, 32, 3), 10),
    "cifar100": (50_000, (32, 32, 3), 100),
    "svhn_cropped": (73_257, (32, 32, 3), 10),
    "svhn_cropped+extra": (604_388, (32, 32, 3), 10),
    "stl10": (5_000, (96, 96, 3), 10),
    "imagenet2012": (1_281_167, (224, 224, 3), 1000),
}


def list_recipes(console):
    """Prints all recipes: networks, data sets, runs, and how long they take."""
    per_second = speed()
    rows = []
    for recipe in papers.RECIPES.values():
        lines, runs, seconds = {}, 0, 0.0
        for plan in recipe.plans:
            count = recipe.seeds * len(plan.methods)
            size, shape, classes = SIZES[plan.dataset]
            options = tuple(plan.options.items())
            operations = 6 * products(plan.network, options, shape, classes)
            runs += count
            seconds += count * plan.epochs * size * operations / per_second
            line = f"{' on '.join(plan.printed)}, {plan.epochs} epochs"
            lines[line] = None
        what = "\n".join([recipe.title, *lines])
        rows.append([recipe.name, what, str(runs), duration(seconds)])
    caption = (
        "runs: trainings; time: an estimate, of the products alone at the "
        f"{per_second / 1e9:,.0f} · 10⁹ operations a second that this machine "
        f"({keras.config.backend()}) just did; small networks take longer"
    )
    table = Table(
        ["recipe", "what", "runs", "time"],
        rows,
        ("recipe", "what"),
        "",
        caption,
    )
    console.print(table)


def speed(seconds=0.3):
    """Measures this machine: operations a second of products in float32.

    Args:
        seconds: Float, how long a convolution, and then a matrix product, is
            repeated.

    Returns:
        Float, additions and multiplications a second.
    """
    images = keras.ops.ones((50, 32, 32, 32))
    filters = keras.ops.ones((3, 3, 32, 32))
    matrix = keras.ops.ones((512, 512))
    jobs = (
        (
            lambda: keras.ops.conv(images, filters, padding="same"),
            50 * 9 * 32**4,
        ),
        (lambda: keras.ops.matmul(matrix, matrix), 512**3),
    )
    done = spent = 0.0
    for job, multiplications in jobs:
        np.asarray(keras.ops.sum(job()))  # Compiled here.
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            np.asarray(keras.ops.sum(job()))
            done += 2 * multiplications
        spent += time.perf_counter() - start
    return done / spent


def duration(seconds):
    """Returns a length of time in the largest unit that it fills."""
    for unit, length in (("days", 86_400), ("h", 3600)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{max(seconds / 60, 1):.0f} min"


@functools.cache
def products(network, options, shape, classes):
    """Returns the multiplications of a forward pass of one image."""
    model = network(shape, classes, **dict(options))
    total = 0
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is not None:
            places = layer.output.shape[1:-1]
            total += math.prod(kernel.shape) * math.prod(places)
    return total
