"""What `predict` takes: sparse matrices, sparse tensors, data frames."""

import importlib.util

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_dropx.models import monte_carlo_predict, reestimate_batch_norm

X = np.maximum(np.random.default_rng(0).normal(size=(40, 6)), 0)
X = X.astype("float32")


def csr():
    return pytest.importorskip("scipy.sparse").csr_matrix(X)


def frame():
    # TensorFlow Datasets does not bring it; Keras takes it.
    return pytest.importorskip("pandas").DataFrame(X)


FORMS = {
    "csr": csr,
    "sparse tensor": lambda: tf.sparse.from_dense(X),
    "dataset": lambda: tf.data.Dataset.from_tensor_slices(X).batch(32),
    **({"frame": frame} if importlib.util.find_spec("pandas") else {}),
}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8),
            layers.Dropout(0.5),
            layers.BatchNormalization(),
        ]
    )


@pytest.mark.few(1)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_what_the_array_gives(form, model):
    x = FORMS[form]()
    expected = monte_carlo_predict(model, X, 3, seed=1, verbose=0)
    found = monte_carlo_predict(model, x, 3, seed=1, verbose=0)
    np.testing.assert_array_equal(found, expected)
    expected = reestimate_batch_norm(model, X).get_weights()
    found = reestimate_batch_norm(model, x).get_weights()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("call", [monte_carlo_predict, reestimate_batch_norm])
def test_a_dataset_that_turns_out_empty_is_refused(call, model):
    data = tf.data.Dataset.from_tensor_slices(X).filter(lambda x: False)
    with pytest.raises(ValueError, match="`x`. Expected at least one sample"):
        call(model, data.batch(4))
