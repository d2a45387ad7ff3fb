"""What a download that failed leaves behind."""

import types

import pytest
from tensorflow_datasets.core.download import download_manager

from keras_dropx.experiments.data.downloads import tidy


@pytest.fixture
def builder(tmp_path):
    return types.SimpleNamespace(
        name="some", data_dir_root=tmp_path, data_path=tmp_path / "some/1.0.0"
    )


def begin_download(builder):
    """Makes the folder of a partial file, as TFDS does."""
    number = download_manager.uuid.uuid4().hex
    path = builder.data_dir_root / f"downloads/some/file.tmp.{number}"
    path.mkdir(parents=True)
    (path / "file").touch()
    return path


def test_only_partial_files_of_this_process_are_removed(builder):
    before = begin_download(builder)
    with pytest.raises(KeyboardInterrupt), tidy(builder):
        own = begin_download(builder)
        other = own.with_name("file.tmp.0123456789abcdef0123456789abcdef")
        other.mkdir()  # meanwhile, by another process
        raise KeyboardInterrupt
    assert not own.exists()
    assert before.exists() and other.exists()
    begin_download(builder)  # TFDS is as it was
    assert download_manager.uuid.__name__ == "uuid"


@pytest.mark.parametrize("other", [None, "1.0.0.incompleteX", "2.0.0"])
def test_the_description_of_a_data_set_stays_with_what_it_describes(
    builder, other
):
    config = builder.data_dir_root / "some/.config"
    with pytest.raises(ValueError), tidy(builder):
        config.mkdir(parents=True)
        (config / "metadata.json").touch()
        if other is not None:
            (config.parent / other).mkdir()
        raise ValueError
    assert config.exists() == (other is not None)
    assert builder.data_dir_root.exists()
