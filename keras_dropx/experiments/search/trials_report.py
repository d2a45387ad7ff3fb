"""What the trials of a search say: a table, the failures, a figure."""

from matplotlib.figure import Figure

from keras_dropx.experiments.measures import describe
from keras_dropx.experiments.report.method_table import mean_error
from keras_dropx.experiments.report.table import Table
from keras_dropx.experiments.report.text import printable
from keras_dropx.experiments.search.notes import executions
from keras_dropx.tuner.search_spaces import METHODS

SHOWN = 10


def completed(trials, settings):
    """Returns the trials that have a score, the best one first."""
    return sorted(
        (trial for trial in trials if trial.status == "COMPLETED"),
        key=lambda trial: trial.score,
        reverse=settings.direction == "max",
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


def table(trials, settings, method):
    """Returns a `Table` of the best trials, mean ± standard error."""
    shown = completed(trials, settings)
    metric = describe(settings.objective)
    names = dict.fromkeys(
        name for trial in shown for name in trial.hyperparameters.values
    )
    names.pop("tuner/trial_id", None)
    rows = []
    for trial in shown[:SHOWN]:
        values = trial.hyperparameters.values
        scores = [metric.scale * score for score in executions(trial)]
        rows.append(
            [
                str(trial.trial_id),
                *(_text(values.get(name)) for name in names),
                mean_error(scores, metric.format),
            ]
        )
    caption = (
        f"{settings.dataset}, {settings.train_size} training images, "
        f"{settings.network}; at the last epoch"
    )
    if settings.executions > 1:
        caption += f"; SE: standard error over {settings.executions} executions"
    return Table(
        ["trial", *names, f"{metric.heading} ± SE"],
        rows,
        ("trial",),
        f"{method}: the best {len(rows)} of {len(trials)} trials",
        caption,
    )


def failures(trials):
    """Returns a line a failed trial: its id and its reason."""
    lines = []
    for trial in trials:
        if trial.status == "FAILED":
            # A traceback ends with the error.
            reason = (trial.message or "").strip().rpartition("\n")[2]
            reason = reason.removeprefix("keras_tuner.src.errors.")
            # No escape sequence for the terminal is among it.
            lines.append(printable(f"Trial {trial.trial_id} failed: {reason}"))
    return lines


def figure(found, settings):
    """Draws the objective over each hyperparameter, a dot a trial.

    `found` is a dict from a searched method to its trials.
    """
    points = {}
    for method, trials in found.items():
        for trial in completed(trials, settings):
            values = trial.hyperparameters.values
            label = values.get("dropout_method", method)
            if method != settings.method:
                label = "dropout alone"
            for name, value in values.items():
                if name.startswith("dropout_") and name != "dropout_method":
                    row = points.setdefault(name, {}).setdefault(label, [])
                    row.append((value, trial.score))
    result = Figure((4.5 * len(points), 4), layout="constrained")
    (axes,) = result.subplots(1, len(points), squeeze=False, sharey=True)
    labels = [*METHODS, "dropout alone"]
    for ax, (name, rows) in zip(axes, sorted(points.items()), strict=True):
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
