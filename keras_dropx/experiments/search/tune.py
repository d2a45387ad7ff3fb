"""`dropx tune`: search, then compare the winner with plain dropout."""

import contextlib
import functools
import io
from pathlib import Path

from keras_dropx.errors import ProcessError, UserError, naming
from keras_dropx.experiments import run
from keras_dropx.experiments.data import open_data
from keras_dropx.experiments.progress import make_console, progress_bar
from keras_dropx.experiments.records import locked, write_atomically
from keras_dropx.experiments.search import (
    folder,
    launcher,
    notes,
    oracles,
    processes,
    trials_report,
)
from keras_dropx.experiments.search.settings import make_plan, space
from keras_dropx.experiments.search.trials import BEGUN, Search
from keras_dropx.experiments.search.winner import compare_winner


def tune(
    settings,
    trials,
    seeds,
    output,
    overwrite=False,
    workers=None,
    chief=None,
    worker_id=None,
    command=(),
    data_dir=None,
    download=False,
    source_folder=None,
):
    """Searches, prints the trials, and compares the winner on fresh seeds.

    Args:
        seeds: Integer, fresh seeds of the comparison.
        overwrite: Whether the search in the folder is removed.
        workers: None for a search in this process, or how many worker
            processes to start here, beside the chief.
        chief: None, or ("address", port) of the chief: the service of each
            search has a port, from this one on.
        worker_id: None, or the name under which this process joins.
        command: Command that starts this program with the same arguments,
            for the processes that are started here.
        data_dir: Folder of TFDS, or None for its default.
        download: Whether TFDS may download the data set.
        source_folder: Folder of its original files, or None.

    Raises:
        UserError: If the arguments do not fit each other, the folder or the
            machine, or a file of the search is damaged.
        DatasetError: If the data set cannot be had or is too small.
        ProcessError: If a process of the search fails, or all its trials.
    """
    # On another backend TensorFlow must leave the GPU before it reads data.
    shared = run.start(settings.precision, settings.jit)
    output = Path(output)
    if worker_id is not None:
        processes.check_worker(worker_id)
    else:
        folder.check(settings, output, overwrite)
    plan = make_plan(settings)
    data, source = open_data(
        plan, settings.train_size, data_dir, download, source_folder
    )
    try:
        space(settings, source["input_shape"], source["num_classes"])
    except ValueError as error:
        raise UserError(str(error)) from None
    source |= shared
    subsets = data(settings.seed)
    make_search = functools.partial(
        Search,
        settings,
        subsets=subsets,
        num_classes=source["num_classes"],
        trials=trials,
        output=output,
    )
    if worker_id is not None:
        processes.join(settings, output, trials, make_search, chief, worker_id)
        return
    if workers is not None:
        chief = processes.check_chief(chief, len(settings.methods))
    remedy = (
        "Wait for it, join it with --chief and --worker-id, or give another "
        "--output"
    )
    with locked(output, "dropx tune", remedy):
        folder.begin(settings, output, overwrite)
        console = make_console()
        if workers is None:
            search_here(make_search, settings, trials, output, console)
        else:
            _search_in_processes(
                settings, trials, output, workers, chief, command, console
            )
        _report(settings, subsets, source, seeds, output, console)


def _prepare(settings, trials, output):
    """Checks the notes of what goes on, and forgets what its processes left."""
    oracles.check(settings, trials, output)
    # Else another search of many processes would be taken for this one.
    processes.leave()
    for method in settings.methods:
        for path in (output / method).glob(f"trial_*/{BEGUN}"):
            path.unlink()


def search_here(make_search, settings, trials, output, console, shown=True):
    """Runs the searches in this process.

    `make_search` is a function of (method, watch=) that returns `Trials`;
    `shown` tells whether the progress is shown.
    """
    _prepare(settings, trials, output)
    with (
        progress_bar(console, "trials", disable=not shown) as bar,
        open(output / "search.log", "a", buffering=1) as log,
        # KerasTuner prints a traceback for each trial that fails.
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        for method in settings.methods:
            task = bar.add_task(f"search: {method}", total=trials)
            show = functools.partial(_show, bar, task, method, output)
            with naming(output):
                make_search(method, watch=show).search()
            show()


def _search_in_processes(
    settings, trials, output, workers, chief, command, console
):
    _prepare(settings, trials, output)
    place = "{}:{}".format(*chief)
    with progress_bar(console, "trials") as bar:
        tasks = {
            method: bar.add_task(f"search: {method}", total=trials)
            for method in settings.methods
        }

        def progress():
            return [
                _show(bar, task, method, output)
                for method, task in tasks.items()
            ]

        if not workers:
            console.print(
                f"Waiting for workers at {place}; they join with "
                f"--chief {place} --worker-id NAME --output {output}",
                soft_wrap=True,
            )
        start = [*command, "--chief", place, "--worker-id"]
        launcher.launch(
            {f"chief-{x}": [*start, f"chief-{x}"] for x in settings.methods},
            {f"worker-{x}": [*start, f"worker-{x}"] for x in range(workers)},
            output / "logs",
            progress,
        )
        progress()


def _report(settings, subsets, source, seeds, output, console):
    found = {}
    for method in settings.methods:
        found[method] = trials = notes.read_trials(output / method)
        console.print(trials_report.table(trials, settings, method))
        for line in trials_report.failures(trials):
            console.print(line)
        if trials_report.best(trials, settings) is None:
            raise ProcessError(
                f"no trial of {method} completed; see {output / 'search.log'} "
                f"or {output / 'logs'}"
            )
    path, image = output / "tune.png", io.BytesIO()
    trials_report.figure(found, settings).savefig(image, dpi=150)
    write_atomically(path, image.getvalue())
    console.print(f"Figure: {path}\n", soft_wrap=True)
    compare_winner(settings, found, subsets, source, seeds, output, console)


def _show(bar, task, method, output):
    trials = notes.read_trials(output / method)
    ended = sum(trial.status in notes.ENDED for trial in trials)
    running = sum(trial.status == "RUNNING" for trial in trials)
    text = f"search: {method} ({running} running)"
    bar.update(task, completed=ended, description=text)
    return ended
