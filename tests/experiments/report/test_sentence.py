import re
import types

import pytest

from keras_dropx.experiments.plan import Contrast
from keras_dropx.experiments.report.sentence import sentence


def plan_of(*contrasts, names=None, **others):
    names = names or dict.fromkeys(
        name for c in contrasts for name in (c.control, c.treatment)
    )
    methods = [
        types.SimpleNamespace(name=name, mask_offset=0) for name in names
    ]
    return types.SimpleNamespace(
        methods=methods, contrasts=contrasts, floor=None, **others
    )


def runs(metric, **values):
    return [
        {"method": method.replace("_", "-"), "seed": seed, metric: value}
        for method, numbers in values.items()
        for seed, value in enumerate(numbers)
    ]


def accuracy(treatment, control, margin=0.5, **others):
    return Contrast("test_accuracy", treatment, control, margin, **others)


def test_it_says_what_the_intervals_allow():
    plan = plan_of(
        accuracy("dropout", "plain"),
        accuracy("forward", "dropout"),
        accuracy("backward", "dropout"),
    )
    records = runs(
        "test_accuracy",
        plain=[0.90, 0.91, 0.92],
        dropout=[0.93, 0.9401, 0.9499],
        forward=[0.88, 0.95, 0.97],
        backward=[0.9301, 0.94, 0.95],
    )
    text = sentence(plan, records)
    assert text.startswith("Dropout beats no dropout by 3.00 points (2.9")
    assert "Backward equals dropout within 0.5 points." in text
    assert "Forward is not told apart from dropout with 3 seeds; about " in text
    assert "in all) would resolve 0.5 points." in text
    assert text.endswith(
        "Keep what you have: nothing is shown to beat dropout."
    )


def test_what_beats_dropout_ends_keeping_it():
    plan = plan_of(accuracy("forward", "dropout"))
    better = runs(
        "test_accuracy", dropout=[0.9, 0.91, 0.92], forward=[0.95, 0.96, 0.9701]
    )
    assert sentence(plan, better).startswith("Forward beats dropout by 5.00")
    assert "Keep" not in sentence(plan, better)
    worse = runs(
        "test_accuracy", forward=[0.9, 0.91, 0.92], dropout=[0.95, 0.96, 0.9701]
    )
    assert sentence(plan, worse).startswith("Forward loses to dropout by 5.00")
    assert "Keep what you have" in sentence(plan, worse)
    # Dropout that loses to nothing is not to be kept.
    plan = plan_of(accuracy("dropout", "none"))
    records = runs(
        "test_accuracy", dropout=[0.9, 0.91, 0.92], none=[0.95, 0.96, 0.9701]
    )
    assert sentence(plan, records).startswith("Dropout loses to no dropout by")
    assert "Keep" not in sentence(plan, records)


@pytest.mark.parametrize(
    "metric, directions, verb",
    [
        ("mae", {}, "beats"),
        ("out_a_loss", {}, "beats"),
        ("auc", {}, "loses to"),
        ("mae", {"mae": "max"}, "loses to"),
        ("profit", {"profit": "max"}, "loses to"),
        ("profit", {}, "is below"),
    ],
)
def test_any_metric_and_direction(metric, directions, verb):
    plan = plan_of(
        Contrast(metric, "mine", "dropout", None), directions=directions
    )
    records = runs(metric, dropout=[12, 13.2, 14], mine=[10, 11.1, 12])
    assert sentence(plan, records).startswith(
        f"Mine {verb} dropout by 2.033 in {metric} ("
    )


def test_without_a_margin_nothing_is_equal_and_the_seeds_are_for_what_is_seen():
    plan = plan_of(Contrast("loss", "mine", "dropout", None))
    records = runs("loss", dropout=[1, 2, 3.0], mine=[1.01, 1.99, 3.02])
    assert sentence(plan, records) == (
        "Mine is not told apart from dropout with 3 seeds; about 20 more (23 "
        "in all) would resolve differences as large as those seen. Keep what "
        "you have: nothing is shown to beat dropout."
    )
    # Of runs that are missing some seeds, those in all are not the number.
    text = sentence(plan, [*records, {**records[0], "seed": 3}])
    assert "with 4 seeds; about 20 more would resolve differences" in text


