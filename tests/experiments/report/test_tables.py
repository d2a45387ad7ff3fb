"""The tables of a plan, from records made up by hand."""

import dataclasses
import types

import numpy as np
import pytest
from scipy import stats

from keras_dropx.experiments import papers
from keras_dropx.experiments.papers import printed
from keras_dropx.experiments.plan import Contrast
from keras_dropx.experiments.report.contrast_table import (
    claim_verdict,
    contrast_table,
)
from keras_dropx.experiments.report.method_table import (
    cell,
    layer_table,
    method_table,
    setting_text,
)
from keras_dropx.experiments.report.sentence import noise_floor
from keras_dropx.experiments.statistics import Interval


def Plan(names=(), **others):
    """A plan for tables, of methods with these names."""
    return types.SimpleNamespace(
        **{
            "name": "own",
            "claim": "Does it help?",
            "methods": [
                types.SimpleNamespace(
                    name=name, mask_offset="remasked" in name, dropout=None
                )
                for name in names
            ],
            "contrasts": (),
            "floor": None,
            **others,
        }
    )


def runs(method, accuracies, **others):
    return [
        {"method": method, "seed": seed, "test_accuracy": accuracy, **others}
        for seed, accuracy in enumerate(accuracies)
    ]


def test_mean_has_its_standard_error():
    found = runs("a", [0.8, 0.9, 0.94]) + runs("b", [0.1])
    error = 100 * np.std([0.8, 0.9, 0.94], ddof=1) / np.sqrt(3)
    expected = f"88.00 ± {error:.2f}"
    assert expected == "88.00 ± 4.16"
    assert cell(found, "a", "test_accuracy") == expected
    assert cell(found, "b", "test_accuracy") == "10.00"
    assert cell(found, "b", "test_loss") == ""
    reached = runs("a", [0.8, 0.9], epochs_to_loss=None)
    assert cell(reached, "a", "epochs_to_loss") == "never"
    reached[1]["epochs_to_loss"] = 12
    assert cell(reached, "a", "epochs_to_loss") == "12.0 (1 of 2)"
    lost = runs("a", [0.8, 0.9, 0.5], test_loss=float("nan"))
    assert cell(lost, "a", "test_loss") == "diverged"
    lost[0]["test_loss"] = 0.25
    assert cell(lost, "a", "test_loss") == "0.250 (1 of 3)"


def test_methods_stand_beside_what_the_paper_prints():
    recipe = papers.find("gaaf-table-3")
    (plan,) = recipe.plans
    found = [
        run
        for number, method in enumerate(plan.methods)
        for run in runs(method.name, [0.5 + 0.01 * number], test_loss=0.25)
    ]
    table = method_table(plan, found, recipe)
    rows = table.rows
    assert "SE: standard error over 1 seed;" in table.caption
    assert table.headings == [
        "method",
        "accuracy % ± SE",
        "loss ± SE",
        "paper: MLP 512-256-256-10, MNIST, accuracy %",
        "paper: MLP 512-256-256-10, MNIST, epochs to converge",
    ]
    names = [method.name for method in plan.methods if not method.mask_offset]
    assert "remasked" not in names
    assert [row[0] for row in rows] == names
    by_name = {row[0]: row[1:] for row in rows}
    places = {method.name: k for k, method in enumerate(plan.methods)}
    for name, (accuracy, loss, *_) in by_name.items():
        assert accuracy == f"{50 + places[name]}.00" and loss == "0.250"
    paper = {name: row[2:] for name, row in by_name.items()}
    assert paper["base"] == ["98.23 ± 0.075", "82 ± 16.6"]
    assert paper["dropout"] == ["98.40 ± 0.034", "169 ± 9.7"]
    assert paper["gaaf"] == ["98.35 ± 0.059", "114 ± 24.8"]
    assert paper["gaaf-control"] == ["", ""]


