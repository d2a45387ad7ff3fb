"""Tests of the data sets: real files, real sockets, no mocks of either."""

import contextlib
import hashlib
import http.server
import importlib
import os
import re
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from sklearn.datasets import load_digits

from keras_dropx.experiments.data import datasets
from keras_dropx.experiments.data.digits import Digits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data folder with `digits` in it."""
    folder = tmp_path_factory.mktemp("data")
    datasets.load("digits", folder)
    return folder


@pytest.fixture(scope="module")
def digits(folder):
    """The training and the test arrays of `digits`."""
    train, test, _ = datasets.load("digits", folder)
    return datasets.arrays(train), datasets.arrays(test)


@pytest.fixture(scope="module", autouse=True)
def racer(tmp_path_factory):
    """A folder and a process which waits there to race.

    Started before the first test: importing TensorFlow takes it seconds.
    """
    folder = tmp_path_factory.mktemp("race")
    script = (
        "import pathlib, sys\n"
        "from test_datasets import race\n"
        "print(*race(pathlib.Path(sys.argv[1]), 'child'), sep='\\n')\n"
    )
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path]),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    with subprocess.Popen(
        [sys.executable, "-c", script, folder],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        yield folder, child
        child.kill()


def tree(folder):
    """Every path below a folder, with the time of each file's last change."""
    return {
        path: path.is_file() and path.stat().st_mtime_ns
        for path in folder.rglob("*")
    }


@contextlib.contextmanager
def refused(message, folder=None):
    """Expects one line which matches, and a folder left as it was.

    Nobody waits for a network; on a machine with other work that takes longer.
    """
    before = folder and tree(folder)
    start = time.monotonic()
    with pytest.raises(datasets.DatasetError) as caught:
        yield
    assert time.monotonic() - start < 30
    text = str(caught.value)
    assert re.fullmatch(message, text), text
    assert not folder or tree(folder) == before


