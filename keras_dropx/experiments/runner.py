"""Runs the arms of a panel, seed by seed, one JSON line a run."""

import functools
import hashlib
import itertools
import json
import os
import time
from importlib import metadata
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from scipy import special

import keras_dropx
from keras_dropx.experiments import probes
from keras_dropx.experiments.batches import training_batches
from keras_dropx.experiments.checkpoint import Checkpoint
from keras_dropx.experiments.measures import Measures
from keras_dropx.experiments.streaming import training_stream
from keras_dropx.models import monte_carlo_predict
from keras_dropx.models.batch_norm import statistics_estimator

CONVERGED_LOSS = 0.02
CROSS_ENTROPY = "cross_entropy"
# How often a run looks inside of its network, and at the test images.
PROBES = 10
CURVE = 20
# A checkpoint takes some milliseconds: every epoch of a small network would
# be slower by a third.
CHECKPOINT_SECONDS = 5


class Runs:
    """The runs of an output folder, kept in `runs.jsonl`.

    Args:
        folder: Path, created where it is not there.

    Raises:
        OSError: If nothing can be written in the folder.
    """

    def __init__(self, folder):
        self.path = Path(folder) / "runs.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()
        self.records = []
        text = self.path.read_text()
        # What a killed process left of its last line: that run is repeated.
        self.torn = "" if text.endswith("\n") else text.rpartition("\n")[2]
        for line in text.removesuffix(self.torn).splitlines():
            self.records.append(json.loads(line))

    def find(self, **settings):
        """Returns the record with these settings, or None."""
        for record in self.records:
            if all(record.get(key) == settings[key] for key in settings):
                return record
        return None

    def add(self, record):
        """Appends a record; it is on the disk when this returns."""
        with self.path.open("r+") as file:
            file.seek(0, os.SEEK_END)
            file.truncate(file.tell() - len(self.torn.encode()))
            file.seek(0, os.SEEK_END)
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.torn = ""
        self.records.append(record)