@pytest.mark.parametrize(
    "name, dataset, network, method, expected",
    [
        # Fractions, errors, and a number that two methods share.
        ("augmented-table-1", "CIFAR10", "ConvNet-Quick", "plain", ["75.79"]),
        ("srivastava-mnist", "MNIST", "fully connected", "dropout", ["98.95"]),
        ("gaaf-table-4", "CIFAR10", "VGG16-like", "gaaf", ["90.16", "99.6"]),
        ("gaaf-table-4", "CIFAR100", "VGG16-like", "gaaf", ["61.29", "98.2"]),
        ("gaaf-table-4", "CIFAR10", "VGG16-like", "gaaf-control", []),
    ],
)
def test_printed_numbers_are_of_the_network_and_the_images(
    name, dataset, network, method, expected
):
    rows = printed.rows_of(papers.find(name))
    found = [
        printed.text_of(rows, method, network, dataset, text)
        for text in ("accuracy %", "train accuracy %", "epochs to converge")
    ]
    assert [text for text in found if text] == expected


def test_rows_are_those_of_the_recipes_tables():
    rows = printed.rows_of(papers.find("gaaf-table-1"))
    assert {row["table"] for row in rows} == {"1", "5.1"}
    assert {row["paper"] for row in rows} == {"gaaf"}
    assert printed.rows_of(papers.find("augmented-figure-1")) == []


def test_a_plan_stands_for_the_papers_or_for_all_of_its_network():
    recipe = papers.find("jumpout-table-2")
    for plan in recipe.plans:
        assert printed.original(recipe, plan) == ([plan.printed], plan)
    # 16-8 is the same function as 28-10 with other arguments.
    pairs, own = printed.original(recipe, recipe.plans[4])
    assert pairs == [("WideResNet-16-8", "STL10")]
    small = papers.find("jumpout-table-2", "digits")
    pairs, own = printed.original(small, small.plans[0])
    assert own is None and pairs == [("CIFAR10(s)", "CIFAR10")]
    pairs, own = printed.original(small, small.plans[1])
    assert own is None and len(pairs) == 4
    narrow = dataclasses.replace(recipe.plans[0], options={"scale": 0.5})
    assert printed.original(recipe, narrow)[1] is None


def layered(method, measure, *points):
    measured = [
        {measure: {f"{measure}/{layer}": v for layer, v in point.items()}}
        for point in points
    ]
    return {"method": method, "measured": measured}


def test_gradient_information_is_the_mean_over_the_training():
    layers = ("hidden_1", "hidden_2", "hidden_3")
    found = [
        layered(
            method,
            "gradient_information",
            *(
                {layer: scale * v * k for k, layer in enumerate(layers, 1)}
                for v in (1.0, 3.0)
            ),
        )
        for method, scale in (("base", 1), ("base", 2), ("dropout", 10))
    ]
    recipe = papers.find("gaaf-table-1")
    table = layer_table(recipe, found)
    rows, note = table.rows, table.caption
    assert table.headings[3:] == ["here ± SE", "paper"]
    # Means 2 and 4, whose difference is twice the standard error.
    assert rows[2] == [
        *("base", "hidden_1", "gradient information"),
        *("3 ± 1", "1.07e-04"),
    ]
    assert rows[0][3:] == ["9 ± 3", "9.35e-05"]
    assert rows[4] == [
        *("dropout", "hidden_2", "gradient information"),
        *("40", "6.52e-04"),
    ]
    assert len(rows) == 6
    assert "1.15e-03, 6.43e-04, 1.78e-04, and not which layer" in note


def test_net_variance_is_of_the_trained_network():
    nets = ("activation_1", "activation_2", "activation_3", "logits")
    found = [
        layered("dropout", "net_variance", dict.fromkeys(nets, 9.0), last)
        for last in [dict(zip(nets, (0.0, 2.0, 3.0, 4.0), strict=True))]
    ]
    rows = layer_table(papers.find("gaaf-table-2"), found).rows
    assert [row[1:] for row in rows] == [
        ["logits", "net variance", "4", "1.97"],
        ["activation_3", "net variance", "3", "1.07"],
        ["activation_2", "net variance", "2", "1.07"],
        ["activation_1", "net variance", "0", "0"],
    ]
    assert layer_table(papers.find("gaaf-table-3"), []) is None


