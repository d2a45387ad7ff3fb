import keras
import numpy as np
import pytest

from keras_dropx.callbacks import GradientInformation


def test_the_batch_form_is_refused_and_the_other_one_named():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"On JAX.*Pass `data=\(x, y\)`"):
        model.fit(
            np.ones((4, 2)),
            np.ones((4, 1)),
            callbacks=[GradientInformation()],
            verbose=0,
        )