class ArmRunner:
    """One compiled model that trains an arm under one seed after another.

    A seed fixes the split, the initial weights, the order of the batches and
    the words of the masks, the same for every arm of a panel.

    Args:
        panel: `panel.Panel`.
        arm: `panel.Arm`.
        input_shape: Shape of one sample.
        num_classes: Integer.
        steps: Integer, training steps an epoch.
        epochs: Integer.
        arguments: What the arm's `dropout` takes, site by site, or None.
        start: Function from a model to its initial weights under the global
            seed, or None for those of its initialisers.
    """

    def __init__(
        self,
        panel,
        arm,
        input_shape,
        num_classes,
        steps,
        epochs,
        arguments=None,
        start=None,
    ):
        self.panel = panel
        self.arm = arm
        self.steps = steps
        self.epochs = epochs
        options = {**panel.options, **arm.options}
        if arm.activation:
            options["activation"] = arm.activation
        if arm.exact:
            options["exact"] = True
        dropout = arm.dropout
        if arguments is not None:
            remaining = iter(arguments)

            def dropout():
                return arm.dropout(next(remaining))

        self.initial_weights = functools.partial(
            _initial_weights,
            panel.network,
            tuple(input_shape),
            num_classes,
            tuple(options.items()),
            start,
        )
        self.network = panel.network(
            tuple(input_shape), num_classes, dropout, **options
        )
        decay(self.network, panel.weight_decay)
        self.model = self.network
        if arm.train_as is not None:
            self.model = arm.train_as(self.network)
        # A metric is half of what there is to trace.
        metrics = []
        if panel.weight_decay or arm.train_as is not None:
            metrics = [
                keras.metrics.SparseCategoricalCrossentropy(
                    CROSS_ENTROPY, from_logits=True
                )
            ]
        self.loss_name = CROSS_ENTROPY if metrics else "loss"
        compile_model(
            self.model, panel, steps, epochs, arm.learning_rate, metrics
        )
        self.model.optimizer.build(self.model.trainable_variables)
        self.optimizer_start = [
            keras.ops.convert_to_numpy(variable)
            for variable in self.model.optimizer.variables
        ]
        self.sites = [
            layer
            for layer in (getattr(x, "dropout", x) for x in self.network.layers)
            if hasattr(layer, "seed_generator")
        ]
        # Variables that the plain network does not have: learned rates.
        self.own = {
            id(variable): keras.ops.convert_to_numpy(variable)
            for site in self.sites
            for variable in site.weights
        }
        self.estimate = None
        if "reestimated" in panel.measures and any(
            isinstance(layer, keras.layers.BatchNormalization)
            for layer in self.network.layers
        ):
            self.estimate = statistics_estimator(self.network)
        loss = self.model.loss
        self.evaluation_probe = probes.evaluation_probe(self.network, loss)
        self.gradient_probe = None
        if "gradient" in panel.measures:
            self.gradient_probe = probes.gradient_probe(self.network, loss)
        self.rate_probe = probes.jumpout_rate_probe(self.network)

    def reset(self, seed):
        """Puts model and optimizer where `seed` starts."""
        values = iter(self.initial_weights(seed))
        keras.utils.set_random_seed(seed)
        for variable in self.network.weights:
            own = self.own.get(id(variable))
            variable.assign(next(values) if own is None else own)
        for variable, start in zip(
            self.model.optimizer.variables, self.optimizer_start, strict=True
        ):
            variable.assign(start)
        for site, layer in enumerate(self.sites):
            entropy = np.random.SeedSequence((seed, site, self.arm.mask_offset))
            word = entropy.generate_state(1)[0]
            state = layer.seed_generator.state
            # For torch the bits of a word are an int32.
            state.assign(np.array([word, 0]).astype(state.dtype))

    def variables(self):
        """Returns all that a training changes."""
        return [*self.model.variables, *self.model.optimizer.variables]

    def run(self, seed, data, on_epoch, checkpoint=None):
        """Trains and measures once.

        Args:
            seed: Integer.
            data: `datasets.Subsets` of this seed.
            on_epoch: Function of a number of epochs, called after them.
            checkpoint: `Checkpoint`, from which the run goes on, or None.

        Returns:
            Dict of measurements; accuracies and fractions in 0..1, losses in
            nats, times in milliseconds.
        """
        self.reset(seed)
        watch = _Watch(self, data, on_epoch, checkpoint)
        done = watch.resume()
        if done:
            on_epoch(done)
        if done < self.epochs:
            self.model.fit(
                batches(self.panel, data.train, seed, done * self.steps),
                initial_epoch=done,
                epochs=self.epochs,
                steps_per_epoch=self.steps,
                callbacks=[watch],
                shuffle=False,
                verbose=0,
            )
        result = watch.results()
        if "train" in self.panel.measures:
            _, accuracy = self.evaluation_probe(data.train)
            result["train_accuracy"] = accuracy
        finished = None
        if self.arm.finish is not None:
            finished = self.arm.finish(
                self.network,
                data.train[0],
                seed,
                self.panel._replace(epochs=self.epochs),
            )
        result |= self.evaluate("test", data.test, finished)
        if "saturation" in self.panel.measures:
            result["saturation"] = probes.saturated_fraction(
                self.network, data.test[0]
            )
        if self.estimate is not None:
            self.network.set_weights(
                self.estimate(data.train[0], self.panel.batch_size)
            )
            result |= self.evaluate("reestimated", data.test)
        return result

    def evaluate(self, name, test, network=None):
        """Returns accuracy and loss on test data, as the arm predicts.

        Args:
            name: String, what the keys begin with.
            test: Pair of arrays, or `tf.data.Dataset` of batches.
            network: Model that is evaluated in place of the trained one.
        """
        if self.arm.samples:
            x, y = test
            logits = monte_carlo_predict(
                self.network,
                x,
                self.arm.samples,
                probes.BATCH,
                seed=0,
                verbose=0,
            )
            logs = special.log_softmax(logits.astype("float64"), axis=-1)
            logs = special.logsumexp(logs, axis=0) - np.log(len(logits))
            accuracy = np.mean(logs.argmax(axis=-1) == y)
            loss = -np.mean(logs[np.arange(len(y)), y])
        else:
            probe = self.evaluation_probe
            if network is not None:
                probe = probes.evaluation_probe(network, self.model.loss)
            loss, accuracy = probe(test)
        return {
            f"{name}_accuracy": float(accuracy),
            f"{name}_loss": float(loss),
        }


