"""The images of a plan: how many, of what shape, prepared how."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from keras_dropx.experiments import papers
from keras_dropx.experiments.data import datasets, open_data, opening


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("data"))


def plan_of(name, dataset=None):
    return papers.find(name, dataset).plans[0]


def test_digits_are_300_images_a_seed_prepared(data_dir):
    plan = plan_of("augmented-table-3", "digits")
    data, source = open_data(plan, None, data_dir, False)
    assert source == {
        "dataset": "digits",
        "data_version": "1.0.0",
        "train_size": 300,
        "num_classes": 10,
        "input_shape": [16, 16, 1],
    }
    first, again, other = data(0), data(0), data(1)
    assert first.train[0].shape == (300, 16, 16, 1)
    assert len(first.validation[1]) == 200 and len(first.test[1]) == 1297
    # Resized, and scaled as the recipe says: 0..255 times 1/256.
    assert 0.9 < first.train[0].max() < 1
    np.testing.assert_array_equal(first.train[0], again.train[0])
    assert (first.train[1] != other.train[1]).any()
    _, source = open_data(plan, 123, data_dir, False)
    assert source["train_size"] == 123


class Fake:
    """A data set of TFDS, and what it was asked for."""

    def __init__(self, monkeypatch, shape, classes=10):
        self.asked, self.read = [], 0
        self.info = SimpleNamespace(
            version="3.0.0",
            supervised_keys=("picture", "label"),
            features={
                "picture": SimpleNamespace(shape=shape),
                "label": SimpleNamespace(num_classes=classes),
            },
        )
        self.shape = shape
        monkeypatch.setattr(datasets, "load", self.load)
        monkeypatch.setattr(datasets, "arrays", self.arrays)

    def load(self, name, data_dir, download, source, train_split, decode):
        self.asked.append((name, data_dir, download, train_split, decode))
        return *(tf.data.Dataset.range(size) for size in (7, 5)), self.info

    def arrays(self, dataset):
        self.read += 1
        size = int(dataset.cardinality())
        return np.full((size, *self.shape), 10 * size, "uint8"), np.arange(size)


def test_whole_sets_are_read_once_and_serve_every_seed(monkeypatch):
    fake = Fake(monkeypatch, (28, 28, 1))
    plan = dataclasses.replace(
        plan_of("gaaf-table-3"), preparation=(("resize", 4, 6), ("scale",))
    )
    data, source = open_data(plan, None, "folder", True)
    assert fake.asked == [("mnist", "folder", True, "train", True)]
    assert source == {
        "dataset": "mnist",
        "data_version": "3.0.0",
        "train_size": 7,
        "num_classes": 10,
        "input_shape": [4, 6, 1],
    }
    assert fake.read == 0  # before anything is trained
    assert data(0) is data(1) and fake.read == 2
    assert data(0).validation is None
    assert data(0).train[0].shape == (7, 4, 6, 1)
    np.testing.assert_array_equal(data(0).test[1], np.arange(5))
    # In parts of the largest training pixel.
    np.testing.assert_allclose(data(0).test[0], 5 / 7, atol=1e-6)


def test_extra_images_are_asked_for(monkeypatch):
    fake = Fake(monkeypatch, (32, 32, 3))
    plan = papers.find("jumpout-table-2").plans[-1]
    _, source = open_data(plan, None, None, False)
    assert fake.asked == [("svhn_cropped", None, False, "train+extra", True)]
    assert source["dataset"] == "svhn_cropped+extra"


def test_imagenet_is_read_as_it_is_used(monkeypatch):
    fake = Fake(monkeypatch, (None, None, 3), 1000)
    monkeypatch.setattr(
        opening, "evaluation_stream", lambda *arguments: arguments
    )
    plan = plan_of("jumpout-table-2-imagenet")
    data, source = open_data(plan, None, None, False)
    assert fake.asked[0][-1] is False
    assert source["input_shape"] == [224, 224, 3]
    assert source["num_classes"] == 1000
    train, validation, (test, batch_size) = data(3)
    assert validation is None and fake.read == 0
    assert (len(train), len(test)) == (7, 5)
    assert batch_size == plan.batch_size
