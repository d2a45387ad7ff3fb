"""A user's own data: what is read, and what is refused in one line."""

import keras
import numpy as np
import pytest

from keras_dropx.errors import UserError
from keras_dropx.experiments.data import files


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, 3)), np.arange(40) % 4


def test_parts_that_are_named_are_taken_as_they_are(tmp_path, arrays):
    x, y = arrays
    np.savez(
        tmp_path / "data.npz",
        x_train=x[:30],
        y_train=y[:30],
        x_test=x[30:],
        y_test=y[30:] + 0.5,
    )
    train, test = files.read(tmp_path / "data.npz")
    np.testing.assert_array_equal(train[0], x[:30].astype("float32"))
    np.testing.assert_array_equal(train[1], y[:30])
    assert train[0].dtype == "float32" and train[1].dtype == "int64"
    assert test[1].dtype == "float32" and test[1][0] == y[30] + 0.5


def test_arrays_are_split_by_seed_and_stratified(tmp_path, arrays):
    x, y = arrays
    path = tmp_path / "data.npz"
    np.savez(path, x=x, y=y)
    (x_train, y_train), (x_test, y_test) = files.read(path, test_share=0.3)
    assert (len(x_train), len(x_test)) == (28, 12)
    assert (np.bincount(y_test) == 3).all()
    together = np.concatenate([x_train, x_test])
    np.testing.assert_array_equal(
        np.sort(together, axis=0), np.sort(x.astype("float32"), axis=0)
    )
    again = files.read(path, test_share=0.3)
    np.testing.assert_array_equal(again[1][0], x_test)
    other = files.read(path, test_share=0.3, seed=1)
    assert (other[1][0] != x_test).any()


def test_a_table_gives_its_target(tmp_path):
    path = tmp_path / "table.csv"
    rows = "".join(f"{i},{10 * i},{i / 2}\n" for i in range(10))
    path.write_text(f"a,price,b\n{rows}\n")
    (x, y), (x_test, y_test) = files.read(path, target="price")
    assert (len(x), len(x_test)) == (8, 2)
    np.testing.assert_array_equal(10 * x[:, 0], y)
    np.testing.assert_array_equal(x[:, 0] / 2, x[:, 1])
    assert y_test.dtype == "int64"
    (_, y), _ = files.read(path, target="b")
    assert y.dtype == "float32"


def test_folders_of_images_are_classes(tmp_path):
    for number, name in enumerate(("cats", "dogs")):
        (tmp_path / name).mkdir()
        for k in range(5):
            image = np.full((6, 4, 3), 100 * number + k, "uint8")
            keras.utils.save_img(
                tmp_path / name / f"{k}.png", image, scale=False
            )
    (x, y), (x_test, y_test) = files.read(
        tmp_path, test_share=0.4, image_shape=(6, 4, 1)
    )
    assert x.shape == (6, 6, 4, 1) and x_test.shape == (4, 6, 4, 1)
    np.testing.assert_array_equal(x[:, 0, 0, 0] // 100, y)
    assert (np.bincount(y_test) == 2).all()


@pytest.mark.parametrize(
    "name, content, arguments, expected",
    [
        ("none.npz", None, {}, "no file or folder"),
        ("a.txt", "1", {}, "is no data"),
        ("a.npz", "not a zip", {}, "cannot be read"),
        ("a.npz", {"z": [1]}, {}, "holds z: expected the arrays x and y"),
        ("a.npz", {"x": [1.0], "y": [1, 2]}, {}, "x has 1 samples, y 2"),
        ("a.npz", {"x": ["b"], "y": [1]}, {}, "array x of .* no rows of num"),
        (
            "a.npz",
            {"x": [1.0, np.nan], "y": [1, 2]},
            {},
            "array x of .* has values that are NaN or infinite: fill",
        ),
        ("a.npz", {"x": [1.0], "y": [np.inf]}, {}, "array y of .* infinite"),
        ("a.npz", {"x": [[1.0]], "y": [1]}, {}, "1 samples, too few"),
        ("a.csv", "a,b\n1,2\n", {}, "--target, one of a, b"),
        ("a.csv", "a,b\n1,2\n", {"target": "c"}, "no column 'c'; it has: a"),
        (
            "a.csv",
            "a,b\n1,2\nred,3\n",
            {"target": "b"},
            r"column 'a' .* \(row 3: 'red'\): encode it as numbers or leave",
        ),
        ("a.csv", "a,b\n1,\n", {"target": "b"}, "column 'b' .* fill it in"),
        ("a.csv", "a,b\nnan,2\n", {"target": "b"}, "'a' .*'nan'.: fill it"),
        ("a.csv", "a,b\n1,inf\n", {"target": "b"}, "'b' .*'inf'.: fill it"),
        ("a.csv", "a,b\n1\n", {"target": "b"}, "row 2 .* has 1 values"),
        ("a.csv", "a,b\n1,2\n", {"target": "b"}, "1 samples, too few"),
        ("a.csv", "", {"target": "b"}, "no column 'b'"),
        ("a.csv", b"a,b\n\xff\n", {"target": "b"}, "cannot be read"),
        ("a.csv", "a,b\n", {"target": "b", "test_share": 1.0}, "test share"),
        ("folder", "", {"image_shape": (3,)}, "and the model takes none"),
        ("folder", "", {"image_shape": (8, 8, 3)}, "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(
    tmp_path, name, content, arguments, expected
):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif isinstance(content, dict):
        np.savez(path, **{k: np.array(v) for k, v in content.items()})
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=expected) as caught:
        files.read(path, **arguments)
    assert "\n" not in str(caught.value)


def test_pickled_arrays_are_not_loaded(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=np.array([{}], object), y=np.array([1]))
    with pytest.raises(UserError, match="cannot be read"):
        files.read(path)
