"""Runs the arms of a panel, seed by seed, one JSON line a run."""

import json
import os
import time
from importlib import metadata
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_dropx
from keras_dropx.experiments import probes
from keras_dropx.models import reestimate_batch_norm

CONVERGED_LOSS = 0.02
PROBES = 10


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
        panel: `panels.Panel`.
        arm: `panels.Arm`.
        input_shape: Shape of one sample.
        num_classes: Integer.
        steps: Integer, training steps an epoch.
        rates: Rates of the sites for an arm with `rates_of`.
    """

    def __init__(self, panel, arm, input_shape, num_classes, steps, rates=None):
        self.panel = panel
        self.arm = arm
        self.steps = steps
        options = {"activation": arm.activation} if arm.activation else {}
        if arm.exact:
            options["exact"] = True
        dropout = arm.dropout
        if arm.rates_of:
            remaining = iter(rates)

            def dropout():
                return arm.dropout(next(remaining))

        def build(dropout):
            return panel.network(input_shape, num_classes, dropout, **options)

        self.build_plain = lambda: build(None)
        self.model = build(dropout)
        compile_model(self.model, panel, steps)
        self.model.optimizer.build(self.model.trainable_variables)
        self.optimizer_start = [
            variable.numpy() for variable in self.model.optimizer.variables
        ]
        self.gradient_probe = probes.gradient_probe(self.model, self.model.loss)
        self.rate_probe = probes.jumpout_rate_probe(self.model)

    def reset(self, seed):
        """Puts model and optimizer where `seed` starts."""
        keras.utils.set_random_seed(seed)
        self.model.set_weights(self.build_plain().get_weights())
        for variable, start in zip(
            self.model.optimizer.variables, self.optimizer_start, strict=True
        ):
            variable.assign(start)
        layers = (getattr(x, "dropout", x) for x in self.model.layers)
        masks = (x for x in layers if hasattr(x, "seed_generator"))
        for site, layer in enumerate(masks):
            entropy = np.random.SeedSequence((seed, site, self.arm.mask_offset))
            word = int(entropy.generate_state(1)[0])
            layer.seed_generator.state.assign([word, 0])

    def run(self, seed, data, epochs, on_epoch):
        """Trains and measures once.

        Args:
            seed: Integer.
            data: `datasets.Subsets` of this seed.
            epochs: Integer.
            on_epoch: Function without arguments, called after each epoch.

        Returns:
            Dict of measurements; accuracies and fractions in 0..1, losses in
            nats, times in milliseconds.
        """
        self.reset(seed)
        x, y = data.train
        batches = training_batches(x, y, self.panel.batch_size, seed)
        watch = _Watch(self, x, y, epochs, on_epoch)
        history = self.model.fit(
            batches,
            epochs=epochs,
            steps_per_epoch=self.steps,
            callbacks=[watch],
            shuffle=False,
            verbose=0,
        )
        result = {
            **self._evaluate("test", *data.test),
            "train_loss": history.history["loss"],
            "step_ms": 1e3 * watch.median_seconds() / self.steps,
            **watch.results(),
        }
        if "saturation" in self.panel.measures:
            result["saturation"] = probes.saturated_fraction(
                self.model, data.test[0]
            )
        if "reestimated" in self.panel.measures:
            copy = reestimate_batch_norm(self.model, x, self.panel.batch_size)
            self.model.set_weights(copy.get_weights())
            result |= self._evaluate("reestimated", *data.test)
        return result

    def _evaluate(self, name, x, y):
        logs = self.model.evaluate(
            x, y, batch_size=500, verbose=0, return_dict=True
        )
        return {
            f"{name}_accuracy": logs["accuracy"],
            f"{name}_loss": logs["loss"],
        }


def compile_model(model, panel, steps):
    """Compiles a model the way that every arm of a panel is.

    Args:
        model: `keras.Model` that ends in logits.
        panel: `panels.Panel`.
        steps: Integer, training steps an epoch: one execution.
    """
    model.compile(
        keras.optimizers.SGD(panel.learning_rate, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=steps,
        jit_compile=True if panel.jit else "auto",
    )


def training_batches(x, y, batch_size, seed):
    """Returns an endless `tf.data.Dataset` of shuffled batches.

    Args:
        x: Array of n images.
        y: Array of n labels.
        batch_size: Integer.
        seed: Integer, of the order.
    """
    return (
        tf.data.Dataset.from_tensor_slices((x, y))
        .cache()
        .shuffle(len(x), seed=seed)
        .repeat()
        .batch(batch_size, drop_remainder=True)
        .prefetch(2)
    )


class _Watch(keras.callbacks.Callback):
    """Times the epochs and takes the measurements that need training."""

    def __init__(self, runner, x, y, epochs, on_epoch):
        super().__init__()
        self.runner = runner
        self.measures = runner.panel.measures
        self.x, self.y = x, y
        self.on_epoch = on_epoch
        self.probed = {
            round((k + 1) * epochs / PROBES) - 1 for k in range(PROBES)
        }
        self.seconds = []
        self.gradients = []
        self.rates = []
        self.converged = None

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self.start)
        if "convergence" in self.measures and self.converged is None:
            self.model.reset_metrics()
            now = self.model.test_on_batch(self.x, self.y, return_dict=True)
            if now["loss"] <= CONVERGED_LOSS:
                self.converged = epoch + 1
        if epoch in self.probed:
            if "gradient" in self.measures:
                self.gradients.append(
                    self.runner.gradient_probe(self.x, self.y)
                )
            if self.runner.rate_probe is not None:
                self.rates.append(self.runner.rate_probe(self.x))
        self.on_epoch()

    def median_seconds(self):
        """Returns the time of an epoch; the first one compiles."""
        return float(np.median(self.seconds[1:] or self.seconds))

    def results(self):
        results = {}
        if "convergence" in self.measures:
            results["epochs_to_loss"] = self.converged
        if self.gradients:
            results["gradient"] = {
                name: float(
                    np.mean([sizes[name] for sizes, _ in self.gradients])
                )
                for name in self.gradients[0][0]
            }
            results["gradient_normalized"] = {
                name: float(
                    np.mean(
                        [sizes[name] / out for sizes, out in self.gradients]
                    )
                )
                for name in self.gradients[0][0]
            }
        if self.rates:
            results["mean_rate"] = np.mean(self.rates, axis=0).tolist()
        return results


def run_panel(panel, data, source, seeds, epochs, runs, progress):
    """Runs what is missing of a panel.

    Args:
        panel: `panels.Panel`.
        data: Function from a seed to `datasets.Subsets`.
        source: Dict that describes the data, a part of each record.
        seeds: List of integers.
        epochs: Integer.
        runs: `Runs`; gets a record a run.
        progress: Function of (arm name, seed, epochs done).
    """
    runners = {}
    for seed in seeds:
        subsets = data(seed)
        images, _ = subsets.train
        input_shape, num_classes = images.shape[1:], source["num_classes"]
        steps = -(-len(images) // panel.batch_size)
        for arm in panel.arms:
            settings = {
                "panel": panel.name,
                "arm": arm.name,
                "seed": seed,
                "epochs": epochs,
                "batch_size": panel.batch_size,
                "learning_rate": panel.learning_rate,
                **source,
            }
            if runs.find(**settings):
                progress(arm.name, seed, epochs)
                continue
            shape = (input_shape, num_classes, steps)
            if arm.rates_of:
                rates = runs.find(**{**settings, "arm": arm.rates_of})
                runner = ArmRunner(panel, arm, *shape, rates["mean_rate"])
            else:
                if arm.name not in runners:
                    runners[arm.name] = ArmRunner(panel, arm, *shape)
                runner = runners[arm.name]
            result = runner.run(
                seed,
                subsets,
                epochs,
                lambda arm=arm, seed=seed: progress(arm.name, seed, 1),
            )
            runs.add({**settings, **result, "versions": _versions()})


def _versions():
    names = ("keras", "tensorflow", "numpy")
    return {
        "keras_dropx": keras_dropx.__version__,
        **{name: metadata.version(name) for name in names},
    }