def test_differences_without_spread_name_no_number_of_seeds():
    plan = plan_of(accuracy("mine", "dropout"), accuracy("other", "dropout"))
    records = runs(
        "test_accuracy",
        dropout=[0.9, 0.91, 0.92],
        mine=[0.9, 0.91, 0.92],
        other=[0.88, 0.95, 0.97],
    )
    text = sentence(plan, records)
    number = r"about (\d+) more \((\d+) in all\)"
    more, total = re.search(number, text).groups()
    assert int(total) == int(more) + 3
    assert "0.5 points; 1 of them has no spread to estimate it from." in text
    alone = [record for record in records if record["method"] != "other"]
    plan = plan_of(accuracy("mine", "dropout"))
    assert sentence(plan, alone).startswith(
        "Mine is not told apart from dropout with 3 seeds; differences without "
        "spread do not tell how many more would do. Keep"
    )


@pytest.mark.parametrize(
    "names, metric, directions, unit",
    [
        ("plain dropout", "accuracy", {}, "points"),
        ("none dropout", "accuracy", {"test_accuracy": "max"}, "points"),
        ("none dropout", "mae", {"test_mae": "min"}, "in mae"),
    ],
)
def test_reestimated_batch_norm_is_named_where_it_helps(
    names, metric, directions, unit
):
    none, dropout = names.split()
    plan = plan_of(
        Contrast(f"test_{metric}", dropout, none, None), directions=directions
    )
    sign = -1 if metric == "mae" else 1

    def records(after):
        found = []
        for seed, shift in enumerate((0.0, 0.01, -0.005)):
            for method, value, again in (
                (none, 0.9, 0.9),
                (dropout, 0.5, after),
            ):
                found.append(
                    {
                        "method": method,
                        "seed": seed,
                        f"test_{metric}": sign * (value + shift),
                        f"reestimated_{metric}": sign * (again + 2 * shift),
                    }
                )
        return found

    text = sentence(plan, records(0.8))
    said = text[text.index("Dropout gains") :]
    number = "0.3017" if metric == "mae" else "30.17"
    assert said.startswith(f"Dropout gains {number} {unit} (")
    assert "by `keras_dropx.models.reestimate_batch_norm`" in said
    assert ": 75 % of what it loses to no dropout." in said
    # Not where it makes no difference, or costs something.
    for after in (0.5, 0.3):
        assert "reestimate" not in sentence(plan, records(after))
    # Nor where what it gains does not matter.
    margin = 0.5 if metric == "mae" else 50
    plan = plan_of(
        Contrast(f"test_{metric}", dropout, none, margin), directions=directions
    )
    assert "reestimate" not in sentence(plan, records(0.8))


def test_one_seed_is_no_interval():
    plan = plan_of(accuracy("forward", "dropout"))
    records = runs("test_accuracy", dropout=[0.9], forward=[0.95])
    assert sentence(plan, records) == (
        "With 1 seed there is no interval: nothing is told apart."
    )


def test_diverged_and_missing_runs_are_named():
    plan = plan_of(accuracy("forward", "dropout"))
    records = runs(
        "test_accuracy",
        dropout=[0.9, 0.91, 0.92],
        forward=[0.95, float("nan")],
    )
    text = sentence(plan, records)
    assert "Forward diverged under 1 of 2 seeds." in text
    assert "Forward was run under 2 of 3 seeds." in text
    records = runs("test_accuracy", dropout=[0.9, 0.91])
    text = sentence(plan, records)
    assert "Forward was run under 0 of 2 seeds." in text
    assert "inf" not in text and "nan" not in text


def test_claims_are_counted():
    plan = plan_of(
        accuracy("a", "b", sentence="a is better", sign="+"),
        accuracy("b", "a", sentence="b is better", sign="+"),
    )
    records = runs("test_accuracy", a=[0.95, 0.96, 0.9701], b=[0.9, 0.91, 0.92])
    text = sentence(plan, records)
    assert text.endswith("Of 2 claims 1 holds, 1 does not, 0 not resolved.")
    assert "Keep" not in text


def test_a_difference_that_does_not_matter_is_called_so():
    plan = plan_of(accuracy("a", "dropout"))
    records = runs(
        "test_accuracy", dropout=[0.9, 0.9, 0.9], a=[0.902, 0.9021, 0.9019]
    )
    text = sentence(plan, records)
    assert "less than the 0.5 that matter" in text
    assert "Keep what you have" in text
