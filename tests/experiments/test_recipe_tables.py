"""The tables of `dropx report`, from records made up by hand."""

import numpy as np
import pytest
from scipy import stats

from keras_dropx.experiments import printed, recipe_tables, recipes
from keras_dropx.experiments.panel import Contrast
from keras_dropx.experiments.statistics import Comparison


def runs(arm, accuracies, **others):
    return [
        {"arm": arm, "seed": seed, "test_accuracy": accuracy, **others}
        for seed, accuracy in enumerate(accuracies)
    ]


def cells(text):
    """Returns the rows of a Markdown table, its heading first."""
    heading, rule, *rows = (
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.splitlines()
    )
    assert {cell.strip("| ") for cell in rule} == {"---"}
    return [heading, *rows]


def test_mean_has_its_standard_error():
    found = runs("a", [0.8, 0.9, 0.94]) + runs("b", [0.1])
    error = 100 * np.std([0.8, 0.9, 0.94], ddof=1) / np.sqrt(3)
    mean_error = recipe_tables.mean_error
    expected = f"88.00 ± {error:.2f}"
    assert expected == "88.00 ± 4.16"
    assert mean_error(found, "a", "test_accuracy") == expected
    assert mean_error(found, "b", "test_accuracy") == "10.00"
    assert mean_error(found, "b", "test_loss") == ""
    reached = runs("a", [0.8, 0.9], epochs_to_loss=None)
    assert mean_error(reached, "a", "epochs_to_loss") == "never"
    reached[1]["epochs_to_loss"] = 12
    assert mean_error(reached, "a", "epochs_to_loss") == "12.0 (1 of 2)"


def test_arms_stand_beside_what_the_paper_prints():
    recipe = recipes.find("gaaf-table-3")
    (panel,) = recipe.panels
    found = [
        run
        for number, arm in enumerate(panel.arms)
        for run in runs(arm.name, [0.5 + 0.01 * number], test_loss=0.25)
    ]
    heading, *rows = cells(recipe_tables.arm_table(recipe, panel, found))
    assert heading == [
        "arm",
        "accuracy %",
        "loss",
        "paper: MLP 512-256-256-10, MNIST, accuracy %",
        "paper: MLP 512-256-256-10, MNIST, epochs to converge",
    ]
    names = [arm.name for arm in panel.arms if not arm.mask_offset]
    assert "remasked" not in names
    assert [row[0] for row in rows] == names
    by_name = {row[0]: row[1:] for row in rows}
    places = {arm.name: k for k, arm in enumerate(panel.arms)}
    for name, (accuracy, loss, *_) in by_name.items():
        assert accuracy == f"{50 + places[name]}.00" and loss == "0.250"
    paper = {name: row[2:] for name, row in by_name.items()}
    assert paper["base"] == ["98.23 ± 0.075", "82 ± 16.6"]
    assert paper["dropout"] == ["98.40 ± 0.034", "169 ± 9.7"]
    assert paper["gaaf"] == ["98.35 ± 0.059", "114 ± 24.8"]
    assert paper["gaaf-control"] == ["", ""]


@pytest.mark.parametrize(
    "name, dataset, network, arm, expected",
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
    name, dataset, network, arm, expected
):
    rows = printed.rows_of(recipes.find(name))
    found = [
        printed.text_of(rows, arm, network, dataset, text)
        for text in ("accuracy %", "train accuracy %", "epochs to converge")
    ]
    assert [text for text in found if text] == expected


def test_rows_are_those_of_the_recipes_tables():
    rows = printed.rows_of(recipes.find("gaaf-table-1"))
    assert {row["table"] for row in rows} == {"1", "5.1"}
    assert {row["paper"] for row in rows} == {"gaaf"}
    assert printed.rows_of(recipes.find("augmented-figure-1")) == []


def test_a_panel_stands_for_the_papers_or_for_all_of_its_network():
    recipe = recipes.find("jumpout-table-2")
    for panel in recipe.panels:
        assert printed.original(recipe, panel) == ([panel.printed], panel)
    # 16-8 is the same function as 28-10 with other arguments.
    pairs, own = printed.original(recipe, recipe.panels[4])
    assert pairs == [("WideResNet-16-8", "STL10")]
    small = recipes.find("jumpout-table-2", "digits")
    pairs, own = printed.original(small, small.panels[0])
    assert own is None and pairs == [("CIFAR10(s)", "CIFAR10")]
    pairs, own = printed.original(small, small.panels[1])
    assert own is None and len(pairs) == 4
    narrow = recipe.panels[0]._replace(options={"scale": 0.5})
    assert printed.original(recipe, narrow)[1] is None