class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base of small data sets whose splits and labels a test chooses."""

    VERSION = tfds.core.Version("1.0.0")
    SPLITS = {"train": (0, 1, 2), "validation": (1, 2)}
    KEYS = ("image", "label")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(2, 2, 1)),
            "label": np.int64,
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=self.KEYS,
        )

    def _split_generators(self, dl_manager):
        return {
            split: self._generate_examples(labels)
            for split, labels in self.SPLITS.items()
        }

    def _generate_examples(self, labels):
        for i, label in enumerate(labels):
            image = np.full((2, 2, 1), 10 * label + 10, "uint8")
            yield i, {"image": image, "label": label}


class TinyConfigs(Tiny):
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="one"),
        tfds.core.BuilderConfig(name="two"),
    ]


class TinyWithheld(Tiny):
    SPLITS = {"train": (0, 1), "validation": (1, 0, 1), "test": (-1, -1)}


class TinyTrainOnly(Tiny):
    SPLITS = {"train": (0, 1), "extra": (1,)}


class TinyUnlabelled(Tiny):
    KEYS = None


class TinyByHand(Tiny):
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put the files there."


class TinyBroken(Tiny):
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="one")]

    def _generate_examples(self, labels):
        yield from super()._generate_examples(labels)
        raise RuntimeError("The archive is broken.\nSecond line.")


def test_digits_are_those_of_scikit_learn(digits):
    images, labels = (
        np.concatenate(parts) for parts in zip(*digits, strict=True)
    )
    assert images.dtype == "float32" and labels.dtype == "int64"
    assert images.shape == (1797, 8, 8, 1)
    reference = load_digits()

    def rows(images, labels):
        return sorted(
            (*image.ravel().astype(int), int(label))
            for image, label in zip(images, labels, strict=True)
        )

    assert rows(images, labels) == rows(reference.images, reference.target)


def test_digits_splits_are_stratified(digits):
    (_, train), (_, test) = digits
    assert (len(train), len(test)) == (1437, 360)
    share = np.bincount(load_digits().target) / 1797
    np.testing.assert_allclose(np.bincount(train), 1437 * share, atol=1)
    np.testing.assert_allclose(np.bincount(test), 360 * share, atol=1)


def test_digits_in_another_folder_are_in_the_same_order(digits, tmp_path):
    train, test, info = datasets.load("digits", str(tmp_path))
    for reference, dataset in zip(digits, (train, test), strict=True):
        for _ in range(2):
            for expected, got in zip(
                reference, datasets.arrays(dataset), strict=True
            ):
                np.testing.assert_array_equal(got, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]
    assert info.splits["train"].num_examples == 1437
    assert "Alpaydin" in info.citation and "1,797" in info.description


def test_digits_element(folder):
    train, _, _ = datasets.load("digits", folder)
    image, label = train.element_spec
    assert (image.shape, image.dtype) == ((8, 8, 1), tf.uint8)
    assert (label.shape, label.dtype) == ((), tf.int64)


def test_plain_tfds_reads_digits_back(folder, digits):
    dataset = tfds.load(
        "digits", data_dir=folder, split="train", as_supervised=True
    )
    np.testing.assert_array_equal(datasets.arrays(dataset)[0], digits[0][0])
    builder = tfds.builder_from_directory(folder / "digits" / "1.0.0")
    dataset = builder.as_dataset(split="test", as_supervised=True)
    np.testing.assert_array_equal(datasets.arrays(dataset)[0], digits[1][0])


def test_second_load_writes_nothing_and_says_nothing(
    folder, tmp_path, capsys, caplog
):
    datasets.load("digits", tmp_path)
    before = tree(folder)
    datasets.load("digits", folder)
    assert tree(folder) == before
    assert capsys.readouterr() == ("", "")
    assert not caplog.records


def test_loser_of_a_race_reads_the_winners_data(tmp_path, monkeypatch):
    split_generators = Digits._split_generators
    winners = []

    def overtaken(self, dl_manager):
        monkeypatch.undo()
        datasets.load("digits", tmp_path)
        winners.append(tree(tmp_path))
        return split_generators(self, dl_manager)

    monkeypatch.setattr(Digits, "_split_generators", overtaken)
    train, _, info = datasets.load("digits", tmp_path)
    assert len(datasets.arrays(train)[0]) == 1437
    assert info.splits["test"].num_examples == 360
    after = tree(tmp_path)
    assert {path: after[path] for path in winners[0] if path.is_file()} == {
        path: time for path, time in winners[0].items() if path.is_file()
    }
    assert [p.name for p in (tmp_path / "digits").iterdir()] == ["1.0.0"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("cifra10", " Did you mean cifar10 or cifar100 .*"),
        ("DIGIT", " Did you mean digits.*"),
        ("qqqq", ""),
        ("cifar10:fog", ".*"),
        ("huggingface:mnist", ".*"),
    ],
)
def test_unknown_name(name, hint, tmp_path):
    message = f"Unknown data set '{name}': not in TFDS or in .*/new[.]{hint}"
    with refused(message, tmp_path):
        datasets.load(name, tmp_path / "new", download=True)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no name", "Parsing builder name string no name failed[.]"),
        ("cifar10:0.0.1", ".* at version 0.0.1, only: .*"),
        ("tiny_configs/three", "BuilderConfig three not found.*"),
    ],
)
def test_unusable_name(name, reason, tmp_path):
    with refused(f"Data set '{name}' cannot be opened: {reason}", tmp_path):
        datasets.load(name, tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar10_corrupted/fog_5"])
def test_absent_data_set_without_permission(name, tmp_path):
    message = (
        f"Data set '{name}' is not prepared in {tmp_path}/new: allow its "
        "download with `download=True` [(]`--download` on the command line[)], "
        "or name the folder of its files with `source` [(]`--source`[)]."
    )
    with refused(message, tmp_path):
        datasets.load(name, tmp_path / "new")


def test_data_dir_is_a_file(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for name in "digits", "cifar10":
        with refused(f"The data folder {file} is a file.", tmp_path):
            datasets.load(name, file)
    message = f"Cannot write to the data folder: {file}: Not a directory."
    with refused(message, tmp_path):
        datasets.load("digits", file / "below")


def test_data_dir_cannot_be_made():
    """Nobody, not even root, can make a folder in /proc."""
    with refused("Cannot write to the data folder: /proc: .*"):
        datasets.load("digits", "/proc/keras_dropx")


def test_half_a_data_set(tmp_path):
    (tmp_path / "digits" / "1.0.0").mkdir(parents=True)
    message = "Data set 'digits' is damaged: remove .*/digits/1.0.0, then .*"
    with refused(message, tmp_path):
        datasets.load("digits", tmp_path)


def test_missing_records(tmp_path):
    datasets.load("digits", tmp_path)
    for file in (tmp_path / "digits" / "1.0.0").glob("*test.tfrecord*"):
        file.unlink()
    with refused("Data set 'digits' cannot be read from .*", tmp_path):
        datasets.load("digits", tmp_path)


@pytest.mark.parametrize("prepared", [False, True])
def test_validation_split_and_config(prepared, tmp_path, capsys):
    if prepared:
        TinyConfigs(config="two", data_dir=tmp_path).download_and_prepare()
        with refused("Data set 'tiny_configs/one' is not prepared .*"):
            datasets.load("tiny_configs/one", tmp_path)
    train, test, info = datasets.load(
        "tiny_configs/two", tmp_path, download=not prepared
    )
    images, labels = datasets.arrays(test)
    assert sorted(labels) == [1, 2]
    assert sorted(images[:, 0, 0, 0]) == [20, 30]
    assert len(datasets.arrays(train)[1]) == 3
    assert info.full_name == "tiny_configs/two/1.0.0"
    if not prepared:
        output = capsys.readouterr()
        assert not output.out
        assert "Generating" in output.err


def test_data_without_its_builder(tmp_path):
    TinyWithheld(data_dir=tmp_path).download_and_prepare()
    folder = tmp_path / "lone" / "1.0.0"
    (tmp_path / "tiny_withheld").rename(folder.parent)
    for file in folder.glob("*.json"):
        file.write_text(file.read_text().replace("tiny_withheld", "lone"))
    for file in folder.glob("tiny_withheld*"):
        file.rename(str(file).replace("tiny_withheld", "lone"))
    _, test, info = datasets.load("lone", tmp_path)
    assert sorted(datasets.arrays(test)[1]) == [0, 1, 1]
    assert info.name == "lone"


def test_withheld_test_labels_are_not_used(tmp_path):
    _, test, _ = datasets.load("tiny_withheld", tmp_path, download=True)
    assert sorted(datasets.arrays(test)[1]) == [0, 1, 1]


def test_no_test_split(tmp_path):
    TinyTrainOnly(data_dir=tmp_path).download_and_prepare()
    with refused(".* with labels; it has: .*(train, extra|extra, train)."):
        datasets.load("tiny_train_only", tmp_path)


PAPERS = {
    "mnist": ((28, 28, 1), 10, ["train", "test"]),
    "fashion_mnist": ((28, 28, 1), 10, ["train", "test"]),
    "cifar10": ((32, 32, 3), 10, ["train", "test"]),
    "cifar100": ((32, 32, 3), 100, ["train", "test"]),
    "svhn_cropped": ((32, 32, 3), 10, ["train", "test", "extra"]),
    "stl10": ((96, 96, 3), 10, ["train", "test", "unlabelled"]),
    "imagenet2012": (
        (None, None, 3),
        1000,
        ["train", "validation", "test"],
    ),
}
# What some of them hold beside images and labels.
OTHERS = {
    "id": lambda split, i: f"{split}_{i}",
    "coarse_label": lambda split, i: i,
    "file_name": lambda split, i: f"{split}_{i}.JPEG",
}


def write(name, folder, monkeypatch, count=3):
    """Prepares a data set of TFDS from noise, with its own features.

    Its splits have `count`, `count` + 1, ... examples; the labels of those
    whose labels are withheld are -1, as TFDS has them.
    """
    shape, num_classes, splits = PAPERS[name]
    builder = tfds.builder(name, data_dir=folder)
    others = set(builder.info.features) - {"image", "label"}

    def examples(split, count):
        rng = np.random.default_rng(count)
        for i in range(count):
            size = [side or int(rng.integers(30, 60)) for side in shape]
            label = int(rng.integers(num_classes)) if i else num_classes - 1
            if split == "unlabelled" or (None in shape and split == "test"):
                label = -1
            yield (
                f"{split}-{i}",
                {
                    "image": rng.integers(0, 256, size, "uint8"),
                    "label": label,
                    **{key: OTHERS[key](split, i) for key in others},
                },
            )

    def split_generators(self, dl_manager):
        return {
            split: examples(split, count + i) for i, split in enumerate(splits)
        }

    monkeypatch.setattr(type(builder), "_split_generators", split_generators)
    builder.download_and_prepare()
    monkeypatch.undo()


@pytest.mark.few(2)
@pytest.mark.parametrize("name", [n for n in PAPERS if n != "imagenet2012"])
def test_data_sets_of_the_papers(name, tmp_path, monkeypatch):
    shape, num_classes, _ = PAPERS[name]
    write(name, tmp_path, monkeypatch)
    train, test, info = datasets.load(name, tmp_path)
    images, labels = datasets.arrays(train)
    assert images.shape == (3, *shape) and images.max() > 200
    assert labels.shape == (3,) and labels.max() == num_classes - 1
    images, labels = datasets.arrays(test)
    assert images.shape == (4, *shape) and labels.min() >= 0
    assert info.features["label"].num_classes == num_classes


@pytest.mark.parametrize(
    ("expression", "count"),
    [("train+extra", 8), ("train[:2]", 2), ("extra", 5), ("train+test", 7)],
)
def test_split_expression(expression, count, tmp_path, monkeypatch):
    write("svhn_cropped", tmp_path, monkeypatch)
    train, test, _ = datasets.load(
        "svhn_cropped", tmp_path, train_split=expression
    )
    assert len(datasets.arrays(train)[1]) == count == int(train.cardinality())
    assert len(datasets.arrays(test)[1]) == 4


@pytest.mark.parametrize("expression", ["train+extra", "train[:2", "", "tran"])
def test_split_that_is_not_there(expression, folder):
    with refused("Data set 'digits' cannot be read from [^\n]*", folder):
        datasets.load("digits", folder, train_split=expression)


def test_varying_shapes_come_encoded(tmp_path, monkeypatch):
    write("imagenet2012", tmp_path, monkeypatch)
    train, test, info = datasets.load("imagenet2012", tmp_path)
    with refused("Images of varying shape .*"):
        datasets.arrays(train)
    encoded, encoded_test, _ = datasets.load(
        "imagenet2012", tmp_path, decode=False
    )
    assert int(encoded.cardinality()) == 3
    for want, got in ((train, encoded), (test, encoded_test)):
        for (image, label), (file, same) in zip(want, got, strict=True):
            assert label == same and label >= 0
            np.testing.assert_array_equal(image, tf.io.decode_jpeg(file))
    assert len(list(test)) == 4
    assert info.features["label"].num_classes == 1000


def test_images_that_are_no_files(folder):
    message = "Data set 'digits' cannot be streamed: its images are not .*"
    with refused(message, folder):
        datasets.load("digits", folder, decode=False)


def test_no_supervised_keys(tmp_path):
    with refused("Data set 'tiny_unlabelled' is not made of .*", tmp_path):
        datasets.load("tiny_unlabelled", tmp_path, download=True)


def test_files_to_fetch_by_hand(tmp_path):
    message = (
        "Cannot download data set 'tiny_by_hand': its files must be put into "
        f"{tmp_path}/downloads/manual by hand, .*/catalog/tiny_by_hand."
    )
    with refused(message, tmp_path):
        datasets.load("tiny_by_hand", tmp_path, download=True)
    (tmp_path / "downloads" / "manual").mkdir(parents=True)
    (tmp_path / "downloads" / "manual" / "file").touch()
    datasets.load("tiny_by_hand", tmp_path, download=True)


@pytest.mark.parametrize("made", [False, True])
def test_failure_half_way_leaves_nothing(made, tmp_path):
    if made:
        (tmp_path / "new" / "downloads").mkdir(parents=True)
    message = (
        "Data set 'tiny_broken' cannot be prepared: The archive is broken."
    )
    with refused(message, tmp_path):
        datasets.load("tiny_broken", tmp_path / "new", download=True)


def web_builder(folder, module, url, data=b"0,1,2"):
    """Defines a builder in a module beside which TFDS finds its checksums."""
    (folder / f"{module}.py").touch()
    importlib.import_module(module)
    digest = hashlib.sha256(data).hexdigest()
    line = f"{url}\t{len(data)}\t{digest}\tlabels.txt\n"
    (folder / "checksums.tsv").write_text(line)

    class Web(Tiny):
        __module__ = name = module

        def _split_generators(self, dl_manager):
            text = dl_manager.download(url).read_text()
            labels = [int(label) for label in text.split(",")]
            return {
                split: self._generate_examples(labels)
                for split in ("train", "test")
            }


@pytest.fixture
def sources(tmp_path, monkeypatch):
    folder = tmp_path / "sources"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def server():
    """An address whose answers come late, and its list of requests."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.command)
            gone = "gone" in self.path
            time.sleep(0 if gone else 1.3)
            with contextlib.suppress(OSError):
                self.send_response(404 if gone else 200)
                self.end_headers()
                self.wfile.write(b"0,1,2" if self.command == "GET" else b"")

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    requests = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", requests
    server.shutdown()
    server.server_close()
    thread.join()


