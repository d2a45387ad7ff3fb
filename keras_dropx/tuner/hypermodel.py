import inspect
import math
import numbers
import zlib

import keras
import keras_tuner

from keras_dropx import errors
from keras_dropx.tuner import search_spaces

METHODS = ("any", *search_spaces.METHODS)


class DropoutHyperModel(keras_tuner.HyperModel):
    """Makes a search over dropout of any function that builds a model.

    ```python
    def build(dropout):
        model = keras.Sequential([
            keras.layers.Dense(64, activation="relu"),
            dropout(),
            keras.layers.Dense(10),
        ])
        model.compile("sgd", "mse")
        return model

    tuner = keras_tuner.RandomSearch(
        DropoutHyperModel(build, method="jumpout"),
        objective="val_loss",
        max_trials=20,
        seed=1,
    )
    tuner.search(x, y, validation_data=(x_val, y_val), epochs=10)
    ```

    Each training seeds itself (initial weights, masks, shuffling) from
    `seed`, the id of its trial and the number of its execution. So two
    searches of the same seeds propose and measure the same, on one worker,
    and so does a trial that is run again after an interruption. KerasTuner
    builds the model before the trial is known; `fit` gives it the initial
    weights that the seed makes.

    Args:
        build: Function that returns a compiled `keras.Model`. Its first
            argument, `dropout`, is a function that returns the next masking
            layer; a rate that it is given is ignored, for the trial has one.
            A second argument, if it has one without a default, is a function
            that returns the activation of its argument as a layer,
            `activation("relu")`. An argument named `hp`, wherever it stands,
            is the trial's `keras_tuner.HyperParameters`, for the
            hyperparameters of your own.
        method: "any" for a choice among methods (`any_dropout`), or
            "dropout", "forward", "backward", "augmented", "jumpout" or
            "none". One choice of "any" is "none", no dropout.
        name: String, how the names of the hyperparameters begin.
        per_site: Whether each call of `dropout()` has hyperparameters of its
            own, `<name>_1_…`, `<name>_2_…`. By default all share one set.
        seed: Integer.
        **kwargs: Further arguments of `any_dropout`: `methods` (with "any"
            only), the ranges `rate`, `backward_rate`, `sigma`, and `rescale`.

    Raises:
        ValueError: If an argument is none of these, or a range is empty,
            reversed or, of a rate, reaches 1.
    """

    def __init__(
        self,
        build,
        method="any",
        name="dropout",
        per_site=False,
        seed=0,
        **kwargs,
    ):
        super().__init__()
        self._arguments = _arguments(build)
        errors.check_choice("method", method, METHODS)
        search_spaces.check_name(name)
        if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
            raise errors.invalid("seed", "an integer", seed)
        errors.check_bool("per_site", per_site)
        if method != "any":
            if "methods" in kwargs:
                raise errors.invalid(
                    "methods", "nothing unless method='any'", kwargs["methods"]
                )
            kwargs["methods"] = (method,)
        self.build_model = build
        self.site_name = name
        self.per_site = per_site
        self.seed = seed
        self.options = kwargs
        self._trial = None
        self._execution = 0
        # A bad range fails here, not in the search.
        self._layer(keras_tuner.HyperParameters(), 1)

    def build(self, hp):
        """Returns the model of `hp`; KerasTuner calls it."""
        site = 0

        def dropout(rate=None):
            nonlocal site
            site += 1
            return self._layer(hp, site)

        given = {
            "hp": hp,
            "dropout": dropout,
            "activation": keras.layers.Activation,
        }
        args = [given[role] for role, name in self._arguments if name is None]
        kwargs = {name: given[role] for role, name in self._arguments if name}
        return self.build_model(*args, **kwargs)

    def fit(self, hp, model, *args, callbacks=(), **kwargs):
        """Trains `model` under the trial's seed; KerasTuner calls it.

        Raises:
            keras_tuner.errors.FailedTrialError: If the loss is not finite at
                the end: the trial is recorded as failed, with this reason.
        """
        for callback in callbacks:
            # KerasTuner's own; it is how a trial can be known here.
            trial = getattr(callback, "trial", None)
            if trial is not None:
                self._start(hp, model, trial)
        history = super().fit(hp, model, *args, callbacks=callbacks, **kwargs)
        for name in ("loss", "val_loss"):
            value = history.history.get(name, [0.0])[-1]
            if not math.isfinite(value):
                raise keras_tuner.errors.FailedTrialError(
                    f"{name} is {value} after the last epoch"
                )
        return history

    def _layer(self, hp, site):
        name = f"{self.site_name}_{site}" if self.per_site else self.site_name
        return search_spaces.any_dropout(hp, name, **self.options)

    def _start(self, hp, model, trial):
        self._execution = self._execution + 1 if trial is self._trial else 0
        self._trial = trial
        # KerasTuner pads the ids to the width of the number of trials.
        trial_id = trial.trial_id.lstrip("0")
        text = f"{self.seed} {trial_id} {self._execution}"
        keras.utils.set_random_seed(zlib.crc32(text.encode()))
        fresh = self.build(hp)
        # Hyperband goes on from the weights of an earlier trial.
        kept = model.weights if "tuner/trial_id" in hp.values else []
        kept = {id(variable) for variable in kept}
        for variable, start in zip(
            model.variables, fresh.variables, strict=True
        ):
            if id(variable) not in kept:
                variable.assign(start)


def _arguments(build):
    """Returns what each argument of `build` is given, in their order.

    Returns:
        List of pairs: "dropout", "activation" or "hp", and the name by which
        it is passed, or None for a positional one.
    """
    refused = errors.invalid(
        "build",
        "a function of `dropout`, and of an activation and `hp` if it likes",
        build,
    )
    if not callable(build) or isinstance(build, keras.layers.Layer):
        raise refused
    try:
        parameters = inspect.signature(build).parameters
    except (TypeError, ValueError):
        raise refused from None
    roles = iter(("dropout", "activation"))
    found = []
    for name, argument in parameters.items():
        if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
            continue
        by_name = argument.kind is not argument.POSITIONAL_ONLY
        if name == "hp":
            found.append(("hp", name if by_name else None))
        elif argument.default is argument.empty or not any(
            role == "dropout" for role, _ in found
        ):
            role = next(roles, None)
            if role is None:
                raise refused
            found.append((role, name if by_name else None))
    if not any(role == "dropout" for role, _ in found):
        raise refused
    return found