def test_claims_have_their_contrast_interval_and_verdict():
    (plan,) = papers.find("augmented-table-3").plans
    contrasts = (
        Contrast(
            "test_accuracy",
            "standard 0.1",
            "plain",
            0.5,
            "a | b is better",
            "+",
        ),
        Contrast(
            "test_loss", "standard 0.1", "plain", 0.1, "the loss is lower", "-"
        ),
    )
    plain = runs("plain", [0.5, 0.6, 0.7], test_loss=1.0)
    treated = runs("standard 0.1", [0.53, 0.63, 0.735], test_loss=1.2)
    treated[1]["test_loss"], treated[2]["test_loss"] = 1.5, None
    table = contrast_table(
        dataclasses.replace(plan, contrasts=contrasts), plain + treated
    )
    assert "; of accuracy, %, where nothing else stands there" in table.caption
    first, second = table.rows
    interval = stats.ttest_1samp([3.0, 3.0, 3.5], 0).confidence_interval(0.975)
    assert first == [
        *("a | b is better", "standard 0.1 - no dropout: higher", "+3.17"),
        *(f"{interval.low:+.2f} to {interval.high:+.2f}", "holds: higher"),
    ]
    interval = stats.ttest_1samp([0.2, 0.5], 0).confidence_interval(0.975)
    assert second[:4] == [
        "the loss is lower",
        *("standard 0.1 - no dropout, loss, nats: lower", "+0.350"),
        f"{interval.low:+.3f} to {interval.high:+.3f}",
    ]
    needed, pairs = second[4].split(", ")
    assert needed.startswith("not resolved (about ") and "more seeds" in needed
    assert pairs == "2 of 3 pairs)"


@pytest.mark.parametrize(
    "sign, low, high, verdict, expected",
    [
        ("+", 0.1, 2.0, "higher", "holds"),
        ("+", -2.0, -0.1, "lower", "does not hold"),
        ("+", -0.2, 0.3, "equal", "does not hold"),
        ("+", -1.0, 2.0, "not resolved", "not resolved"),
        ("-", -2.0, -0.1, "lower", "holds"),
        ("-", 0.1, 2.0, "higher", "does not hold"),
        ("-", -0.2, 0.3, "equal", "does not hold"),
        ("=", -0.2, 0.3, "equal", "holds"),
        ("=", 0.1, 0.3, "higher", "holds"),
        ("=", 0.1, 2.0, "higher", "does not hold"),
        ("=", -2.0, -0.1, "lower", "does not hold"),
        ("=", -0.7, -0.1, "lower", "does not hold"),
        ("=", -1.0, 2.0, "not resolved", "not resolved"),
        ("=", -0.5, 0.3, "not resolved", "not resolved"),
        ("=", -0.3, 0.5, "not resolved", "not resolved"),
    ],
)
def test_verdicts_are_read_from_the_interval(
    sign, low, high, verdict, expected
):
    contrast = Contrast("test_accuracy", "a", "b", 0.5, "it is so", sign)
    result = Interval((low + high) / 2, low, high, 5, verdict)
    assert claim_verdict(contrast, result) == expected


def test_noise_floor_is_of_the_same_rate_under_other_masks():
    plan = Plan(
        names=("standard 0.3", "standard 0.2", "dropout", "remasked 0.2")
    )
    remasked = runs("remasked 0.2", [0.52, 0.51, 0.50])
    others = runs("standard 0.3", [0.1] * 3) + runs("dropout", [0.1] * 3)
    control = runs("standard 0.2", [0.50, 0.50, 0.50])
    assert noise_floor(plan, [*others, *control, *remasked]) == (
        "Noise floor: standard 0.2 under other masks differs by +1.00 ± 0.58 "
        "points."
    )
    # Without its rate the method, by either of its names.
    for name in ("standard", "dropout"):
        plan = Plan(names=(name, "remasked"))
        both = runs(name, [0.5]) + runs("remasked", [0.48])
        assert noise_floor(plan, both) == (
            f"Noise floor: {name} under other masks differs by -2.00 points, "
            "one seed."
        )
    assert noise_floor(plan, runs("dropout", [0.5])) is None
    assert noise_floor(Plan(names=("remasked",)), both) is None


@pytest.mark.parametrize(
    "record, text",
    [
        ({"input_shape": [8, 8, 1]}, "mine, 1,200 training images, 3 epochs"),
        ({"input_shape": [30]}, "mine, 1,200 training examples, 3 epochs"),
        ({}, "mine, 1,200 training examples, 3 epochs"),
    ],
)
def test_only_images_are_called_images(record, text):
    record = {"dataset": "mine", "train_size": 1200, "epochs": 3, **record}
    assert setting_text(record) == text
    assert setting_text({"epochs": 3}) == "3 epochs"
