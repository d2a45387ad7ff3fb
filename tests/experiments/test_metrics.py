import numpy as np
import pytest

from keras_dropx.experiments import metrics
from keras_dropx.experiments.panel import Contrast


def test_numbers_that_are_derived_from_a_record():
    record = {
        "arm": "a",
        "seed": 0,
        "epochs": 10,
        "train_loss": [2.0, 0.5],
        "saturation": {"hidden_1": 0.2, "hidden_2": 0.4},
        "curve": [
            {"epoch": 1, "test_accuracy": 0.2},
            {"epoch": 2, "test_accuracy": 0.4},
            {"epoch": 3, "test_accuracy": 0.9},
        ],
        "measured": [
            {
                "gradient_information": {
                    "gradient_information/hidden_1": size,
                    "gradient_information/logits": 7.0,
                    "gradient_information_normalized/hidden_1": 10 * size,
                }
            }
            for size in (0.05, 0.15)
        ],
    }
    expected = {
        "final_train_loss": 0.5,
        "mean_saturation": 0.3,
        "early_accuracy": 0.3,
        "log_gradient": -1,
        "log_gradient_normalized": 0,
    }
    for name, number in expected.items():
        assert metrics.value(record, name) == pytest.approx(number)
    bare = {"train_loss": [1.0], "epochs": 1}
    for name in list(expected)[1:]:
        assert metrics.value(bare, name) is None


def test_contrast_over_settings_is_the_mean_of_their_pairs():
    accuracies = {"a 1": (0.5, 0.6), "a 2": (0.7, 0.9), "b 1": (0.4, 0.4)}
    accuracies["b 2"] = (0.5, 0.6)
    runs = [
        {"arm": arm, "seed": seed, "test_accuracy": value}
        for arm, values in accuracies.items()
        for seed, value in enumerate(values)
    ]
    contrast = Contrast("test_accuracy", "a *", "b *", 0.5)
    np.testing.assert_allclose(metrics.contrasted(runs, contrast), [15, 25])
    # A seed that one of them lacks is left out.
    np.testing.assert_allclose(metrics.contrasted(runs[1:], contrast), [25])
