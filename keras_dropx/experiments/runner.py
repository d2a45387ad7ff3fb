"""Runs the arms of a panel, seed by seed, one JSON line a run."""

import hashlib
import itertools
import json
from pathlib import Path

import keras

from keras_dropx.experiments.arm_runner import ArmRunner
from keras_dropx.experiments.checkpoint import Checkpoint
from keras_dropx.experiments.runs import settings_of, versions


def run_panel(
    panel, data, source, seeds, epochs, runs, progress, folder=None, start=None
):
    """Runs what is missing of a panel.

    Args:
        panel: `panel.Panel`.
        data: Function from a seed to `datasets.Subsets`.
        source: Dict that describes the data, a part of each record; its
            `num_classes` and `train_size` are used.
        seeds: List of integers.
        epochs: Integer.
        runs: `Runs`; gets a record a run.
        progress: Function of (arm name, seed, epochs done).
        folder: Folder of the checkpoints, or None: runs start anew.
        start: As in `ArmRunner`.
    """
    runners = {}
    size, num_classes = source["train_size"], source["num_classes"]
    steps = -(-size // panel.batch_size)
    for seed in seeds:
        missing = []
        for arm in panel.arms:
            settings = settings_of(panel, arm, seed, epochs, source)
            if runs.find(**settings):
                progress(arm.name, seed, epochs)
            else:
                missing.append((arm, settings))
        if not missing:
            continue
        subsets = data(seed)
        for arm, settings in missing:
            measured = None
            if arm.source:
                other = next(a for a in panel.arms if a.name == arm.source)
                measured = runs.find(
                    **settings_of(panel, other, seed, epochs, source)
                )
            arguments = _arguments(arm, size, measured)
            if arm.name not in runners or arm.source:
                runners[arm.name] = ArmRunner(
                    panel,
                    arm,
                    source["input_shape"],
                    num_classes,
                    steps,
                    epochs,
                    arguments,
                    start,
                )
            checkpoint = None
            if folder is not None:
                text = json.dumps(settings, sort_keys=True).encode()
                name = hashlib.sha256(text).hexdigest()[:16]
                checkpoint = Checkpoint(Path(folder) / f"{name}.npz", settings)
            result = runners[arm.name].run(
                seed,
                subsets,
                lambda done, arm=arm, seed=seed: progress(arm.name, seed, done),
                checkpoint,
            )
            devices = keras.distribution.list_devices()
            runs.add(
                {
                    **settings,
                    **result,
                    "versions": versions(),
                    "devices": devices,
                }
            )
            if checkpoint is not None:
                checkpoint.remove()


def _arguments(arm, size, measured):
    """Returns what an arm's `dropout` takes, site by site, or None.

    Args:
        arm: `panel.Arm`.
        size: Integer, training images.
        measured: The record of the arm's source, or None.
    """
    if arm.source:
        return measured["mean_rates" if arm.rates_of else "mean_fractions"]
    if arm.sized:
        return itertools.repeat(size)
    return arm.rates
