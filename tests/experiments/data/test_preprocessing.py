import json
import math

import numpy as np
import pytest

from keras_dropx.experiments.data import preprocessing
from keras_dropx.experiments.data.preprocessing import prepare


def random_images(count, shape=(4, 4, 3), seed=0):
    """Images of 0..255 whose pixels differ in mean, spread, correlation."""
    rng = np.random.default_rng(seed)
    size = math.prod(shape)
    mixing = np.random.default_rng(1).normal(size=(size, size))
    rows = rng.normal(size=(count, size)) @ mixing
    rows = 120 + 5 * rows + 10 * np.arange(size)[None] / size
    return np.clip(rows, 0, 255).reshape(count, *shape).astype("float32")


@pytest.fixture(params=["one chunk", "many chunks"])
def chunks(request, monkeypatch):
    if request.param == "many chunks":
        monkeypatch.setattr(preprocessing, "CHUNK", 7)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([("scael",)], "one of 'scale', 'mean-image', 'standardize', 'gcn', "),
        ([("scale",), ("resize", 28)], "the numbers that 'resize' takes"),
        ([("mean-image", 1)], "the numbers that 'mean-image' takes"),
        ([("gcn", 0)], "a finite number greater than 0"),
        ([("scale", -1)], "a finite number greater than 0"),
        ([("zca", 0)], "a finite number greater than 0"),
        ([("resize", 0, 2)], "a positive integer. Received: height=0"),
        ([("resize", 2, 2.5)], "a positive integer. Received: width=2.5"),
    ],
)
def test_bad_steps_are_refused_before_the_data_is_touched(steps, message):
    with pytest.raises(ValueError) as caught:
        prepare(steps, None)
    assert f"Expected {message}" in str(caught.value)


def test_no_steps_give_float32():
    images, other = prepare([], np.array([[[[7]]]], "uint8"), np.ones((1,) * 4))
    assert images.dtype == other.dtype == "float32"
    assert images[0, 0, 0, 0] == 7


def test_arguments_are_left_alone(chunks):
    train, test = random_images(20), random_images(9, seed=2)
    before = train.copy(), test.copy()
    steps = [["mean-image"], ["standardize"], ["gcn"], ["zca"], ["scale"]]
    for images in prepare(steps, train, test):
        assert images.dtype == "float32"
        assert np.all(np.isfinite(images))
    np.testing.assert_array_equal(train, before[0])
    np.testing.assert_array_equal(test, before[1])
    # Neither a view of a caller's array.
    prepare([("scale",), ("mean-image",)], train[:], test[::-1])
    np.testing.assert_array_equal(train, before[0])


def test_steps_survive_json_and_follow_each_other(chunks):
    train, test = random_images(20), random_images(9, seed=2)
    steps = [("gcn", 55.0), ("zca", 0.1), ("resize", 2, 3)]
    want = [train, test]
    for step in steps:
        want = prepare([step], *want)
    got = prepare(json.loads(json.dumps(steps)), train, test)
    for one, other in zip(got, want, strict=True):
        assert one.shape[1:] == (2, 3, 3)
        np.testing.assert_array_equal(one, other)


def test_scale_uses_the_largest_training_value(chunks):
    train = np.array([0, 4, 16], "uint8").reshape(3, 1, 1, 1)
    test = np.array([8, 32], "uint8").reshape(2, 1, 1, 1)
    scaled, other = prepare([("scale",)], train, test)
    assert scaled.ravel().tolist() == [0, 0.25, 1]
    assert other.ravel().tolist() == [0.5, 2]
    scaled, other = prepare([("scale", 255)], train, test)
    assert scaled.ravel().tolist() == [0, 63.75, 255]
    assert other.ravel().tolist() == [127.5, 510]


def test_mean_image_is_that_of_the_training_images(chunks):
    train, test = random_images(20), random_images(9, seed=2)
    mean = np.mean(train.astype("float64"), axis=0)
    assert np.ptp(mean) > 5
    got = prepare([("mean-image",)], train, test)
    for images, raw in zip(got, (train, test), strict=True):
        np.testing.assert_allclose(images, raw - mean, rtol=0, atol=1e-4)
    assert np.max(np.abs(got[0].mean(0))) < 1e-4 < np.max(np.abs(got[1]))


def test_means_of_many_images_do_not_drift():
    """A float32 sum of 2**15 times 0.1 is wrong in the fifth digit."""
    train = np.full((2**15, 8, 8, 1), 0.1, "float32")
    for name in "mean-image", "standardize":
        (got,) = prepare([(name,)], train)
        assert np.max(np.abs(got)) < 1e-9