def test_slow_download_works_and_its_files_serve_offline(
    sources, server, tmp_path, capsys
):
    address, requests = server
    web_builder(sources, "slowset", f"{address}/labels.txt")
    _, test, _ = datasets.load("slowset", tmp_path / "one", download=True)
    assert sorted(datasets.arrays(test)[1]) == [0, 1, 2]
    assert requests == ["HEAD", "GET"]
    assert "Dl Completed" in capsys.readouterr().err

    (tmp_path / "two").mkdir()
    (tmp_path / "one" / "downloads").rename(tmp_path / "two" / "downloads")
    datasets.load("slowset", tmp_path / "two", download=True)
    assert requests == ["HEAD", "GET"]


def test_failed_download_leaves_nothing(sources, server, tmp_path):
    address, _ = server
    web_builder(sources, "goneset", f"{address}/gone")
    message = "Data set 'goneset' cannot be prepared: .*gone. HTTP code: 404."
    for folder in tmp_path / "new", tmp_path:
        with refused(message, tmp_path):
            datasets.load("goneset", folder, download=True)
    (tmp_path / "downloads" / "goneset").mkdir(parents=True)
    with refused(message, tmp_path):
        datasets.load("goneset", tmp_path, download=True)


def test_host_without_a_name(sources, tmp_path):
    web_builder(sources, "namelessset", "https://keras-dropx.invalid/labels")
    folder = tmp_path / "data"
    folder.mkdir()
    message = (
        "Cannot download data set 'namelessset': no answer from "
        "keras-dropx.invalid [(]no network[?][)]."
    )
    with refused(message, folder):
        datasets.load("namelessset", folder, download=True)


