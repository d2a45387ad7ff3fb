"""`dropx reproduce`: runs a recipe; `dropx list`: shows them all."""

import functools
import hashlib
import math
import warnings
from pathlib import Path

from rich.table import Table

from keras_dropx.errors import UserError
from keras_dropx.experiments import datasets, recipes, session
from keras_dropx.experiments.preprocessing import prepare
from keras_dropx.experiments.recipes.digits import on_digits
from keras_dropx.experiments.recipes.recipe import on_dataset
from keras_dropx.experiments.runner import run_panel
from keras_dropx.experiments.runs import Runs
from keras_dropx.experiments.streaming import evaluation_stream

# Whole sets of images too many, or too varied, for the memory.
STREAMED = ("imagenet2012",)
DIGITS_TRAIN_SIZE = 300


def reproduce(
    name,
    output,
    dataset=None,
    seeds=None,
    epochs=None,
    train_size=None,
    precision="float32",
    jit=False,
    weights=None,
    data_dir=None,
    download=False,
):
    """Runs what is missing of a recipe.

    Args:
        name: Key of `recipes.RECIPES`.
        output: Folder for `runs.jsonl` and the checkpoints.
        dataset: TFDS name in place of the paper's, or None.
        seeds: Integer, how many, or None for the paper's number.
        epochs: Integer, or None for the recipe's.
        train_size: Integer, training images that each seed draws, or None:
            all, of digits 300.
        precision: Name of a Keras dtype policy.
        jit: Whether to compile with XLA.
        weights: File of initial weights, or None.
        data_dir: Folder of TFDS, or None for its default.
        download: Whether TFDS may download a data set.

    Raises:
        UserError: If there is no such recipe, a data set cannot be had, a
            network does not take its images, or the weights are missing or of
            another network.
    """
    recipe = recipe_for(name, dataset)
    if recipe.pretrained and weights is None:
        raise UserError(f"{name} starts from trained weights: --weights FILE")
    if weights is not None and not Path(weights).is_file():
        raise UserError(f"no file '{weights}'")
    # On another backend TensorFlow must leave the GPU before it reads data.
    shared = session.start(precision, jit)
    # All are opened before anything is built.
    opened = [
        open_data(panel, train_size, data_dir, download)
        for panel in recipe.panels
    ]
    start = None
    if weights is not None:
        start = loader(weights)
        digest = hashlib.sha256(Path(weights).read_bytes())
        shared["weights"] = digest.hexdigest()[:16]
    for panel, (_, source) in zip(recipe.panels, opened, strict=True):
        network = check_network(panel, source)
        if start is not None:
            start(network)
    seeds = range(seeds or recipe.seeds)
    console = session.make_console()
    bar = session.progress_bar(console)
    total = sum(
        len(seeds) * len(panel.arms) * (epochs or panel.epochs)
        for panel in recipe.panels
    )
    with session.locked(output, "command"), bar:
        runs = Runs(output)
        task = bar.add_task("reading data", total=total)
        for panel in recipe.panels:
            # The images of a panel go when it is done.
            data, source = opened.pop(0)

            def progress(arm, seed, done, panel=panel):
                text = f"{panel.name} · {arm} · seed {seed}"
                bar.update(task, advance=done, description=text)

            run_panel(
                panel._replace(jit=jit),
                data,
                {**source, **shared},
                seeds,
                epochs or panel.epochs,
                runs,
                progress,
                Path(output) / "checkpoints",
                start,
            )
    console.print(f"Every run: {runs.path}")
    console.print(f"Tables and figures: dropx report {output}")


def recipe_for(name, dataset):
    """Returns a recipe, for another data set than the paper's if one is given.

    Args:
        name: Key of `recipes.RECIPES`.
        dataset: TFDS name, or None.

    Raises:
        UserError: If there is no such recipe.
    """
    recipe = recipes.find(name)
    if dataset == "digits":
        return on_digits(recipe)
    return recipe if dataset is None else on_dataset(recipe, dataset)


def loader(path):
    """Returns a function that loads weights into a model."""

    def load(model):
        try:
            with warnings.catch_warnings():
                # The error that follows says it too.
                warnings.simplefilter("ignore")
                model.load_weights(path)
        except (ValueError, OSError, KeyError) as error:
            first = str(error).splitlines()[0]
            raise UserError(
                f"'{path}' does not hold weights of {model.name}: {first}"
            ) from None

    return load


def open_data(panel, train_size, data_dir, download):
    """Opens the data set of a panel.

    Args:
        panel: `panel.Panel`.
        train_size: Integer, or None for the whole set.
        data_dir: Folder of TFDS, or None.
        download: Whether TFDS may download.

    Returns:
        A tuple of a function from a seed to prepared `datasets.Subsets`, and
        a dict that describes the data.

    Raises:
        DatasetError: If the data set cannot be had, or is too small.
    """
    name, plus, extra = panel.dataset.partition("+")
    if name == "digits" and train_size is None:
        train_size = DIGITS_TRAIN_SIZE
    if train_size is not None:
        splits, source = datasets.splits(name, train_size, data_dir, download)
        splits(0)  # A train_size that does not fit fails here.

        def drawn(seed):
            return prepared(panel, splits(seed))

        shape = shape_after(panel, source["input_shape"])
        return drawn, {**source, "input_shape": shape}
    streamed = name in STREAMED
    train, test, info = datasets.load(
        name, data_dir, download, f"train{plus}{extra}", decode=not streamed
    )
    image, label = info.supervised_keys
    source = {
        "dataset": panel.dataset,
        "data_version": str(info.version),
        "train_size": int(train.cardinality()),
        "num_classes": info.features[label].num_classes,
    }
    if streamed:
        subsets = datasets.Subsets(
            train, None, evaluation_stream(test, panel.batch_size)
        )
        return lambda seed: subsets, {**source, "input_shape": [224, 224, 3]}
    read = []

    def whole(seed):
        if not read:
            parts = datasets.Subsets(
                datasets.arrays(train), None, datasets.arrays(test)
            )
            read.append(prepared(panel, parts))
        return read[0]

    shape = info.features[image].shape
    return whole, {**source, "input_shape": shape_after(panel, shape)}


def shape_after(panel, shape):
    """Returns the shape of images after a panel's preparation, a list."""
    for name, *numbers in panel.preparation:
        if name == "resize":
            shape = (*numbers, shape[-1])
    return list(shape)


def prepared(panel, subsets):
    """Returns `datasets.Subsets` as a panel's network takes them."""
    parts = [part for part in subsets if part is not None]
    images = prepare(panel.preparation, *(images for images, _ in parts))
    remaining = iter(zip(images, (labels for _, labels in parts), strict=True))
    return datasets.Subsets(
        *(None if part is None else next(remaining) for part in subsets)
    )


def check_network(panel, source):
    """Returns a panel's network, or refuses the images it does not take."""
    try:
        return panel.network(
            tuple(source["input_shape"]), source["num_classes"], **panel.options
        )
    except ValueError as error:
        raise UserError(str(error)) from None


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


def products(panel, shape, classes):
    """Returns the multiplications of a forward pass of one image."""
    options = tuple(panel.options.items())
    return _products(panel.network, options, shape, classes)
