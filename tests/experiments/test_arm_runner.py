"""How an arm is trained: schedule, pairing, checkpoints, arms."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from keras_dropx.experiments import networks, probes, watch
from keras_dropx.experiments.arm_runner import ArmRunner
from keras_dropx.experiments.baselines import (
    ConcreteDropout,
    ExpectationLinear,
    link_kernels,
)
from keras_dropx.experiments.checkpoint import Checkpoint
from keras_dropx.experiments.datasets import Subsets
from keras_dropx.experiments.panel import Arm, Panel
from keras_dropx.experiments.streaming import evaluation_stream
from keras_dropx.layers import AugmentedDropout, Jumpout
from keras_dropx.models import monte_carlo_predict

RNG = np.random.default_rng(0)
PANEL = Panel(
    name="test",
    claim="",
    network=networks.mlp,
    arms=(),
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


def make(arm, panel=PANEL, epochs=3, **options):
    return ArmRunner(panel, arm, (6,), 3, 2, epochs, **options)


def drop(rate=0.5):
    return lambda: AugmentedDropout(rate)


def test_decay_is_in_the_loss_and_not_in_what_is_recorded():
    arm = make(Arm("plain"), PANEL._replace(weight_decay=10.0), epochs=1)
    result = arm.run(0, DATA, lambda done: None)
    # Of three classes: near ln 3. The penalty would be above 100.
    assert result["train_loss"][0] < 3


def test_learning_rate_drops_where_the_panel_says():
    panel = PANEL._replace(drops=(0.5, 0.75), drop=0.2)
    arm = Arm("plain", learning_rate=2.0)
    schedule = make(arm, panel, epochs=8).model.optimizer._learning_rate
    rates = [float(schedule(step)) for step in (0, 8, 9, 12, 13)]
    np.testing.assert_allclose(rates, [0.2, 0.2, 0.04, 0.04, 0.008], 1e-6)
    optimizer = make(arm, PANEL._replace(momentum=0.5, nesterov=True)).model
    optimizer = optimizer.optimizer
    assert float(optimizer.learning_rate) == pytest.approx(0.2)
    assert optimizer.momentum == 0.5 and optimizer.nesterov


def test_arms_of_a_seed_start_alike_and_drop_the_same_units():
    arms = [
        Arm("dropout", drop()),
        Arm("augmented", lambda: AugmentedDropout(0.5, 0.3)),
        Arm("remasked", drop(), mask_offset=1),
        Arm(
            "linear",
            drop(),
            train_as=lambda model: ExpectationLinear(
                model, 1.0, from_logits=True
            ),
        ),
    ]
    x = RNG.uniform(size=(10, 6)).astype("float32")
    first, *others = map(make, arms)
    first.reset(4)
    expected = np.asarray(first.network(x, training=True))
    for other in others:
        other.reset(4)
        for got, wanted in zip(
            other.network.get_weights(),
            first.network.get_weights(),
            strict=True,
        ):
            np.testing.assert_array_equal(got, wanted)
        same = np.asarray(other.network(x, training=True)) == expected
        assert same.all() == (other.arm.name != "remasked")
    first.reset(5)
    assert (np.asarray(first.network(x, training=True)) != expected).any()


def test_learned_rates_start_anew_with_each_seed():
    def linked(model):
        link_kernels(model)
        return model

    arm = make(
        Arm(
            "concrete",
            lambda size: ConcreteDropout(1 / size, 10 / size),
            sized=True,
            train_as=linked,
        ),
        arguments=[20, 20],
    )
    site = arm.sites[0]
    start = float(site.learned_rate)
    assert site.dropout_regularizer == 0.5
    arm.run(0, DATA, lambda done: None)
    assert float(site.learned_rate) != start
    arm.reset(1)
    assert float(site.learned_rate) == pytest.approx(start)
    plain = make(Arm("plain"))
    plain.reset(1)
    weights = [w for w in arm.network.get_weights() if w.ndim]
    for got, wanted in zip(weights, plain.network.get_weights(), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_monte_carlo_arm_averages_probabilities():
    arm = make(Arm("monte-carlo", drop(), samples=7))
    result = arm.run(0, DATA, lambda done: None)
    logits = monte_carlo_predict(
        arm.network, DATA.test[0], 7, probes.BATCH, seed=0, verbose=0
    )
    p = special.softmax(logits, axis=-1).mean(axis=0)
    y = DATA.test[1]
    assert result["test_accuracy"] == np.mean(p.argmax(-1) == y)
    loss = -np.log(p[np.arange(len(y)), y]).mean()
    assert result["test_loss"] == pytest.approx(loss, rel=1e-5)


def test_finished_model_is_what_is_evaluated():
    def untrained(network, images, seed, panel):
        assert (len(images), seed) == (20, 3)
        assert panel == PANEL._replace(epochs=2)
        keras.utils.set_random_seed(9)
        return networks.mlp((6,), 3, units=(4,))

    arm = make(Arm("finished", drop(), finish=untrained), epochs=2)
    result = arm.run(3, DATA, lambda done: None)
    keras.utils.set_random_seed(9)
    logits = np.asarray(networks.mlp((6,), 3, units=(4,))(DATA.test[0]))
    right = np.mean(logits.argmax(-1) == DATA.test[1])
    assert result["test_accuracy"] == pytest.approx(right)


@pytest.mark.parametrize("panel", [PANEL, PANEL._replace(weight_decay=0.1)])
def test_resumed_from_a_checkpoint_it_is_the_same_run(
    tmp_path, monkeypatch, panel
):
    monkeypatch.setattr(watch, "CHECKPOINT_SECONDS", 0)
    panel = panel._replace(measures=frozenset({"curve", "gradient"}))
    arm = Arm("jumpout", lambda: Jumpout(sigma=0.3))
    whole = make(arm, panel).run(0, DATA, lambda done: None)

    class Killed(Exception):
        pass

    def kill(done):
        epochs.append(done)
        if sum(epochs) == 2:
            raise Killed

    checkpoint = Checkpoint(tmp_path / "run.npz", {"seed": 0})
    epochs = []
    with pytest.raises(Killed):
        make(arm, panel).run(0, DATA, kill, checkpoint)
    epochs = [10]
    resumed = make(arm, panel).run(0, DATA, kill, checkpoint)
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
    panel = PANEL._replace(
        network=networks.resnet18,
        options={"scale": 0.25},
        batch_size=2,
        measures=frozenset({"curve"}),
    )
    arm = Arm("jumpout", lambda: Jumpout(sigma=0.2))
    result = ArmRunner(panel, arm, (224, 224, 3), 3, 3, 1).run(
        0, data, lambda done: None
    )
    assert result["test_accuracy"] in (0, 1 / 3, 2 / 3, 1)
    assert len(result["mean_rates"]) == 8
    assert result["curve"][0]["test_loss"] == result["test_loss"]


def test_checkpoints_are_some_seconds_apart(tmp_path):
    checkpoint = Checkpoint(tmp_path / "run.npz", {})
    make(Arm("plain")).run(0, DATA, lambda done: None, checkpoint)
    assert checkpoint.load() is None
