"""`dropx tune`."""

import dataclasses
import sys
from pathlib import Path

from keras_dropx.errors import UserError

# The arguments of `tune` that are options of the same names.
OWN = ("method", "tuner", "trials", "executions", "seeds", "epochs", "seed")
OWN += ("batch_size", "objective", "output", "rate", "backward_rate", "sigma")


def run(options):
    try:
        from keras_dropx import tuner  # noqa: F401
    except ImportError as error:
        raise UserError(str(error)) from None
    if options.model is None:
        _run_network(options)
    else:
        _run_own(options)


def _run_own(options):
    from keras_dropx.commands.own import Own, show
    from keras_dropx.experiments import run as engine
    from keras_dropx.experiments import tune

    engine.start(options.precision)
    own = Own(options)
    validation = own.validation(options.test_share)
    with own.in_one_line():
        result = tune(
            own.model,
            own.train,
            validation,
            own.test,
            **{name: getattr(options, name) for name in OWN},
        )
    folder = Path(options.output) / "comparison"
    show(result, result.comparison, options, folder)


def _run_network(options):
    import keras

    from keras_dropx.experiments.search.settings import (
        Settings,
        default_epochs,
    )
    from keras_dropx.experiments.search.tune import tune

    options.backend = keras.config.backend()
    options.epochs = options.epochs or default_epochs(
        options.network, options.dataset
    )
    try:
        values = {
            field.name: getattr(options, field.name)
            for field in dataclasses.fields(Settings)
        }
        settings = Settings(**values)
    except ValueError as error:
        raise UserError(str(error)) from None
    tune(
        settings,
        options.trials,
        options.seeds,
        options.output,
        options.overwrite,
        options.workers,
        options.chief,
        options.worker_id,
        _same_command(options, values),
        options.data_dir,
        options.download,
        options.source,
    )


def _same_command(options, settings):
    """Returns the command of a process that takes part in this search."""
    command = [sys.executable, "-m", "dropx", "tune"]
    for name in (*settings, "data_dir", "source", "trials", "output"):
        value = getattr(options, name)
        if value is not None and name != "jit":
            flag = f"--{name.replace('_', '-')}"
            if isinstance(value, (tuple, list)):
                command += [flag, *map(str, value)]
            else:
                # As one word, for a name may begin with a hyphen.
                command.append(f"{flag}={value}")
    return [*command, "--jit"] if options.jit else command
