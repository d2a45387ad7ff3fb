"""What the trials of a search say: a table, the failures, a figure."""

import numpy as np
from keras_tuner.engine.trial import Trial
from matplotlib.figure import Figure
from rich.table import Table

from keras_dropx.experiments.search import OBJECTIVES
from keras_dropx.tuner.search_spaces import METHODS

SHOWN = 10


def read(folder):
    """Returns the trials in a search's folder, in the order of their ids.

    Args:
        folder: Path of a KerasTuner project; it need not exist yet.
    """
    trials = []
    for path in folder.glob("trial_*/trial.json"):
        trial = Trial.load(str(path))
        reason = path.parent / "reason"
        if trial.status == "FAILED" and reason.exists():
            trial.message = reason.read_text()
        trials.append(trial)
    return sorted(trials, key=lambda trial: int(trial.trial_id))


def completed(trials, settings):
    """Returns the trials that have a score, the best one first."""
    return sorted(
        (trial for trial in trials if trial.status == "COMPLETED"),
        key=lambda trial: trial.score,
        reverse=OBJECTIVES[settings.objective] == "max",
    )


def best(trials, settings):
    """Returns the trial with the best score, or None.

    Of Hyperband's only those with the most epochs are asked.
    """

    def epochs(trial):
        return trial.hyperparameters.values.get("tuner/epochs", 0)

    ended = completed(trials, settings)
    most = max(map(epochs, ended), default=0)
    return next((trial for trial in ended if epochs(trial) == most), None)


def executions(trial):
    """Returns the objective of each training of a trial, an array."""
    count = sum(key.startswith("execution_") for key in trial.metrics.metrics)
    return np.array(
        [
            trial.metrics.get_history(f"execution_{k}")[-1].value[0]
            for k in range(count)
        ]
    )


def table(trials, settings, method):
    """Returns a `rich.table.Table` of the best trials, mean ± sd.

    Args:
        trials: List of `keras_tuner.engine.trial.Trial`.
        settings: `search.Settings`.
        method: String, what was searched.
    """
    shown = completed(trials, settings)
    scale, digits, unit = 1, 4, ", nats"
    if settings.objective == "val_accuracy":
        scale, digits, unit = 100, 2, ", %"
    result = Table(
        title=f"{method}: the best {min(SHOWN, len(shown))} of "
        f"{len(trials)} trials",
        title_justify="left",
        caption=(
            f"{settings.dataset}, {settings.train_size} training images, "
            f"{settings.network}; at the last epoch"
            + (
                f", mean ± sd over {settings.executions} executions"
                if settings.executions > 1
                else ""
            )
        ),
        caption_justify="left",
    )
    names = list(
        dict.fromkeys(
            name
            for trial in shown
            for name in trial.hyperparameters.values
            if name != "tuner/trial_id"
        )
    )
    for heading in ("trial", *names, settings.objective + unit):
        result.add_column(heading, justify="right")
    for trial in shown[:SHOWN]:
        values = scale * executions(trial)
        score = f"{values.mean():.{digits}f}"
        if len(values) > 1:
            score += f" ± {values.std(ddof=1):.{digits}f}"
        row = [_text(trial.hyperparameters.values.get(name)) for name in names]
        result.add_row(trial.trial_id, *row, score)
    return result


def failures(trials):
    """Returns a line a failed trial: its id and its reason."""
    lines = []
    for trial in trials:
        if trial.status == "FAILED":
            # A traceback ends with the error.
            reason = (trial.message or "").strip().rpartition("\n")[2]
            reason = reason.removeprefix("keras_tuner.src.errors.")
            lines.append(f"Trial {trial.trial_id} failed: {reason}")
    return lines


def figure(output, settings):
    """Draws the objective over each hyperparameter, a dot a trial.

    Args:
        output: Path, the folder of the searches.
        settings: `search.Settings`.

    Returns:
        `matplotlib.figure.Figure`.
    """
    points = {}
    for method in settings.methods:
        for trial in completed(read(output / method), settings):
            values = trial.hyperparameters.values
            label = values.get("dropout_method", method)
            if method != settings.method:
                label = "dropout alone"
            for name, value in values.items():
                if name.startswith("dropout_") and name != "dropout_method":
                    row = points.setdefault(name, {}).setdefault(label, [])
                    row.append((value, trial.score))
    result = Figure((4.5 * max(len(points), 1), 4), layout="constrained")
    axes = result.subplots(1, max(len(points), 1), squeeze=False, sharey=True)[
        0
    ]
    labels = [*METHODS, "dropout alone"]
    for ax, (name, rows) in zip(axes, sorted(points.items()), strict=False):
        for label in sorted(rows, key=labels.index):
            x, y = zip(*rows[label], strict=True)
            color = f"C{labels.index(label)}"
            ax.plot(x, y, "o", color=color, alpha=0.7, label=label)
        if name.endswith("backward_rate"):
            ax.set_xscale("log")
        ax.set_xlabel(name)
        ax.legend(fontsize="small")
    axes[0].set_ylabel(
        f"{settings.objective} (validation), mean of the executions"
    )
    return result


def _text(value):
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
