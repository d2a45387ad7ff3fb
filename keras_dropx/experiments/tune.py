"""`dropx tune`: search, then compare the winner with plain dropout."""

import contextlib
import json
import os
import re
import shutil
import socket
import sys
import time
import uuid
from pathlib import Path

import grpc
import keras_tuner
import numpy as np
import tensorflow as tf
from keras_tuner.src.distribute import oracle_client
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from sklearn.model_selection import train_test_split

from keras_dropx.errors import ProcessError, UserError
from keras_dropx.experiments import (
    datasets,
    panel_report,
    search,
    session,
    trials_report,
)
from keras_dropx.experiments.panel import Arm, Contrast
from keras_dropx.experiments.runner import run_panel
from keras_dropx.experiments.runs import Runs
from keras_dropx.tuner import any_dropout, launcher

LOOPBACK = "127.0.0.1"
# Far from the seed of the search.
FRESH = 1000


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
):
    """Searches, prints the trials, and compares the winner on fresh seeds.

    Args:
        settings: `search.Settings`.
        trials: Integer, trials of each search.
        seeds: Integer, fresh seeds of the comparison.
        output: Folder of everything.
        overwrite: Whether to start afresh.
        workers: None for a search in this process, or how many worker
            processes to start here, beside the chief.
        chief: None, or ("address", port) of the chief: the service of each
            search has a port, from this one on.
        worker_id: None, or the name under which this process joins.
        command: Command that starts this program with the same arguments,
            for the processes that are started here.
        data_dir: Folder of TFDS, or None for its default.
        download: Whether TFDS may download the data set.

    Raises:
        UserError: If the arguments do not fit each other, the folder or the
            machine.
        DatasetError: If the data set cannot be had or is too small.
        ProcessError: If a process of the search fails, or all its trials.
    """
    tf.get_logger().setLevel("ERROR")
    try:
        for method in settings.methods:
            hp = keras_tuner.HyperParameters()
            any_dropout(hp, **search.space(settings, method))
    except ValueError as error:
        raise UserError(str(error)) from None
    splits, source = datasets.splits(
        settings.dataset, settings.train_size, data_dir, download
    )
    subsets = splits(settings.seed)
    output = Path(output)
    arguments = (settings, subsets, source["num_classes"], trials, output)
    if worker_id is not None:
        if not launcher.is_launched() and (
            "chief" in worker_id
            or worker_id == "oracle"
            or not re.fullmatch(r"[\w.-]+", worker_id)
        ):
            raise UserError(
                f"--worker-id {worker_id}: expected letters, digits, '.', '_' "
                "and '-', not 'oracle', and no 'chief' in it"
            )
        _join(*arguments, chief, worker_id)
        return
    if workers is not None:
        chief = _check_chief(chief, len(settings.methods))
    remedy = (
        "Wait for it, join it with --chief and --worker-id, or give another "
        "--output"
    )
    with session.locked(output, "dropx tune", remedy):
        _keep_settings(settings, output, overwrite)
        for path in output.glob("*/trial_*"):
            search.attempts_file(path).unlink(missing_ok=True)
        # A pipe has no width of its own.
        width = None if sys.stdout.isatty() else 120
        console = Console(file=sys.stdout, width=width)
        if workers is None:
            _search_here(*arguments, console)
        else:
            _search_in_processes(
                settings, trials, output, workers, chief, command, console
            )
        _report(settings, subsets, source, seeds, output, console)


def _search_here(settings, subsets, num_classes, trials, output, console):
    with (
        _bar(console) as bar,
        open(output / "search.log", "a", buffering=1) as log,
        # KerasTuner prints a traceback for each trial that fails.
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        for method in settings.methods:
            task = bar.add_task(f"search: {method}", total=trials)

            shown = 0.0

            def on_epoch(method=method, task=task):
                nonlocal shown
                if time.monotonic() > shown + 0.5:
                    shown = time.monotonic()
                    _show(bar, task, method, output)

            tuner = search.Search(
                settings, method, subsets, num_classes, trials, output, on_epoch
            )
            tuner.search()
            _show(bar, task, method, output)


def _search_in_processes(
    settings, trials, output, workers, chief, command, console
):
    address, port = chief
    service = ["--chief", f"{address}:{port}", "--worker-id"]
    chiefs = [f"chief-{method}" for method in settings.methods]
    names = [f"worker-{number}" for number in range(workers)]
    with _bar(console) as bar:
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
                f"Waiting for workers at {address}:{port}; they join with "
                f"--chief {address}:{port} --worker-id NAME --output {output}"
            )
        launcher.launch(
            {name: [*command, *service, name] for name in chiefs},
            {name: [*command, *service, name] for name in names},
            output / "logs",
            progress,
        )
        progress()


