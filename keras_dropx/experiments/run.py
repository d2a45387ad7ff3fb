"""Runs the methods of a plan, seed by seed, one JSON line a run."""

import contextlib
import gc
import itertools
import time

import keras
import tensorflow as tf

from keras_dropx.experiments.build import trainer_of
from keras_dropx.experiments.progress import epochs_shown, sayer
from keras_dropx.experiments.records import (
    Checkpoint,
    Records,
    differing,
    identity,
    select,
    versions,
)

# Training data of which the copies of past runs do not fit into memory.
LARGE = 2**24


def start(precision="float32", jit=False, weights=None):
    """Sets Keras up for trainings; on other backends before data is read.

    Args:
        precision: Name of a Keras dtype policy.
        jit: Whether the trainings are compiled with XLA.
        weights: String that tells initial weights from others, or None.

    Returns:
        Dict of what the records of these trainings share.
    """
    backend = keras.config.backend()
    if backend != "tensorflow":
        # It only feeds the data, and would take all memory of a GPU.
        tf.config.set_visible_devices([], "GPU")
    # It takes the compilation of many models for one that retraces.
    tf.get_logger().setLevel("ERROR")
    keras.config.set_dtype_policy(precision)
    return {
        "precision": precision,
        "jit": jit,
        "backend": backend,
        "weights": weights,
    }


@contextlib.contextmanager
def no_talk_of_retracing():
    """TensorFlow takes the compilation of many models for one that retraces."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)


def run(
    plan,
    data,
    source,
    seeds,
    records,
    progress,
    checkpoints=None,
    initial=None,
    say=lambda text: None,
    make_trainer=trainer_of,
):
    """Runs what is missing of a plan.

    Processes with the same records, on one machine or on many that share a
    folder, divide the runs among them, and each ends when all are there.

    Args:
        plan: `plan.Plan`.
        data: Function from a seed to `datasets.Subsets`.
        source: Dict that describes the data, with what `start` returned: a
            part of each record; its `input_shape`, `num_classes` and
            `train_size` are used.
        seeds: List of integers.
        records: `Records`; gets one a run.
        progress: Function of (method name, seed, epochs done).
        checkpoints: Folder, from which a killed run goes on, or None: runs
            start anew.
        initial: Function from a model to its initial weights under the global
            seed, or None for those of its initialisers.
        say: Function of a line that the user should read.
        make_trainer: Function of (plan, method, source, arguments, initial)
            that returns a `train.Trainer`.
    """
    done = 0
    trainers = {}
    _say_what_is_not_used(plan, source, seeds, records, say)
    read = {}

    def settings_of(method, seed):
        return identity(plan, method, seed, plan.epochs, source)

    def make(method, settings):
        """Trains a method under a seed, or not: what it needs is missing."""
        nonlocal done
        seed, measured = settings["seed"], None
        if method.source:
            (other,) = (m for m in plan.methods if m.name == method.source)
            measured = records.find(settings_of(other, seed))
            if measured is None:
                return False
        if method.name not in trainers or method.source:
            trainers[method.name] = make_trainer(
                plan,
                method,
                source,
                _arguments(method, source.get("train_size"), measured),
                initial,
            )
        checkpoint = None
        if checkpoints is not None:
            # Another version may keep other things in it.
            checkpoint = Checkpoint(
                checkpoints, {**settings, "versions": versions()}
            )
        if seed not in read:
            # The images of one seed are kept.
            read.clear()
            read[seed] = data(seed)
        result = trainers[method.name].run(
            seed,
            read[seed],
            lambda epoch: progress(method.name, seed, epoch),
            checkpoint,
        )
        made = {"versions": versions(), "devices": _devices()}
        records.add({**settings, **result, **made})
        arrays = keras.tree.flatten(read[seed].train)
        if sum(getattr(array, "nbytes", 0) for array in arrays) > LARGE:
            # TensorFlow keeps a run's copy of the images in cycles.
            gc.collect()
        done += 1
        if checkpoint is not None:
            checkpoint.remove()
        return True

    missing = [
        (method, settings_of(method, seed))
        for seed in seeds
        for method in plan.methods
    ]
    waiting = False
    try:
        while missing:
            elsewhere = []
            for method, settings in missing:
                there = records.find(settings)
                if not there:
                    with records.alone(settings) as alone:
                        there = records.find(settings)
                        if alone and not there and make(method, settings):
                            continue
                if there:
                    progress(method.name, settings["seed"], plan.epochs)
                else:
                    elsewhere.append((method, settings))
            if len(elsewhere) == len(missing):
                if not waiting:
                    say(
                        f"Waiting for {counted(len(elsewhere), 'run')} of "
                        f"{plan.name} in other processes"
                    )
                waiting = True
                time.sleep(1)
            missing = elsewhere
    except KeyboardInterrupt:
        say(
            f"Interrupted: {counted(done, 'new run')} of {plan.name} "
            f"{'is' if done == 1 else 'are'} kept in {records.path}"
        )
        raise


def run_all(
    plans, opened, seeds, output, console, waiting="reading data", **arguments
):
    """Runs what is missing of several plans, into one folder.

    `opened` gives a pair (data, source) for each plan, which goes when the plan
    is done; `arguments` are others of `run`.

    Returns:
        A tuple: the path of the records, and a list of each plan's.
    """
    records, made = Records(output), []
    total = sum(len(seeds) * len(p.methods) * p.epochs for p in plans)
    with epochs_shown(console, total, waiting) as shown:
        for plan, (data, source) in zip(plans, opened, strict=True):
            made.append((plan, source))
            run(
                plan,
                data,
                source,
                seeds,
                records,
                shown(plan),
                say=sayer(console),
                **arguments,
            )
    return records.path, [
        select(records.records, plan, plan.epochs, source, seeds)
        for plan, source in made
    ]


def _devices():
    """Lists the devices of the backend, by their names."""
    if keras.config.backend() == "torch":
        # Keras' list knows no PyTorch.
        return [str(keras.ops.zeros(()).device)]
    return keras.distribution.list_devices()


def counted(number, noun):
    """Returns "1 run", "2 runs"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _say_what_is_not_used(plan, source, seeds, records, say):
    """Tells of runs of this name and seed that were made in another way."""
    found, keys = 0, {}
    for method in plan.methods:
        settings = identity(plan, method, 0, plan.epochs, source)
        del settings["seed"]
        others = {}
        for record in records.named(settings):
            if record["seed"] in seeds:
                different = differing(settings, record)
                others.setdefault(record["seed"], []).append(different)
        for differences in others.values():
            if all(differences):
                found += len(differences)
                keys |= dict.fromkeys(itertools.chain(*differences))
    if found:
        say(
            f"{records.path} holds {counted(found, 'run')} of {plan.name} "
            f"that are not used: they differ in {', '.join(keys)}"
        )


def _arguments(method, size, measured):
    """Returns what a method's `dropout` takes, site by site, or None.

    `size` is the number of training images, `measured` the record of the
    method's source.
    """
    if method.source:
        return measured["mean_rates" if method.rates_of else "mean_fractions"]
    if method.sized:
        return itertools.repeat(size)
    return method.rates
