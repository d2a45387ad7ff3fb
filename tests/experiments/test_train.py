"""How a method is trained: schedule, pairing, checkpoints, methods."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from keras_dropx.experiments import networks, probes, train
from keras_dropx.experiments.baselines import (
    ConcreteDropout,
    ExpectationLinear,
    link_kernels,
)
from keras_dropx.experiments.build import trainer_of
from keras_dropx.experiments.data.datasets import Subsets
from keras_dropx.experiments.data.streaming import evaluation_stream
from keras_dropx.experiments.plan import Method, Plan
from keras_dropx.experiments.records import Checkpoint
from keras_dropx.layers import AugmentedDropout, Jumpout
from keras_dropx.models import monte_carlo_predict

RNG = np.random.default_rng(0)
PLAN = Plan(
    name="test",
    claim="",
    network=networks.mlp,
    methods=(),
    contrasts=(),
    epochs=3,
    batch_size=10,
    learning_rate=0.1,
    options={"units": (8, 8)},
)


def part(size):
    x = RNG.uniform(size=(size, 6)).astype("float32")
    return x, RNG.integers(0, 3, size)


DATA = Subsets(part(20), None, part(30))


SOURCE = {"input_shape": [6], "num_classes": 3, "train_size": 20}


def make(method, plan=PLAN, epochs=3, arguments=None):
    plan = dataclasses.replace(plan, epochs=epochs)
    return trainer_of(plan, method, SOURCE, arguments)


@dataclasses.dataclass(frozen=True)
class Untrained:
    """Another network than the trained one, in its place."""

    word: int

    def __call__(self, network, images, seed, plan):
        assert (len(images), seed) == (20, 3)
        assert plan == dataclasses.replace(PLAN, epochs=2)
        keras.utils.set_random_seed(self.word)
        return networks.mlp((6,), 3, units=(4,))


def linked(model):
    link_kernels(model)
    return model


def drop(rate=0.5):
    return lambda: AugmentedDropout(rate)


def test_decay_is_in_the_loss_and_not_in_what_is_recorded():
    method = make(
        Method("plain"), dataclasses.replace(PLAN, weight_decay=10.0), epochs=1
    )
    result = method.run(0, DATA)
    # Of three classes: near ln 3. The penalty would be above 100.
    assert result["train_loss"][0] < 3


def test_learning_rate_drops_where_the_plan_says():
    plan = dataclasses.replace(PLAN, drops=(0.5, 0.75), drop=0.2)
    method = Method("plain", learning_rate=2.0)
    schedule = make(method, plan, epochs=8).model.optimizer._learning_rate
    rates = [float(schedule(step)) for step in (0, 8, 9, 12, 13)]
    np.testing.assert_allclose(rates, [0.2, 0.2, 0.04, 0.04, 0.008], 1e-6)
    optimizer = make(
        method, dataclasses.replace(PLAN, momentum=0.5, nesterov=True)
    ).model
    optimizer = optimizer.optimizer
    assert float(optimizer.learning_rate) == pytest.approx(0.2)
    assert optimizer.momentum == 0.5 and optimizer.nesterov


def test_methods_of_a_seed_start_alike_and_drop_the_same_units():
    methods = [
        Method("dropout", drop()),
        Method("augmented", lambda: AugmentedDropout(0.5, 0.3)),
        Method("remasked", drop(), mask_offset=1),
        Method(
            "linear",
            drop(),
            train_as=functools.partial(
                ExpectationLinear, strength=1.0, from_logits=True
            ),
        ),
    ]
    x = RNG.uniform(size=(10, 6)).astype("float32")
    first, *others = map(make, methods)
    first.reset(4)
    expected = np.asarray(first.network(x, training=True))
    for method, other in zip(methods[1:], others, strict=True):
        other.reset(4)
        for got, wanted in zip(
            other.network.get_weights(),
            first.network.get_weights(),
            strict=True,
        ):
            np.testing.assert_array_equal(got, wanted)
        same = np.asarray(other.network(x, training=True)) == expected
        assert same.all() == (method.name != "remasked")
    first.reset(5)
    assert (np.asarray(first.network(x, training=True)) != expected).any()


def test_learned_rates_start_anew_with_each_seed():
    method = make(
        Method(
            "concrete",
            lambda size: ConcreteDropout(1 / size, 10 / size),
            sized=True,
            train_as=linked,
        ),
        arguments=[20, 20],
    )
    site = method.sites[0]
    start = float(site.learned_rate)
    assert site.dropout_regularizer == 0.5
    method.run(0, DATA)
    assert float(site.learned_rate) != start
    method.reset(1)
    assert float(site.learned_rate) == pytest.approx(start)
    plain = make(Method("plain"))
    plain.reset(1)
    weights = [w for w in method.network.get_weights() if w.ndim]
    for got, wanted in zip(weights, plain.network.get_weights(), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_monte_carlo_method_averages_probabilities():
    method = make(Method("monte-carlo", drop(), samples=7))
    result = method.run(0, DATA)
    logits = monte_carlo_predict(
        method.network, DATA.test[0], 7, probes.BATCH, seed=0, verbose=0
    )
    p = special.softmax(logits, axis=-1).mean(axis=0)
    y = DATA.test[1]
    assert result["test_accuracy"] == np.mean(p.argmax(-1) == y)
    loss = -np.log(p[np.arange(len(y)), y]).mean()
    assert result["test_loss"] == pytest.approx(loss, rel=1e-5)


def test_finished_model_is_what_is_evaluated():
    method = make(Method("finished", drop(), finish=Untrained(9)), epochs=2)
    result = method.run(3, DATA)
    keras.utils.set_random_seed(9)
    logits = np.asarray(networks.mlp((6,), 3, units=(4,))(DATA.test[0]))
    right = np.mean(logits.argmax(-1) == DATA.test[1])
    assert result["test_accuracy"] == pytest.approx(right)


@pytest.mark.parametrize(
    "plan", [PLAN, dataclasses.replace(PLAN, weight_decay=0.1)]
)
def test_resumed_from_a_checkpoint_it_is_the_same_run(
    tmp_path, monkeypatch, plan
):
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", 0)
    plan = dataclasses.replace(plan, measures=frozenset({"curve", "gradient"}))
    method = Method("jumpout", lambda: Jumpout(sigma=0.3))
    whole = make(method, plan).run(0, DATA)

    class Killed(Exception):
        pass

    def kill(done):
        epochs.append(done)
        if sum(epochs) == 2:
            raise Killed

    checkpoint = Checkpoint(tmp_path, {"seed": 0})
    epochs = []
    with pytest.raises(Killed):
        make(method, plan).run(0, DATA, kill, checkpoint)
    epochs = [10]
    resumed = make(method, plan).run(0, DATA, kill, checkpoint)
    assert epochs == [10, 2, 1]  # two that were done, one that was run
    del whole["step_ms"], resumed["step_ms"]
    assert resumed == whole
    assert len(whole["curve"]) == 3 and len(whole["mean_rates"]) == 2


def test_images_that_are_read_as_they_are_used():
    """As ImageNet's: encoded, of varying size, never all in the memory."""

    def stream(size):
        images = [
            tf.io.encode_jpeg(RNG.integers(0, 255, (200 + k, 230, 3), "uint8"))
            for k in range(size)
        ]
        labels = RNG.integers(0, 3, size)
        data = tf.data.Dataset.from_tensor_slices((images, labels))
        return data.apply(tf.data.experimental.assert_cardinality(size))

    data = Subsets(stream(5), None, evaluation_stream(stream(3), 2))
    plan = dataclasses.replace(
        PLAN,
        network=networks.resnet18,
        streamed=True,
        preparation=(),
        options={"scale": 0.25},
        epochs=1,
        batch_size=2,
        measures=frozenset({"curve"}),
    )
    method = Method("jumpout", lambda: Jumpout(sigma=0.2))
    source = {**SOURCE, "input_shape": [224, 224, 3], "train_size": 5}
    result = trainer_of(plan, method, source).run(0, data)
    assert result["test_accuracy"] in (0, 1 / 3, 2 / 3, 1)
    assert len(result["mean_rates"]) == 8
    assert result["curve"][0]["test_loss"] == result["test_loss"]


def test_checkpoints_are_some_seconds_apart(tmp_path):
    checkpoint = Checkpoint(tmp_path, {})
    make(Method("plain")).run(0, DATA, checkpoint=checkpoint)
    assert checkpoint.load() is None