def test_host_which_never_answers(sources, tmp_path):
    """A full queue of connections swallows what comes next, like a firewall."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        port = full.getsockname()[1]
        web_builder(sources, "muteset", f"http://127.0.0.1:{port}/labels")
        folder = tmp_path / "data"
        folder.mkdir()
        with refused(f".*no answer from 127.0.0.1:{port} .*", folder):
            datasets.load("muteset", folder, download=True)


def test_arrays_of_what_cannot_be_read():
    pair = tf.data.Dataset.from_tensors((tf.zeros((2, 2, 1)), 0))
    with refused("An infinite data set .*"):
        datasets.arrays(pair.repeat())
    with refused("The data set is empty."):
        datasets.arrays(pair.take(0))
    sizes = tf.data.Dataset.from_generator(
        lambda: iter(()),
        output_signature=(
            tf.TensorSpec((None, None, 3), tf.uint8),
            tf.TensorSpec((), tf.int64),
        ),
    )
    with refused("Images of varying shape [(]None, None, 3[)]: resize them."):
        datasets.arrays(sizes)


def test_arrays_keep_order_across_batches():
    numbers = np.arange(2500)
    dataset = tf.data.Dataset.from_tensor_slices((numbers % 251, numbers))
    images, labels = datasets.arrays(dataset)
    np.testing.assert_array_equal(labels, numbers)
    np.testing.assert_array_equal(images, numbers % 251)


def all_digits(digits):
    return tuple(np.concatenate(parts) for parts in zip(*digits, strict=True))


def test_subsets_are_disjoint_complete_and_stratified(digits):
    _, labels = all_digits(digits)
    parts = datasets.subsets(np.arange(1797), labels, seed=5)
    assert parts._fields == ("train", "validation", "test")
    assert [len(images) for images, _ in parts] == [300, 200, 1297]
    everything = np.concatenate([images for images, _ in parts])
    np.testing.assert_array_equal(np.sort(everything), np.arange(1797))
    share = np.bincount(labels) / 1797
    for images, part_labels in parts:
        np.testing.assert_array_equal(labels[images], part_labels)
        np.testing.assert_allclose(
            np.bincount(part_labels), len(part_labels) * share, atol=1
        )


def test_subsets_depend_on_the_seed_only(digits):
    images, labels = all_digits(digits)
    one, same, other = (datasets.subsets(images, labels, s) for s in (0, 0, 1))
    for part, same_part, other_part in zip(one, same, other, strict=True):
        np.testing.assert_array_equal(part[0], same_part[0])
        np.testing.assert_array_equal(part[1], same_part[1])
        assert np.any(part[0] != other_part[0])


def test_subsets_with_the_smallest_test_part(digits):
    images, labels = all_digits(digits)
    parts = datasets.subsets(images, labels, 3, 1587, 200)
    assert sorted(parts.test[1]) == list(range(10))


@pytest.mark.parametrize(
    ("train_size", "validation_size"),
    [(1588, 200), (9, 200), (300, 9), (1797, 10), (2000, 10), (-1, 200)],
)
def test_subsets_refuse_a_part_without_some_class(
    digits, train_size, validation_size
):
    message = (
        "1797 images of 10 classes cannot be split into train_size="
        f"{train_size}, validation_size={validation_size} and .*"
    )
    with refused(message):
        datasets.subsets(*all_digits(digits), 0, train_size, validation_size)


@pytest.mark.parametrize("rare", [1, 2, 3])
def test_subsets_refuse_a_rare_class(rare):
    labels = np.repeat([0, 1], [100, rare])
    with refused(f"{100 + rare} images of 2 classes cannot be split .*"):
        datasets.subsets(labels, labels, 0, 50, 45)


def race(folder, me, turns=3):
    """Loads digits into new folders, each time when another one does."""
    results = []
    for turn in range(turns):
        (folder / f"{me}-{turn}").touch()
        while len(list(folder.glob(f"*-{turn}"))) < 2:
            time.sleep(0.001)
        train, _, _ = datasets.load("digits", folder / str(turn))
        images, labels = datasets.arrays(train)
        results.append(f"{len(images)} {images.sum()} {labels[:9]}")
    return results


@pytest.mark.full
def test_two_processes_prepare_at_once(racer):
    folder, child = racer
    # A child that dies would leave `race` waiting.
    while not (folder / "child-0").exists():
        assert child.poll() is None, child.stderr.read()
        time.sleep(0.01)
    mine = race(folder, "parent")
    out, noise = child.communicate(timeout=20)
    assert child.returncode == 0, noise
    assert out.splitlines() == mine
    assert len(set(mine)) == 1 and mine[0].startswith("1437 ")
    assert not re.search("digits|it/s|Generating|tfds", noise)
    for turn in range(3):
        prepared = folder / str(turn) / "digits"
        assert [path.name for path in prepared.iterdir()] == ["1.0.0"]