@functools.lru_cache(maxsize=2)  # Arms of one network follow each other.
def _initial_weights(network, input_shape, num_classes, options, start, seed):
    keras.utils.set_random_seed(seed)
    plain = network(input_shape, num_classes, **dict(options))
    if start is not None:
        start(plain)
    return plain.get_weights()


def compile_model(
    model, panel, steps, epochs=None, factor=1.0, metrics=("accuracy",)
):
    """Compiles a model the way that every arm of a panel is.

    Args:
        model: `keras.Model` that ends in logits.
        panel: `panel.Panel`.
        steps: Integer, training steps an epoch: one execution.
        epochs: Integer, needed where the learning rate drops.
        factor: Float, times the panel's learning rate.
        metrics: List of what is measured of each batch besides the loss.
    """
    rate = factor * panel.learning_rate
    if panel.drops and epochs is not None:
        rate = keras.optimizers.schedules.PiecewiseConstantDecay(
            [round(drop * epochs * steps) for drop in panel.drops],
            [rate * panel.drop**k for k in range(len(panel.drops) + 1)],
        )
    model.compile(
        keras.optimizers.SGD(rate, panel.momentum, panel.nesterov),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=list(metrics),
        steps_per_execution=1 if keras.config.backend() == "torch" else steps,
        jit_compile=True if panel.jit else "auto",
    )


def decay(model, strength):
    """Adds λ/2 · ‖W‖² of each kernel to the loss of a model.

    The papers' weight decay: with momentum it is not that of
    `keras.optimizers`, which shrinks the weights beside the gradient.

    Args:
        model: `keras.Model`.
        strength: Float λ.
    """
    if strength:
        for variable in model.trainable_variables:
            if variable.path.endswith("kernel"):
                variable.regularizer = keras.regularizers.L2(strength / 2)


def is_stream(data):
    """Whether data is read as it is used, not an array."""
    return isinstance(data, tf.data.Dataset)


def batches(panel, train, seed, first_step):
    """Returns the endless batches of a training.

    Args:
        panel: `panel.Panel`.
        train: Pair of arrays, or a dataset for `streaming.training_stream`.
        seed: Integer.
        first_step: Integer, the batches left out at the start.
    """
    if is_stream(train):
        return training_stream(train, panel.batch_size, seed, first_step)
    return training_batches(
        *train, panel.batch_size, seed, first_step, panel.augmentation
    )


