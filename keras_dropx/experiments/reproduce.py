"""`dropx reproduce`: runs a recipe."""

import hashlib
import warnings
from pathlib import Path

from keras_dropx.errors import UserError
from keras_dropx.experiments import recipes, session
from keras_dropx.experiments.recipe_data import open_data
from keras_dropx.experiments.runner import run_panel
from keras_dropx.experiments.runs import Runs


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
    recipe = recipes.find(name, dataset)
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


def check_network(panel, source):
    """Returns a panel's network, or refuses the images it does not take."""
    try:
        return panel.network(
            tuple(source["input_shape"]), source["num_classes"], **panel.options
        )
    except ValueError as error:
        raise UserError(str(error)) from None
