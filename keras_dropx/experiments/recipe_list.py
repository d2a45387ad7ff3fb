"""`dropx list`: the recipes, and what they cost."""

import functools
import math

from rich.table import Table

from keras_dropx.experiments import recipes, session

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


def list_recipes():
    """Prints all recipes: data sets, networks, runs, and what they cost."""
    table = Table(
        caption="runs: trainings; cost: 10^15 floating point operations of "
        "the products of all trainings, forward and backward",
        caption_justify="left",
    )
    for heading in ("recipe", "network", "data set"):
        table.add_column(heading, no_wrap=True)
    for heading in ("runs", "epochs", "cost"):
        table.add_column(heading, justify="right")
    table.add_column("what")
    for recipe in recipes.RECIPES.values():
        for number, panel in enumerate(recipe.panels):
            network, dataset = panel.printed
            runs = recipe.seeds * len(panel.arms)
            size, shape, classes = SIZES[panel.dataset]
            operations = 6 * products(panel, shape, classes)
            cost = runs * panel.epochs * size * operations / 1e15
            table.add_row(
                "" if number else recipe.name,
                network,
                dataset,
                str(runs),
                str(panel.epochs),
                f"{cost:,.0f}",
                "" if number else recipe.title,
            )
    session.make_console(160).print(table)


def products(panel, shape, classes):
    """Returns the multiplications of a forward pass of one image."""
    options = tuple(panel.options.items())
    return _products(panel.network, options, shape, classes)


@functools.cache
def _products(network, options, shape, classes):
    model = network(shape, classes, **dict(options))
    total = 0
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is not None:
            places = layer.output.shape[1:-1]
            total += math.prod(kernel.shape) * math.prod(places)
    return total
