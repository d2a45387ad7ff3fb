import pytest

from keras_dropx.experiments import measures
from keras_dropx.experiments.measures import describe


def test_numbers_that_are_derived_from_a_record():
    record = {
        "method": "a",
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
        assert measures.value(record, name) == pytest.approx(number)
    bare = {"train_loss": [1.0], "epochs": 1}
    for name in list(expected)[1:]:
        assert measures.value(bare, name) is None


@pytest.mark.parametrize(
    "name, heading, text, unit, better",
    [
        ("test_accuracy", "accuracy %", "accuracy, %", "points", "max"),
        ("test_a_acc", "a_acc %", "a_acc, %", "points of a_acc", "max"),
        ("test_mae", "mae", "mae", "in mae", "min"),
        (
            "reestimated_accuracy",
            *["accuracy, BN re-estimated, %"] * 2,
            "points with BN re-estimated",
            "max",
        ),
        ("test_pace", "pace", "pace", "in pace", None),
        ("test_r2_score", "r2_score", "r2_score", "in r2_score", "max"),
    ],
)
def test_any_metric_has_a_name_a_unit_and_a_direction(
    name, heading, text, unit, better
):
    shown = describe(name)
    assert (shown.heading, shown.text, shown.unit) == (heading, text, unit)
    assert shown.better == better
    assert (shown.scale == 100) == ("%" in text)


def test_the_loss_of_a_users_model_is_in_its_own_unit():
    class Plan:
        directions = {"test_loss": "min"}

    assert describe("test_loss").text == "loss, nats"
    assert describe("test_loss", Plan).text == "loss"


def test_one_point_two_points():
    shown = describe("test_accuracy")
    assert [shown.amount(n) for n in (0.5, 1.0, 2)] == [
        *("0.5 points", "1 point", "2 points")
    ]
    assert describe("test_loss").amount(1) == "1 nat of loss"
    assert describe("test_mae").amount(1) == "1 in mae"


@pytest.mark.parametrize("name", ["test_loss", "val_loss", "test_mse"])
def test_large_numbers_are_shown_without_decimals(name):
    shown = describe(name)
    assert shown.format(1012891.75) == "1,012,892"
    assert shown.format(-29450.2, "+") == "-29,450"
    assert shown.format(1234.5678) == "1235"
    assert float(shown.format(0.25)) == 0.25
