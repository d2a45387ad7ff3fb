import numpy as np

from keras_dropx.experiments.records import Checkpoint

SETTINGS = {"method": "plain", "drops": (0.5,)}


def saved(folder):
    checkpoint = Checkpoint(folder, SETTINGS)
    checkpoint.save([np.arange(3), np.float32(2)], {"epoch": 4})
    return checkpoint


def test_what_was_saved_comes_back(tmp_path):
    (first, second), state = saved(tmp_path / "folder").load()
    np.testing.assert_array_equal(first, [0, 1, 2])
    assert second == 2 and second.dtype == "float32"
    assert state == {"epoch": 4}


def test_the_last_one_counts(tmp_path):
    checkpoint = saved(tmp_path)
    checkpoint.save([np.zeros(2)], {"epoch": 5})
    arrays, state = checkpoint.load()
    assert len(arrays) == 1 and state == {"epoch": 5}
    assert list(tmp_path.iterdir()) == [checkpoint.path]


def test_none_torn_or_of_other_settings_there_is_none(tmp_path):
    assert Checkpoint(tmp_path, SETTINGS).load() is None
    path = saved(tmp_path).path
    assert Checkpoint(tmp_path, {**SETTINGS, "method": "gaaf"}).load() is None
    assert Checkpoint(tmp_path, SETTINGS).load() is not None
    path.write_bytes(path.read_bytes()[:200])
    assert Checkpoint(tmp_path, SETTINGS).load() is None
    path.write_bytes(b"")
    assert Checkpoint(tmp_path, SETTINGS).load() is None


def test_any_damage_counts_as_none(tmp_path):
    """A byte changed anywhere, or the end cut off."""
    checkpoint = saved(tmp_path)
    path = checkpoint.path
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 1 + place % 255
        path.write_bytes(damaged)
        assert checkpoint.load() is None, place
        path.write_bytes(whole[:place])
        assert checkpoint.load() is None, place
    path.write_bytes(whole)
    assert checkpoint.load() is not None
    path.unlink()
    path.mkdir()
    assert checkpoint.load() is None


def test_what_a_killed_write_left_goes_with_it(tmp_path):
    checkpoint = saved(tmp_path)
    (tmp_path / f"{checkpoint.path.name}.0123.new").write_bytes(b"half")
    checkpoint.remove()
    assert list(tmp_path.iterdir()) == []


def test_removed_twice_is_no_error(tmp_path):
    checkpoint = saved(tmp_path)
    checkpoint.remove()
    checkpoint.remove()
    assert checkpoint.load() is None
