"""A search over the dropout of a model of the user's own."""

import dataclasses
import functools
import json
import math

import keras_tuner

from keras_dropx.errors import ProcessError, UserError
from keras_dropx.experiments.progress import make_console
from keras_dropx.experiments.search import folder, notes, trials_report
from keras_dropx.experiments.search.settings import Settings, make_layer
from keras_dropx.experiments.search.trials import Trials
from keras_dropx.experiments.search.tune import search_here
from keras_dropx.experiments.user_data import arguments_of


@dataclasses.dataclass(frozen=True)
class OwnSettings:
    """What makes a search; two that differ in it are two searches.

    Attributes:
        model: Dict that tells the model from others.
        data: Digests of the training and the validation data.
        fit: What stands for the other arguments of `fit`.
        direction: "max" or "min", which objective is better.
        space: Dict, the arguments of `any_dropout` but for the methods.
        kind: Tells it from a search of `dropx tune` over a network.
        others: As in `tune`, or in `Settings`.
    """

    model: dict
    data: list
    fit: dict
    method: str
    tuner: str
    executions: int
    epochs: int
    batch_size: int
    objective: str
    direction: str
    seed: int
    space: dict
    precision: str
    backend: str
    kind: str = "own"

    methods = Settings.methods


class OwnSearch(Trials):
    """Trains the trials of one search on a model of the user's own.

    Args:
        train: Data that `fit` takes.
        validation: Likewise.
        fit: Dict, other arguments of `fit`; its callbacks are copied for each
            training.
        **others: As in `Trials`.
    """

    def __init__(self, settings, method, train, validation, fit, **others):
        self.fit = {**arguments_of(train, settings.batch_size), **fit}
        self.validation = arguments_of(validation, settings.batch_size)
        super().__init__(settings, method, space=settings.space, **others)

    def _train(self, trial, execution):
        model = self.hypermodel.build(trial.hyperparameters)
        self._fit(trial, execution, model, **self.fit)
        scores = model.evaluate(**self.validation, verbose=0, return_dict=True)
        value = float(scores[self.settings.objective.removeprefix("val_")])
        if not math.isfinite(value):
            raise keras_tuner.errors.FailedTrialError(
                f"{self.settings.objective} is {value} after the last epoch"
            )
        return value


def search(settings, output, trials, shown, **arguments):
    """Runs the searches, or goes on with them, in a locked folder.

    Args:
        shown: Whether the progress is shown.
        **arguments: Those of `OwnSearch` that are not here.

    Returns:
        List of dicts, one a search: its method, the numbers of trials and of
        those that failed, the score and the hyperparameters of the best one.

    Raises:
        UserError: If the folder holds anything else, or is damaged.
        ProcessError: If no trial of a search completed.
    """
    _begin(settings, output)
    make_search = functools.partial(
        OwnSearch, settings, trials=trials, output=output, **arguments
    )
    search_here(make_search, settings, trials, output, make_console(), shown)
    found = []
    for method in settings.methods:
        run = notes.read_trials(output / method)
        best = trials_report.best(run, settings)
        failures = trials_report.failures(run)
        if best is None:
            raise ProcessError(f"no trial of {method} completed. {failures[0]}")
        found.append(
            {
                "method": method,
                "trials": len(run),
                "failed": len(failures),
                "score": best.score,
                "hyperparameters": _rounded(best.hyperparameters.values),
            }
        )
    return found


def layer_of(settings, found):
    """Returns a new layer of the best trial that `search` found."""
    return make_layer(found["method"], found["hyperparameters"], settings.space)


def _rounded(values):
    """Returns the hyperparameters of the layer, to three digits."""
    found = {}
    for name, value in values.items():
        if name.startswith("dropout_"):
            if isinstance(value, float):
                short = float(f"{value:.3g}")
                # A rate below 1 stays below 1.
                value = short if (short < 1) == (value < 1) else value
            found[name] = value
    return found


def _begin(settings, output):
    """Notes a search in its folder, or finds it there."""
    path = output / folder.NOTE
    mine = folder.as_json(settings)
    if not path.exists():
        folder.check_empty(output)
        folder.write_note(output, mine)
        return
    with notes.reading(path, "give another output"):
        kept = json.loads(path.read_bytes())
        differing = [key for key in mine if kept.get(key) != mine[key]]
    if differing:
        raise UserError(
            f"{output} holds a search of another {differing[0]}: give another "
            "output"
        )
