"""The end of a search: its winners beside no dropout, on fresh seeds."""

import dataclasses

import numpy as np
from sklearn.model_selection import train_test_split

from keras_dropx.experiments import run
from keras_dropx.experiments.plan import Contrast, Method
from keras_dropx.experiments.report.show import show
from keras_dropx.experiments.search import folder, notes, trials_report
from keras_dropx.experiments.search.settings import (
    make_layer,
    make_plan,
    space,
)

# Far from the seed of the search.
COMPARISON_SEEDS_START = 1000


def compare_winner(settings, found, subsets, source, seeds, output, console):
    """Trains the best trials anew, beside no dropout, and prints the tables.

    Args:
        found: Dict from a searched method to its trials.
        subsets: `datasets.Subsets` of the search.
        source: Dict that describes the data and the training.
        seeds: Integer, fresh seeds.
        console: `rich.console.Console`.
    """
    best = {
        method: trials_report.best(trials, settings).hyperparameters.values
        for method, trials in found.items()
    }
    counts = {method: len(trials) for method, trials in found.items()}
    plan = _comparison(settings, best, counts, source, output)
    source = {
        **source,
        "network": settings.network,
        "search_seed": settings.seed,
        "hyperparameters": best,
    }
    first = COMPARISON_SEEDS_START + settings.seed
    fresh = range(first, first + seeds)
    data = resampled(subsets, settings.train_size)
    path, (runs,) = run.run_all(
        [plan], [(data, source)], fresh, output, console, "comparison"
    )
    show(plan, runs, console)
    console.print(f"Every run: {path}", soft_wrap=True)


def _comparison(settings, best, counts, source, output):
    """Returns the plan of the comparison.

    Raises:
        UserError: If what a winner's file holds makes no layer.
    """
    arguments = space(settings, source["input_shape"], source["num_classes"])

    def layer(method):
        return make_layer(method, best[method], arguments)

    for method in best:
        with notes.reading(output / method):
            layer(method)
    methods = [Method("plain"), Method("dropout", lambda: layer("dropout"))]
    contrasts = [Contrast("test_accuracy", "dropout", "plain", 0.5)]
    claim = f"Is dropout, the best of {counts['dropout']} trials, worth it?"
    if settings.method != "dropout":
        methods.append(Method("winner", lambda: layer(settings.method)))
        contrasts.insert(0, Contrast("test_accuracy", "winner", "dropout", 0.5))
        claim = (
            f"Is the best of {counts[settings.method]} trials of "
            f"{settings.method} better than the best of {counts['dropout']} "
            "of dropout?"
        )
    methods.append(
        Method("dropout-remasked", lambda: layer("dropout"), mask_offset=1)
    )
    return dataclasses.replace(
        make_plan(settings),
        name=folder.PLAN,
        claim=claim,
        methods=tuple(methods),
        contrasts=tuple(contrasts),
        floor=Contrast("test_accuracy", "dropout-remasked", "dropout", 0.5),
    )


def resampled(subsets, train_size):
    """Returns a function from a seed to subsets.

    What the trials were chosen by does not come back as test images.
    """
    images, labels = (
        np.concatenate([subsets.train[k], subsets.validation[k]])
        for k in (0, 1)
    )

    def resample(seed):
        new_images, _, new_labels, _ = train_test_split(
            images,
            labels,
            train_size=train_size,
            stratify=labels,
            random_state=seed,
        )
        return subsets._replace(train=(new_images, new_labels))

    return resample
