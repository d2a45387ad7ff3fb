"""Each thing that a plan can ask for, once, on the smallest network."""

import functools

import keras
import numpy as np

from keras_dropx.experiments import measures, networks, run
from keras_dropx.experiments.baselines import (
    ConcreteDropout,
    ExpectationLinear,
    link_kernels,
)
from keras_dropx.experiments.data.datasets import Subsets
from keras_dropx.experiments.papers import augmented, gaaf
from keras_dropx.experiments.plan import Method, Plan
from keras_dropx.experiments.records import Records, select
from keras_dropx.layers import GAAF, AugmentedDropout, Jumpout

RNG = np.random.default_rng(0)


def linked(model):
    link_kernels(model)
    return model


def tanh():
    return keras.layers.Activation("tanh")


def unadapted(fraction):
    return Jumpout(sigma=0.1 / fraction, adaptive=False)


RATES = (0.2, 0.5)
FEATURES = (
    Method("plain"),
    Method("rates", AugmentedDropout, rates=RATES),
    Method("jumpout", lambda: Jumpout(sigma=0.2)),
    Method("control", AugmentedDropout, rates_of="jumpout"),
    Method("unadapted", unadapted, fractions_of="jumpout"),
    Method("remasked", AugmentedDropout, rates=RATES, mask_offset=1),
    Method(
        "exact",
        lambda rate: AugmentedDropout(rate, 0.3),
        rates=RATES,
        exact=True,
    ),
    Method("monte-carlo", AugmentedDropout, rates=RATES, samples=3),
    Method(
        "distillation",
        AugmentedDropout,
        rates=RATES,
        finish=functools.partial(augmented.distilled, shorter=2, slower=10),
    ),
    Method(
        "linear",
        AugmentedDropout,
        rates=RATES,
        train_as=functools.partial(
            ExpectationLinear, strength=1.0, from_logits=True
        ),
    ),
    Method(
        "concrete",
        lambda size: ConcreteDropout(1e-4 / size, 1 / size),
        sized=True,
        train_as=linked,
    ),
    Method("gaaf", None, lambda: GAAF("tanh"), learning_rate=2.0),
    Method(
        "smoothed",
        options={"hidden": functools.partial(gaaf.smoothed, rate=0.5)},
    ),
)


def trained(tmp_path, shape, **changes):
    plan = Plan(
        **{
            "name": "test",
            "claim": "",
            "contrasts": (),
            "epochs": 2,
            "batch_size": 10,
            "learning_rate": 0.05,
            **changes,
        }
    )

    def part(size):
        x = RNG.uniform(size=(size, *shape)).astype("float32")
        return x, RNG.integers(0, 3, size)

    data = Subsets(part(20), None, part(30))
    source = {"input_shape": shape, "num_classes": 3, "train_size": 20}
    source |= run.start()
    records = Records(tmp_path)
    run.run(plan, lambda seed: data, source, [3], records, lambda *_: None)
    # Read again, as from another process: all are runs, and of this plan.
    found = select(Records(tmp_path).records, plan, 2, source)
    assert [r["method"] for r in found] == [m.name for m in plan.methods]
    for record in found:
        assert 0 <= record["test_accuracy"] <= 1
        assert np.isfinite([record["test_loss"], *record["train_loss"]]).all()
        assert len(record["train_loss"]) == 2
    return {record["method"]: record for record in found}


def test_each_kind_of_method(tmp_path):
    found = trained(
        tmp_path,
        (6,),
        network=networks.mlp,
        methods=FEATURES,
        options={"units": (8, 8)},
        nesterov=True,
        weight_decay=0.01,
        drops=(0.5,),
    )
    jumpout = found["jumpout"]
    assert all(0.01 < rate < 0.6 for rate in jumpout["mean_rates"])
    assert all(0 < share < 1 for share in jumpout["mean_fractions"])
    # What makes a method changes what it becomes.
    losses = [record["test_loss"] for record in found.values()]
    assert len(set(losses)) == len(losses)
    # And what says how it predicts changes nothing of its training.
    names = ("rates", "monte-carlo", "distillation")
    same = {tuple(found[name]["train_loss"]) for name in names}
    assert len(same) == 1


def test_each_measure(tmp_path):
    names = frozenset(measures.NAMES) - {"reestimated"}
    found = trained(
        tmp_path,
        (6,),
        network=networks.mlp,
        methods=(Method("dropout", lambda: AugmentedDropout(0.5), tanh),),
        options={"units": (8,)},
        measures=names,
    )["dropout"]
    assert found["epochs_to_loss"] is None
    assert 0 <= found["train_accuracy"] <= 1
    assert set(found["gradient"]) == {"hidden_1", "logits"}
    assert set(found["saturation"]) == {"hidden_1"}
    assert [point["epoch"] for point in found["curve"]] == [1, 2]
    assert found["curve"][-1]["test_loss"] == found["test_loss"]
    first, last = found["measured"]
    assert set(first) == {"epoch", *measures.CALLBACKS} - {"net_distribution"}
    assert set(last) == {"epoch", *measures.CALLBACKS}
    for name in measures.CALLBACKS:
        assert all(key.count("/") == 1 for key in last[name])


def test_batch_norm_and_augmentation(tmp_path):
    found = trained(
        tmp_path,
        (8, 8, 1),
        network=networks.convnet_bn,
        methods=(Method("dropout", lambda: AugmentedDropout(0.5)),),
        measures=frozenset({"reestimated"}),
        augmentation="pad-4-crop-flip",
    )["dropout"]
    assert found["reestimated_loss"] != found["test_loss"]
    assert 0 <= found["reestimated_accuracy"] <= 1
