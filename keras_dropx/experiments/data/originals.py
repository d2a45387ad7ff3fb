"""The original files of a data set, in a folder: for machines without network.

| data set | files |
| --- | --- |
| `mnist`, `fashion_mnist` | `train-images-idx3-ubyte.gz`, \
`train-labels-idx1-ubyte.gz`, `t10k-images-idx3-ubyte.gz`, \
`t10k-labels-idx1-ubyte.gz` |
| `cifar10` | `cifar-10-binary.tar.gz` |
| `cifar100` | `cifar-100-binary.tar.gz` |
| `svhn_cropped` | `train_32x32.mat`, `test_32x32.mat`, `extra_32x32.mat` |
| `stl10` | `stl10_binary.tar.gz` |

Any other data set of TFDS works too: the files are those that TFDS would
download, under the names that its list of checksums has.
"""

import contextlib
import pathlib
import struct
import tempfile

import tensorflow_datasets as tfds

# Debian's package dataset-fashion-mnist takes name and time out of the head of
# each gzip file. With them the files are the original ones again, to the bit,
# and TFDS can verify them. Seconds since 1970.
FASHION_MNIST_TIMES = {
    "t10k-images-idx3-ubyte.gz": 1504176627,
    "t10k-labels-idx1-ubyte.gz": 1504176627,
    "train-images-idx3-ubyte.gz": 1504176606,
    "train-labels-idx1-ubyte.gz": 1504176606,
}
_HEAD = b"\x1f\x8b\x08"
_NAMED = 8


def missing(builder, folder):
    """Returns why a folder does not hold the files of a data set, or None.

    Args:
        builder: `tfds.core.DatasetBuilder`.
        folder: Path.
    """
    if not folder.is_dir():
        return f"there is no folder {folder}"
    # What has to be fetched by hand anyway, TFDS looks for itself.
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        return None
    names = sorted({i.filename for i in (builder.url_infos or {}).values()})
    if not names:
        return "TFDS has no list of its files"
    absent = [name for name in names if not (folder / name).is_file()]
    return f"{', '.join(absent)} not in {folder}" if absent else None


@contextlib.contextmanager
def arguments(builder, folder):
    """Gives the arguments with which TFDS prepares from a folder.

    What is unpacked is gone afterwards; the folder is only read.

    Args:
        builder: `tfds.core.DatasetBuilder`.
        folder: Path of the original files.
    """
    root = pathlib.Path(builder.data_dir_root)
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".source-") as scratch:
        by_hand = pathlib.Path(scratch, "originals")
        by_hand.mkdir()
        for path in folder.resolve().iterdir():
            _put(path, by_hand / path.name, builder.name)
        yield {
            "download_dir": scratch,
            "download_config": tfds.download.DownloadConfig(manual_dir=by_hand),
        }


def _put(path, target, name):
    time = FASHION_MNIST_TIMES.get(path.name)
    if name == "fashion_mnist" and time is not None and path.is_file():
        content = path.read_bytes()
        if content[:3] == _HEAD and content[3:4] == b"\0":
            head = _HEAD + struct.pack("<BIBB", _NAMED, time, 0, 3)
            stem = path.name.removesuffix(".gz").encode()
            target.write_bytes(head + stem + b"\0" + content[10:])
            return
    target.symlink_to(path)
