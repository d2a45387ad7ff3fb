"""`tune`: which dropout helps this model, and does it beat tuned dropout?"""

import contextlib
import functools
import inspect
import tempfile
from pathlib import Path

import keras
import numpy as np

from keras_dropx.errors import check_choice, invalid
from keras_dropx.experiments import comparison, named_methods
from keras_dropx.experiments.files import locked
from keras_dropx.experiments.fingerprint import said
from keras_dropx.experiments.method import check_count
from keras_dropx.experiments.run import no_talk_of_retracing
from keras_dropx.experiments.search import own
from keras_dropx.experiments.search.oracles import KINDS
from keras_dropx.experiments.subject import Subject, takes_activation
from keras_dropx.experiments.tuning_result import Tuning, code_of
from keras_dropx.experiments.user_data import (
    call_of,
    check_data,
    check_fit,
    first_batch,
    is_arrays,
    is_shown,
    metric_of,
    size_of,
)
from keras_dropx.tuner import DropoutHyperModel
from keras_dropx.tuner.search_spaces import BACKWARD_RATE, METHODS, SIGMA

# At 0 the tuned dropout would be none, and there would be nothing to compare.
RATE = (0.05, 0.5)


@no_talk_of_retracing()
def tune(
    build,
    train,
    validation,
    test=None,
    *,
    method="any",
    tuner="random",
    trials=20,
    executions=1,
    seeds=5,
    epochs=10,
    batch_size=32,
    objective=None,
    margin=None,
    output=None,
    rate=RATE,
    backward_rate=BACKWARD_RATE,
    sigma=SIGMA,
    fit=None,
    seed=0,
    verbose="auto",
):
    """Searches the dropout of a model, and compares the winner on fresh seeds.

    Two searches of the same budget, of the method and of standard dropout,
    train on `train` and choose by `validation`, at the last epoch. Then
    `compare` trains the winner, the best dropout and no dropout on `train`
    and evaluates them on `test`, under seeds that no trial had: a trial is
    seeded by the CRC-32 of its search's seed, its number and its execution.

    `test` must not be what the trials were chosen by, or the winner would
    look better than it is. Without test data the validation arrays are split
    at random: one half chooses, the other half is the test data. So nothing
    is evaluated on what it was chosen by.

    The hyperparameters of the best trials are rounded to three digits before
    they are compared: what is compared is what `Tuning.code` makes.

    Args:
        build: Function `build(dropout)` or `build(dropout, activation)` that
            returns a compiled `keras.Model`, as `compare` takes it. A rate
            that it gives to `dropout` is ignored.
        train: `(x, y)` or `(x, y, sample_weight)`, x any structure of arrays;
            a `tf.data.Dataset` of batches; or a `keras.utils.PyDataset`.
        validation: Likewise, what the trials are chosen by.
        test: Likewise. None: half of `validation`, which must be arrays.
        method: "any", a choice among all and no dropout, or "dropout",
            "forward", "backward", "augmented" or "jumpout".
        tuner: "random", "bayesian", "hyperband" or "grid".
        trials: Positive integer, trials of each of the two searches.
        executions: Positive integer, trainings a trial.
        seeds: Of the comparison, as in `compare`.
        epochs: Positive integer; Hyperband's most.
        batch_size: Positive integer, in samples; for arrays.
        objective: "val_" and "loss" or a compiled metric, or a pair of that
            and "max" or "min". The comparison has the same metric. None: as
            `compare` chooses its metric.
        margin: Positive float, as in `compare`.
        output: Folder, empty or of this search, which goes on from there. A
            larger `trials` or `seeds` adds to it.
        rate: Pair (low, high), 0 < low < high < 1.
        backward_rate: Pair (low, high), 0 < low < high < 1.
        sigma: Pair (low, high), 0 <= low < high.
        fit: Dict, other arguments of `model.fit`. Callbacks are copied for
            each training.
        seed: Non-negative integer, of the proposals, the trials' trainings
            and the split of `validation`.
        verbose: 0, 1 or "auto": progress, where there is a terminal.

    Returns:
        `Tuning`.

    Raises:
        ValueError: If an argument is out of its range, the model is not
            compiled or has no site, or the folder holds anything else.
        RuntimeError: If no trial of a search completed.
    """
    check_count("seed", seed, least=0)
    for name, data in (("train", train), ("validation", validation)):
        check_data(name, data)
    names = ["train", "validation"] + ["test"] * (test is not None)
    if test is None and not is_arrays(validation):
        raise invalid("test", "data, where `validation` is not arrays", test)
    if test is None:
        validation, test = _halves(validation, seed)
    check_data("test", test)
    counts = {
        "trials": trials,
        "executions": executions,
        "epochs": epochs,
        "batch_size": batch_size,
    }
    for name, value in counts.items():
        check_count(name, value)
    shown = is_shown(verbose)
    check_choice("tuner", tuner, tuple(KINDS))
    check_choice("method", method, ("any", *METHODS[:-1]))
    if isinstance(build, keras.Model) or not callable(build):
        raise invalid("build", "a function build(dropout)", build)
    if "hp" in inspect.signature(build).parameters:
        raise invalid(
            "build",
            "no argument `hp`: hyperparameters of your own are for "
            "`keras_dropx.tuner.DropoutHyperModel`",
            build,
        )
    takes_activation(build)
    ranges = {"rate": rate, "backward_rate": backward_rate, "sigma": sigma}
    DropoutHyperModel(build, method, **ranges)
    if not rate[0] > 0:
        raise invalid("rate", "a pair (low, high) with 0 < low", rate)
    arguments, callbacks = check_fit(fit, train)
    arguments["callbacks"] = callbacks
    batch = first_batch(train, batch_size)
    # Any rate will do: it is part of what tells the model from others.
    subject = Subject(_at_rate(build, 0.5), "fresh", batch)
    metric, direction = _metric(objective, subject.plain, batch)
    # Jumpout's own rescale is for a batch normalisation that follows.
    rescale = None if subject.has_batch_norm else "mean"
    settings = own.OwnSettings(
        model=subject.get_config(),
        data=[said(train), said(validation)],
        fit=said(arguments),
        method=method,
        tuner=tuner,
        executions=executions,
        epochs=epochs,
        batch_size=batch_size,
        objective=f"val_{metric}",
        direction=direction,
        seed=seed,
        space={**ranges, "rescale": rescale},
        precision=keras.config.dtype_policy().name,
        backend=keras.config.backend(),
    )
    place = contextlib.nullcontext(output)
    if output is None:
        place = tempfile.TemporaryDirectory()
    remedy = "Wait for it, or give another output"
    with place as folder, locked(folder, "search", remedy):
        folder = Path(folder)
        found = own.search(
            settings,
            folder,
            trials,
            shown,
            build=build,
            train=train,
            validation=validation,
            fit=arguments,
        )
        layers = [own.layer_of(settings, one) for one in found]
        for one, layer in zip(found, layers, strict=True):
            one["code"] = code_of(layer)
        dropout, winner = layers[-1], found[0]
        methods = {"no dropout": named_methods.without}
        if method != "dropout":
            methods = {
                "winner": lambda rate: own.layer_of(settings, winner),
                **methods,
            }
        if winner["hyperparameters"].get("dropout_method") == "none":
            del methods["no dropout"]
        result = comparison.compare(
            _at_rate(build, dropout.rate),
            train,
            test,
            methods,
            seeds=seeds,
            epochs=epochs,
            batch_size=batch_size,
            metric=(metric, direction),
            margin=margin,
            fit=fit,
            output=None if output is None else folder / "comparison",
            verbose=verbose,
        )
    # That of `compare` would take no part in the search.
    result.call = call_of(
        tune,
        (build, *names),
        method=method,
        tuner=tuner,
        **counts,
        seeds=seeds,
        objective=(settings.objective, direction),
        margin=margin,
        **ranges,
        fit=arguments,
        seed=seed,
    )
    return Tuning(result, found, settings.objective, layers[0])


def _at_rate(build, rate):
    """Returns a build function whose sites all have one rate."""

    @functools.wraps(build)
    def at_rate(dropout, *rest):
        return build(lambda _=None: dropout(rate), *rest)

    return at_rate


def _halves(data, seed):
    """Returns a random half of arrays, and the other one."""
    order = np.random.default_rng(seed).permutation(size_of(data))
    if len(order) < 2:
        raise invalid("validation", "at least 2 samples, to split", len(order))
    middle = len(order) // 2

    def part(rows):
        return keras.tree.map_structure(
            lambda a: None if a is None else np.asarray(a)[rows], tuple(data)
        )

    return part(np.sort(order[:middle])), part(np.sort(order[middle:]))


def _metric(objective, model, batch):
    """Returns the name of a metric and "max" or "min", or raises."""
    direction = ()
    if isinstance(objective, (tuple, list)) and len(objective) == 2:
        objective, *direction = objective
    if objective is None:
        return metric_of(None, model, batch)
    if not isinstance(objective, str) or not objective.startswith("val_"):
        raise invalid("objective", "'val_' and the name of a metric", objective)
    name = objective.removeprefix("val_")
    chosen = (name, *direction) if direction else name
    return metric_of(chosen, model, batch)