class _Watch(keras.callbacks.Callback):
    """Takes the measurements that need training, and keeps checkpoints."""

    def __init__(self, runner, data, on_epoch, checkpoint):
        super().__init__()
        self.runner = runner
        self.names = runner.panel.measures
        self.data = data
        self.on_epoch = on_epoch
        self.checkpoint = checkpoint
        self.saved = time.monotonic()
        self.probed = spread(PROBES, runner.epochs)
        self.curved = spread(CURVE, runner.epochs)
        self.state = {
            "epoch": 0,
            "seconds": [],
            "train_loss": [],
            "epochs_to_loss": None,
            "gradients": [],
            "rates": [],
            "fractions": [],
            "curve": [],
            "measured": [],
        }

    def resume(self):
        """Takes up a checkpoint; returns the epochs it has done."""
        loaded = self.checkpoint and self.checkpoint.load()
        if loaded:
            arrays, self.state = loaded
            for variable, array in zip(
                self.runner.variables(), arrays, strict=True
            ):
                variable.assign(array)
        return self.state["epoch"]

    def on_train_begin(self, logs=None):
        train = self.data.train
        if is_stream(train):
            size = self.runner.panel.batch_size
            train = next(iter(training_stream(train, size, 0)))
        self.x, self.y = train
        self.measures = Measures(
            self.names, self.runner.network, self.x, self.y, self.data.test
        )

    def on_train_end(self, logs=None):
        self.measures.stop()

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.start
        _ = self.model  # On JAX this brings its variables up to date.
        state = self.state
        state["epoch"] = epoch + 1
        state["seconds"].append(seconds)
        # The loss itself may hold weight decay.
        state["train_loss"].append(logs[self.runner.loss_name])
        last = epoch + 1 == self.runner.epochs
        if "convergence" in self.names and state["epochs_to_loss"] is None:
            now = self.runner.evaluate("train", (self.x, self.y))
            if now["train_loss"] <= CONVERGED_LOSS:
                state["epochs_to_loss"] = epoch + 1
        if "curve" in self.names and epoch in self.curved:
            test = self.runner.evaluate("test", self.data.test)
            state["curve"].append({"epoch": epoch + 1, **test})
        if epoch in self.probed:
            if self.runner.gradient_probe is not None:
                sizes, output = self.runner.gradient_probe(
                    self.x[: probes.BATCH], self.y[: probes.BATCH]
                )
                sizes = {name: float(size) for name, size in sizes.items()}
                state["gradients"].append([sizes, float(output)])
            if self.runner.rate_probe is not None:
                rates, fractions = self.runner.rate_probe(
                    self.x[: probes.BATCH]
                )
                state["rates"].append(rates)
                state["fractions"].append(fractions)
            taken = self.measures.take(last)
            if taken:
                state["measured"].append({"epoch": epoch + 1, **taken})
        self.save(last)
        self.on_epoch(1)

    def save(self, last):
        """Saves a checkpoint, if the last one is some seconds old."""
        if self.checkpoint is None or last:
            return
        if time.monotonic() - self.saved >= CHECKPOINT_SECONDS:
            arrays = [
                keras.ops.convert_to_numpy(variable)
                for variable in self.runner.variables()
            ]
            self.checkpoint.save(arrays, self.state)
            self.saved = time.monotonic()

    def results(self):
        """Returns what goes into the record."""
        state = self.state
        # The first epoch compiles.
        seconds = np.median(state["seconds"][1:] or state["seconds"])
        results = {
            "step_ms": 1e3 * float(seconds) / self.runner.steps,
            "train_loss": state["train_loss"],
        }
        if "convergence" in self.names:
            results["epochs_to_loss"] = state["epochs_to_loss"]
        gradients = state["gradients"]
        if gradients:
            layers = gradients[0][0]
            results["gradient"] = {
                name: float(np.mean([sizes[name] for sizes, _ in gradients]))
                for name in layers
            }
            results["gradient_normalized"] = {
                name: float(
                    np.mean([sizes[name] / out for sizes, out in gradients])
                )
                for name in layers
            }
        if state["rates"]:
            for key in ("rates", "fractions"):
                mean = np.mean(state[key], axis=0).tolist()
                results[f"mean_{key}"] = mean
        for key in ("curve", "measured"):
            if state[key]:
                results[key] = state[key]
        return results


def spread(count, epochs):
    """Returns about `count` epochs, evenly spread, the last among them."""
    return {round((k + 1) * epochs / count) - 1 for k in range(count)}


def settings_of(panel, arm, seed, epochs, source):
    """Returns what makes a run; two runs that differ in it are two.

    Args:
        panel: `panel.Panel`.
        arm: `panel.Arm`.
        seed: Integer.
        epochs: Integer.
        source: Dict that describes the data.

    Returns:
        Dict, JSON-able.
    """
    settings = {
        "panel": panel.name,
        "arm": arm.name,
        "seed": seed,
        "epochs": epochs,
        "network": panel.network.__name__,
        "measures": sorted(panel.measures),
        "arm_details": arm.details(),
        **{
            name: getattr(panel, name)
            for name in (
                "batch_size",
                "learning_rate",
                "momentum",
                "nesterov",
                "weight_decay",
                "drops",
                "drop",
                "options",
                "preparation",
                "augmentation",
            )
        },
        **source,
    }
    return json.loads(json.dumps(settings))


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


def versions():
    """Returns the versions of what the numbers hang on, a dict."""
    names = ("keras", keras.config.backend(), "tensorflow", "numpy")
    return {
        "keras_dropx": keras_dropx.__version__,
        **{name: metadata.version(name) for name in names},
    }