def layered(arm, measure, *points):
    measured = [
        {measure: {f"{measure}/{layer}": v for layer, v in point.items()}}
        for point in points
    ]
    return {"arm": arm, "measured": measured}


def test_gradient_information_is_the_mean_over_the_training():
    layers = ("hidden_1", "hidden_2", "hidden_3")
    found = [
        layered(
            arm,
            "gradient_information",
            *(
                {layer: scale * v * k for k, layer in enumerate(layers, 1)}
                for v in (1.0, 3.0)
            ),
        )
        for arm, scale in (("base", 1), ("base", 2), ("dropout", 10))
    ]
    recipe = recipes.find("gaaf-table-1")
    table, note = recipe_tables.layer_table(recipe, found).split("\n\n")
    heading, *rows = cells(table)
    assert heading == ["arm", "layer", "quantity", "here", "paper"]
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
    table = recipe_tables.layer_table(recipes.find("gaaf-table-2"), found)
    _, *rows = cells(table)
    assert [row[1:] for row in rows] == [
        ["logits", "net variance", "4", "1.97"],
        ["activation_3", "net variance", "3", "1.07"],
        ["activation_2", "net variance", "2", "1.07"],
        ["activation_1", "net variance", "0", "0"],
    ]
    assert recipe_tables.layer_table(recipes.find("gaaf-table-3"), []) is None


def test_claims_have_their_contrast_interval_and_verdict():
    (panel,) = recipes.find("augmented-table-3").panels
    contrasts = (
        Contrast("test_accuracy", "a", "plain", 0.5, "a | b is better", "+"),
        Contrast("test_loss", "a", "plain", 0.1, "the loss is lower", "-"),
    )
    plain = runs("plain", [0.5, 0.6, 0.7], test_loss=1.0)
    treated = runs("a", [0.53, 0.63, 0.735], test_loss=1.2)
    treated[1]["test_loss"], treated[2]["test_loss"] = 1.5, None
    text = recipe_tables.claim_table(
        panel._replace(contrasts=contrasts), plain + treated
    )
    assert "a \\| b is better" in text
    _, first, second = cells(text.replace("\\|", "or"))
    # Holm: the smaller p value of two gets the 97.5 % interval.
    interval = stats.ttest_1samp([3.0, 3.0, 3.5], 0).confidence_interval(0.975)
    assert first[1:] == [
        *("a - plain, accuracy, %", "+", "+3.17"),
        f"{interval.low:+.2f} to {interval.high:+.2f}",
        *("3 of 3", "**holds**"),
    ]
    interval = stats.ttest_1samp([0.2, 0.5], 0).confidence_interval(0.95)
    assert second == [
        *("the loss is lower", "a - plain, loss, nats", "-", "+0.350"),
        f"{interval.low:+.3f} to {interval.high:+.3f}",
        *("2 of 3", "**not resolved**"),
    ]


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
    result = Comparison((low + high) / 2, low, high, 5, verdict)
    assert recipe_tables.verdict(contrast, result) == expected


def test_noise_floor_is_of_the_same_rate_under_other_masks():
    remasked = runs("remasked 0.2", [0.52, 0.51, 0.50])
    others = runs("standard 0.3", [0.1] * 3) + runs("dropout", [0.1] * 3)
    control = runs("standard 0.2", [0.50, 0.50, 0.50])
    assert recipe_tables.noise_floor([*others, *control, *remasked]) == (
        "Noise floor: standard 0.2 under other masks differs by +1.00 ± 0.58 "
        "points of accuracy, standard deviation 1.00."
    )
    # Without its rate the method, by either of its names.
    remasked = runs("remasked", [0.48])
    for name in ("standard", "dropout"):
        text = recipe_tables.noise_floor([*runs(name, [0.5]), *remasked])
        assert f"{name} under other masks differs by -2.00 points" in text
        assert "deviation 0.00" in text
    assert recipe_tables.noise_floor(control) is None
    assert recipe_tables.noise_floor(remasked) is None