def _join(settings, subsets, num_classes, trials, output, chief, worker_id):
    """Works for the chief at an address, or is a chief."""
    launcher.end_with_launcher()
    kept = _kept_settings(output)
    if kept is None:
        raise UserError(
            f"{output} holds no search to join. Start the chief first, on a "
            "folder that all machines see"
        )
    _check_same(settings, kept, output)
    address, port = chief
    os.environ["KERASTUNER_TUNER_ID"] = worker_id
    os.environ["KERASTUNER_ORACLE_IP"] = address
    methods = list(enumerate(settings.methods))
    if worker_id.startswith("chief"):
        methods = [x for x in methods if worker_id == f"chief-{x[1]}"]
    for number, method in methods:
        os.environ["KERASTUNER_ORACLE_PORT"] = str(port + number)
        note = output / method / "over"

        def over(note=note):
            return note.exists() and int(note.read_text()) >= trials

        is_chief = worker_id.startswith("chief")
        if not is_chief and not _wait_for_chief(address, port + number, over):
            print(f"The search of {method} is over.")
            continue
        try:
            search.Search(
                settings,
                method,
                subsets,
                num_classes,
                trials,
                output,
                current=lambda: _kept_settings(output) == kept,
            ).search()
        except grpc.RpcError as error:
            # The chief may have ended between two questions.
            if not over():
                raise ProcessError(
                    f"the chief at {address}:{port + number} does not answer: "
                    f"{error.details()}"
                ) from None
        except keras_tuner.errors.FatalError as error:
            raise ProcessError(str(error)) from None
        if is_chief:
            note.write_text(str(trials))


def _wait_for_chief(address, port, over):
    """Returns whether there is a chief; False once its search is over."""
    print(f"Waiting for the chief at {address}:{port}", flush=True)
    # KerasTuner would wait for an hour for a chief that has just ended. Ten
    # minutes are enough for many workers that ask for a Gaussian process.
    oracle_client.TIMEOUT = 600
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection((address, port), 5).close()
            return True
        if over():
            return False
        time.sleep(0.5)


