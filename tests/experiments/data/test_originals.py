"""Preparing a data set from its original files, without a network."""

import gzip
import hashlib
import importlib
import pathlib
import struct

import numpy as np
import pytest
import tensorflow_datasets as tfds

from keras_dropx.experiments import data
from keras_dropx.experiments.data import datasets, originals

DEBIAN = pathlib.Path("/usr/share/datasets/fashion-mnist")
FILES = {"train.gz": b"\0\1\2\0", "test.gz": b"\1\2"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder of two original files, and a builder that TFDS knows."""
    folder = tmp_path_factory.mktemp("originals")
    module = tmp_path_factory.mktemp("modules")
    lines = []
    for name, labels in FILES.items():
        content = gzip.compress(labels, mtime=0)
        (folder / name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        url = f"https://keras-dropx.invalid/{name}"
        lines.append(f"{url}\t{len(content)}\t{digest}\t{name}\n")
    (module / "originalset.py").touch()
    (module / "checksums.tsv").write_text("".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(module)
        importlib.import_module("originalset")

        class Set(tfds.core.GeneratorBasedBuilder):
            __module__ = name = "originalset"
            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                features = tfds.features.FeaturesDict(
                    {
                        "image": tfds.features.Image(shape=(2, 2, 1)),
                        "label": np.int64,
                    }
                )
                return tfds.core.DatasetInfo(
                    builder=self,
                    features=features,
                    supervised_keys=("image", "label"),
                )

            def _split_generators(self, dl_manager):
                paths = dl_manager.download_and_extract(
                    {
                        name.removesuffix(
                            ".gz"
                        ): f"https://keras-dropx.invalid/{name}"
                        for name in FILES
                    }
                )
                return {
                    split: self._generate_examples(path)
                    for split, path in paths.items()
                }

            def _generate_examples(self, path):
                for number, label in enumerate(path.read_bytes()):
                    image = np.full((2, 2, 1), label, "uint8")
                    yield number, {"image": image, "label": label}

        yield folder


def tree(folder):
    return {
        path: path.is_file() and path.read_bytes() for path in folder.rglob("*")
    }


def test_a_data_set_is_prepared_from_its_files(files, tmp_path):
    before = tree(files)
    train, test, _ = data.load("originalset", tmp_path, source=files)
    assert sorted(datasets.arrays(train)[1]) == [0, 0, 1, 2]
    assert sorted(datasets.arrays(test)[1]) == [1, 2]
    assert tree(files) == before
    # Nothing but the data set stays, and it serves without the files.
    assert [path.name for path in tmp_path.iterdir()] == ["originalset"]
    data.load("originalset", tmp_path)


@pytest.mark.parametrize("damage", ["missing", "cut", "other", "no folder"])
def test_a_missing_or_damaged_file_is_named_in_one_line(
    files, damage, tmp_path
):
    source, folder = tmp_path / "source", tmp_path / "data"
    if damage != "no folder":
        source.mkdir()
        for path in files.iterdir():
            (source / path.name).write_bytes(path.read_bytes())
    file = source / "test.gz"
    if damage == "missing":
        file.unlink()
        expected = f"from its files: test.gz not in {source}."
    elif damage == "no folder":
        expected = f"from its files: there is no folder {source}."
    else:
        expected = f"prepared: {file} is not the original: wrong checksum"
        content = file.read_bytes()[:-3]
        if damage == "other":
            content = gzip.compress(b"\3\3", mtime=0)
        file.write_bytes(content)
    before = tree(tmp_path)
    with pytest.raises(datasets.DatasetError) as caught:
        data.load("originalset", folder, source=source)
    assert str(caught.value).endswith(expected)
    assert "\n" not in str(caught.value)
    assert tree(tmp_path) == before


def test_the_message_without_files_names_the_option(tmp_path):
    with pytest.raises(datasets.DatasetError, match="--source"):
        data.load("fashion_mnist", tmp_path)


def test_digits_need_no_files(tmp_path):
    data.load("digits", tmp_path / "data", source=tmp_path)


def test_a_gzip_head_without_name_and_time_is_completed(tmp_path):
    """As Debian's package has them; anything else is passed on as it is."""
    name = "t10k-labels-idx1-ubyte.gz"
    bare = gzip.compress(b"text", mtime=0)
    (tmp_path / name).write_bytes(bare)
    (tmp_path / "read.me").write_bytes(bare)
    target = tmp_path / "target"
    target.mkdir()
    for path in (tmp_path / name, tmp_path / "read.me"):
        originals._put(path, target / path.name, "fashion_mnist")
    content = (target / name).read_bytes()
    assert gzip.decompress(content) == b"text"
    assert struct.unpack("<I", content[4:8])[0] == 1504176627
    assert content[10:].startswith(b"t10k-labels-idx1-ubyte\0")
    assert (target / "read.me").is_symlink()
    (target / name).unlink()
    originals._put(tmp_path / name, target / name, "mnist")
    assert (target / name).is_symlink()


@pytest.mark.full
@pytest.mark.skipif(
    not DEBIAN.is_dir(), reason="needs Debian's dataset-fashion-mnist"
)
def test_fashion_mnist_is_prepared_from_debians_package(tmp_path):
    train, test, info = data.load("fashion_mnist", tmp_path, source=DEBIAN)
    assert (train.cardinality(), test.cardinality()) == (60_000, 10_000)
    images, labels = datasets.arrays(test)
    assert images.shape == (10_000, 28, 28, 1) and images.max() == 255
    assert (np.bincount(labels) == 1000).all()