def test_standardize_by_channel(chunks):
    train, test = random_images(20), random_images(9, seed=2)
    train = train * np.array([1, 2, 0], "float32")
    raw = train.astype("float64").reshape(-1, 3)
    mean, std = raw.mean(axis=0), raw.std(axis=0)
    got_train, got_test = prepare([("standardize",)], train, test)
    assert not np.any(got_train[..., 2])
    np.testing.assert_allclose(
        got_test[..., :2], ((test - mean) / [*std[:2], 1])[..., :2], atol=1e-5
    )
    np.testing.assert_allclose(got_test[..., 2], test[..., 2])
    flat = got_train[..., :2].reshape(-1, 2)
    np.testing.assert_allclose(flat.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(flat.std(axis=0), 1, atol=1e-6)


def test_gcn_by_hand():
    image = np.array([1, 2, 3, 6], "float32").reshape(1, 2, 2, 1)
    (got,) = prepare([("gcn", 7)], image)
    want = np.array([-2, -1, 0, 3]) / math.sqrt(14) * 7
    np.testing.assert_allclose(got.ravel(), want, rtol=1e-6)


def test_gcn_of_each_image_alone(chunks):
    train, test = random_images(20), random_images(9, seed=2)
    for images in prepare([("gcn",)], train, test):
        rows = images.reshape(len(images), -1).astype("float64")
        np.testing.assert_allclose(rows.mean(axis=1), 0, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 55, rtol=1e-6)
    (alone,) = prepare([("gcn",)], test[:1])
    np.testing.assert_array_equal(
        alone, prepare([("gcn",)], train, test)[1][:1]
    )


def test_gcn_of_a_constant_image():
    images = np.full((2, 3, 3, 3), 77.7, "float32")
    images[1] = 0
    (got,) = prepare([("gcn",)], images)
    np.testing.assert_allclose(got, 0, atol=1e-9)


def test_zca_whitens_the_training_images(chunks):
    train = random_images(2000)
    (white,) = prepare([("zca", 1e-6)], train)
    rows = white.reshape(2000, -1).astype("float64")
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(rows.T, ddof=0), np.eye(48), atol=2e-3)


def test_zca_is_the_inverse_root_of_the_covariance(chunks):
    """Against SciPy's matrix functions; the matrix is symmetric."""
    from scipy.linalg import inv, sqrtm

    train, test = random_images(100), random_images(9, seed=2)
    raw = train.reshape(100, -1).astype("float64")
    covariance = np.cov(raw.T, ddof=0)
    matrix = inv(sqrtm(covariance + 3 * np.eye(48)))
    for images, got in zip(
        (train, test), prepare([("zca", 3)], train, test), strict=True
    ):
        rows = images.reshape(len(images), -1) - raw.mean(axis=0)
        want = (rows @ matrix).reshape(images.shape)
        np.testing.assert_allclose(got, want, atol=1e-4)


def test_zca_with_fewer_images_than_pixels():
    """Directions without variance are divided by the root of eps."""
    train = np.zeros((2, 1, 2, 1), "float32")
    train[:, 0, 0, 0] = [-1, 1]
    test = np.ones((1, 1, 2, 1), "float32")
    got_train, got_test = prepare([("zca", 0.25)], train, test)
    root = math.sqrt(1.25)
    np.testing.assert_allclose(
        got_train.ravel(), [-1 / root, 0, 1 / root, 0], atol=1e-6
    )
    np.testing.assert_allclose(got_test.ravel(), [1 / root, 2], rtol=1e-6)
    few = random_images(5, (8, 8, 3))
    for eps in 0.1, 1e-14:
        for images in prepare([("zca", eps)], few, few[:2]):
            assert np.all(np.isfinite(images))


def test_resize_up_is_bilinear_between_centres():
    image = np.array([[0, 4], [8, 12]], "float32")[None, ..., None]
    (got,) = prepare([("resize", 4, 4)], image)
    steps = np.array([0, 0.25, 0.75, 1])
    want = 8 * steps[:, None] + 4 * steps[None, :]
    np.testing.assert_allclose(got[0, ..., 0], want, atol=1e-5)


def test_resize_down_takes_every_pixel_into_account(chunks):
    train = np.zeros((9, 8, 8, 1), "float32")
    train[:, ::4] = 16
    small, other = prepare([("resize", 2, 2)], train, train[:4])
    assert small.shape == (9, 2, 2, 1) and other.shape == (4, 2, 2, 1)
    np.testing.assert_allclose(small.mean(), 4, atol=0.5)
    assert np.all(small > 0)