def _report(settings, subsets, source, seeds, output, console):
    arms, best, counts = [Arm("plain")], {}, {}
    for method in settings.methods:
        trials = trials_report.read(output / method)
        console.print(trials_report.table(trials, settings, method))
        for line in trials_report.failures(trials):
            console.print(line)
        counts[method] = len(trials)
        best[method] = trials_report.best(trials, settings)
        if best[method] is None:
            raise ProcessError(
                f"no trial of {method} completed; see {output / 'search.log'} "
                f"or {output / 'logs'}"
            )
    path = output / "tune.png"
    trials_report.figure(output, settings).savefig(path, dpi=150)
    console.print(f"Figure: {path}\n")

    def layer(method):
        hp = keras_tuner.HyperParameters()
        hp.values = dict(best[method].hyperparameters.values)
        return any_dropout(hp, **search.space(settings, method))

    arms.append(Arm("dropout", lambda: layer("dropout")))
    contrasts = [Contrast("test_accuracy", "dropout", "plain", 0.5)]
    if settings.method != "dropout":
        arms.append(Arm("winner", lambda: layer(settings.method)))
        contrasts.insert(0, Contrast("test_accuracy", "winner", "dropout", 0.5))
    arms.append(
        Arm("dropout-remasked", lambda: layer("dropout"), mask_offset=1)
    )
    claim = f"Is dropout, the best of {counts['dropout']} trials, worth it?"
    if settings.method != "dropout":
        claim = (
            f"Is the best of {counts[settings.method]} trials of "
            f"{settings.method} better than the best of {counts['dropout']} "
            "of dropout?"
        )
    panel = settings.panel._replace(
        name="tune",
        claim=claim,
        arms=tuple(arms),
        contrasts=tuple(contrasts),
        floor=Contrast("test_accuracy", "dropout-remasked", "dropout", 0.5),
        measures=frozenset(),
    )
    # What the trials were chosen by does not come back as test images.
    images, labels = (
        np.concatenate([subsets.train[k], subsets.validation[k]])
        for k in (0, 1)
    )

    def resample(seed):
        train, _ = train_test_split(
            np.arange(len(labels)),
            train_size=settings.train_size,
            stratify=labels,
            random_state=seed,
        )
        return subsets._replace(train=(images[train], labels[train]))

    source = {
        **source,
        "network": settings.network,
        "search_seed": settings.seed,
        "hyperparameters": {
            method: trial.hyperparameters.values
            for method, trial in best.items()
        },
    }
    runs = Runs(output)
    fresh = [FRESH + settings.seed + k for k in range(seeds)]
    with _bar(console, "epochs") as bar:
        total = seeds * len(arms) * settings.epochs
        task = bar.add_task("comparison", total=total)

        def progress(arm, seed, done):
            text = f"comparison · {arm} · seed {seed}"
            bar.update(task, advance=done, description=text)

        run_panel(
            panel, resample, source, fresh, settings.epochs, runs, progress
        )
    records = [
        record
        for record in runs.records
        if record["seed"] in fresh
        and record["epochs"] == settings.epochs
        and all(record.get(key) == source[key] for key in source)
    ]
    console.print(panel_report.arm_table(panel, records))
    console.print(panel_report.contrast_table(panel, records))
    console.print(panel_report.noise_floor(panel, records))
    console.print(f"Every run: {runs.path}")


def _show(bar, task, method, output):
    ended = running = 0
    for trial in trials_report.read(output / method):
        ended += trial.status in ("COMPLETED", "FAILED")
        running += trial.status == "RUNNING"
    text = f"search: {method}"
    bar.update(task, completed=ended, description=f"{text} ({running} running)")
    return ended


def _bar(console, unit="trials"):
    return Progress(
        TextColumn("{task.description:<38}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        console=console,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def _check_chief(chief, count):
    address, port = chief or (LOOPBACK, None)
    try:
        if port is None:
            return address, launcher.free_ports(address, count)
        used = launcher.used_port(address, port, count)
    except OSError as error:
        raise UserError(
            f"the chief cannot listen at {address}: {error.strerror}. Give an "
            "address of this machine"
        ) from None
    if used is not None:
        raise UserError(
            f"port {used} of {address} is in use (the chief needs {count} "
            f"from {port} on). Give another one, or leave --chief out"
        )
    return chief


def _keep_settings(settings, output, overwrite):
    path = output / "search.json"
    if overwrite:
        path.unlink(missing_ok=True)
    kept = _kept_settings(output)
    if kept is not None:
        _check_same(settings, kept, output)
        return
    # Without its settings a search is what an --overwrite has left.
    for name in ("any", *search.METHODS, "logs"):
        if (output / name).exists():
            shutil.rmtree(output / name)
    for name in ("search.log", "runs.jsonl", "tune.png"):
        (output / name).unlink(missing_ok=True)
    new = path.with_suffix(".new")
    kept = {**settings._asdict(), "id": uuid.uuid4().hex}
    new.write_text(json.dumps(kept, indent=1) + "\n")
    new.replace(path)


def _kept_settings(output):
    path = Path(output) / "search.json"
    if not path.exists():
        return None
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError):
        raise UserError(
            f"{path} is damaged: --overwrite starts afresh"
        ) from None


def _check_same(settings, kept, output):
    ours = json.loads(json.dumps(settings._asdict()))
    for key, value in ours.items():
        if kept.get(key) != value:
            raise UserError(
                f"{output} holds a search with {key}={kept.get(key)!r}, not "
                f"{value!r}. Give another --output, or --overwrite to start "
                "afresh"
            )
