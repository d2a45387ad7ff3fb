"""`dropx list`, `dropx reproduce` and `dropx report`."""

import dataclasses
import hashlib
import warnings
from pathlib import Path

from keras_dropx.errors import UserError


def show(options):
    from keras_dropx.experiments.progress import make_console
    from keras_dropx.experiments.report.recipe_list import list_recipes

    list_recipes(make_console())


def run(options):
    from keras_dropx.experiments import papers
    from keras_dropx.experiments import run as engine
    from keras_dropx.experiments.data import open_data
    from keras_dropx.experiments.files import check_free
    from keras_dropx.experiments.progress import make_console
    from keras_dropx.experiments.report.show import show as show_tables

    check_free(options.output, ["checkpoints"])
    recipe = papers.find(options.recipe, options.dataset)
    initial, digest = _initial_weights(recipe, options.weights)
    # On another backend TensorFlow must leave the GPU before it reads data.
    shared = engine.start(options.precision, options.jit, digest)
    plans = [
        dataclasses.replace(
            plan, jit=options.jit, epochs=options.epochs or plan.epochs
        )
        for plan in recipe.plans
    ]
    # All are opened before anything is built.
    opened = [
        open_data(
            plan,
            options.train_size,
            options.data_dir,
            options.download,
            options.source,
        )
        for plan in plans
    ]
    for plan, (_, source) in zip(plans, opened, strict=True):
        _check_networks(plan, source, initial)
        source.update(shared)
    console = make_console()
    path, made = engine.run_all(
        plans,
        # The images of a plan go when it is done.
        (opened.pop(0) for _ in plans),
        range(options.seeds or recipe.seeds),
        options.output,
        console,
        checkpoints=Path(options.output) / "checkpoints",
        initial=initial,
    )
    for plan, found in zip(plans, made, strict=True):
        show_tables(plan, found, console, recipe)
    console.print(f"Every run: {path}", soft_wrap=True)
    console.print(
        f"A page with figures: dropx report {options.output}", soft_wrap=True
    )


def _initial_weights(recipe, path):
    """Returns a function that loads a file into a model, and its digest.

    Raises:
        UserError: If the recipe needs a file and there is none.
    """
    if path is None:
        if recipe.pretrained:
            raise UserError(
                f"{recipe.name} starts from trained weights: --weights FILE"
            )
        return None, None
    if not Path(path).is_file():
        raise UserError(f"no file '{path}'")

    def load(model):
        try:
            with warnings.catch_warnings():
                # The error that follows says it too.
                warnings.simplefilter("ignore")
                model.load_weights(path)
        # What reads a damaged file raises almost anything.
        except Exception as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"'{path}' does not hold weights of {model.name}: {first}"
            ) from None

    digest = hashlib.sha256(Path(path).read_bytes())
    return load, digest.hexdigest()[:16]


def _check_networks(plan, source, initial):
    """Refuses images that a plan's network does not take, or weights.

    Raises:
        UserError: What the network says of them.
    """
    checked = []
    for method in plan.methods:
        options = plan.arguments(method)
        if options in checked:
            continue
        checked.append(options)
        try:
            network = plan.network(
                tuple(source["input_shape"]), source["num_classes"], **options
            )
        except ValueError as error:
            raise UserError(str(error)) from None
        if initial is not None:
            initial(network)


def make_report(options):
    from keras_dropx.experiments.report.page import report

    print(report(Path(options.folder)))
