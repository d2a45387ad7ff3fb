import functools

import keras
import numpy as np
from scipy import special

from keras_dropx.experiments import probes
from keras_dropx.experiments.training import batches, compile_model, decay
from keras_dropx.experiments.watch import Watch
from keras_dropx.models import monte_carlo_predict
from keras_dropx.models.batch_norm import statistics_estimator

CROSS_ENTROPY = "cross_entropy"


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
        watch = Watch(self, data, on_epoch, checkpoint)
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
