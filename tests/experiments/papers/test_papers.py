"""The recipes as data: complete, consistent, and true to results.csv."""

import csv
import dataclasses
import pathlib

import numpy as np
import pytest

from keras_dropx.errors import UserError
from keras_dropx.experiments import papers
from keras_dropx.experiments.baselines.mean_rate import mean_rate
from keras_dropx.experiments.papers import jumpout
from keras_dropx.experiments.papers.digits import on_digits
from keras_dropx.experiments.papers.recipe import on_dataset
from keras_dropx.experiments.plan import Contrast
from keras_dropx.experiments.records import identity
from keras_dropx.experiments.report.recipe_list import SIZES
from keras_dropx.layers import AugmentedDropout, Jumpout

RECIPES = papers.RECIPES
# Printed rows of which no method is run, with the recipe that says so.
NOT_RUN = {
    ("dropout-reading-note", "MNIST", "dropout", "0.79"): "srivastava-mnist",
}


def method_of(plan, name):
    return next(method for method in plan.methods if method.name == name)


def test_names_are_those_of_the_papers():
    expected = [f"augmented-table-{k}" for k in range(1, 7)]
    expected += [f"augmented-figure-{k}" for k in (1, 2, 3)]
    expected += [f"jumpout-table-{k}" for k in (1, 2, 3)]
    expected += [f"jumpout-figure-{k}" for k in range(1, 6)]
    expected += [f"gaaf-table-{k}" for k in range(1, 5)]
    expected += ["gaaf-figure-2", "gaaf-figure-5"]
    expected += ["srivastava-mnist", "srivastava-cifar10"]
    expected += ["jumpout-table-2-imagenet"]
    assert sorted(RECIPES) == sorted(expected)


def test_a_name_that_is_none_is_refused():
    with pytest.raises(UserError, match="no recipe 'table-1'; dropx list"):
        papers.find("table-1")


def printed_rows():
    for row in papers.printed_results():
        # Text that belongs to another row's runs, not a run of its own.
        if "text" not in row["table"]:
            yield row


@pytest.mark.parametrize(
    "row", list(printed_rows()), ids=lambda row: "-".join(row.values())[:70]
)
def test_every_printed_number_has_an_method(row):
    key = (row["paper"], row["table"], row["method"], row["value"])
    if key in NOT_RUN:
        deviations = RECIPES[NOT_RUN[key]].deviations
        assert any("0.79" in choice.what for choice in deviations)
        return
    names = {f"{row['method']} {row['setting']}".strip(), row["method"]}
    methods = [
        method.name
        for recipe in RECIPES.values()
        if recipe.paper == row["paper"] and row["table"] in recipe.tables
        for plan in recipe.plans
        if plan.printed == (row["network"], row["dataset"])
        for method in plan.methods
    ]
    assert names.intersection(methods), methods


def test_printed_results_are_the_papers():
    rows = papers.printed_results()
    assert len(rows) == 180
    found = next(
        row
        for row in rows
        if (row["paper"], row["table"], row["method"], row["setting"])
        == ("augmented-dropout", "1", "forward", "0.3")
    )
    assert found["value"] == "0.6908"


def test_every_claim_is_tested_by_its_recipe():
    path = pathlib.Path(papers.__file__).parent / "claims.csv"
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["recipe"] for row in rows} <= RECIPES.keys()
    for row in rows:
        contrasts = [
            (contrast.treatment, contrast.control, contrast.metric)
            for plan in RECIPES[row["recipe"]].plans
            for contrast in plan.contrasts
        ]
        assert (row["treatment"], row["control"], row["metric"]) in contrasts
        assert row["sign"] in "+-=" and float(row["margin"]) > 0


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_panels_are_consistent(recipe):
    for each in (recipe, on_digits(recipe), on_dataset(recipe, "mnist")):
        names = [plan.name for plan in each.plans]
        assert len(set(names)) == len(names)
        for plan in each.plans:
            methods = [method.name for method in plan.methods]
            assert len(set(methods)) == len(methods)
            for method in plan.methods:
                # The noise of a method is measured before it is used.
                if method.source:
                    assert methods.index(method.source) < methods.index(
                        method.name
                    )
            assert all(0 < drop < 1 for drop in plan.drops)
    assert all(plan.dataset in SIZES for plan in recipe.plans)


def test_digits_merge_what_differs_only_in_its_images():
    recipe = on_digits(RECIPES["augmented-table-5"])
    (plan,) = recipe.plans
    names = [method.name for method in plan.methods]
    assert names.count("standard 0.1") == 1
    assert {"augmented 0.1/0.0001", "augmented 0.1/0.0002"} <= set(names)
    assert plan.name == "resnet20/digits" and plan.dataset == "digits"
    assert plan.augmentation is None
    assert plan.weight_decay == 1e-4
    assert recipe.deviations[-1].what == "resnet20 on digits"


def test_a_data_set_of_the_recipe_is_trained_as_the_recipe_does():
    recipe = RECIPES["augmented-table-5"]
    (plan,) = on_dataset(recipe, "cifar100").plans
    own = next(p for p in recipe.plans if p.dataset == "cifar100")
    assert plan.epochs == own.epochs == 164
    assert plan.augmentation == own.augmentation == "pad-4-crop-flip"
    names = {method.name for method in plan.methods}
    assert {method.name for p in recipe.plans for method in p.methods} == names
    # What must not be flipped is not.
    (plan,) = on_dataset(RECIPES["augmented-table-2"], "mnist").plans
    assert plan.augmentation == "pad-4-crop"


@pytest.mark.full
def test_settings_are_the_same_each_time_they_are_made():
    """Keras numbers the names of layers, nested ones too."""
    for recipe in RECIPES.values():
        for plan in recipe.plans:
            for method in plan.methods:
                assert method.details() == method.details()


def test_no_two_runs_share_their_settings_and_differ_in_their_method():
    seen = {}
    for recipe in RECIPES.values():
        for each in (recipe, on_digits(recipe)):
            for plan in each.plans:
                for method in plan.methods:
                    settings = identity(plan, method, 0, 1, {})
                    details = settings.pop("method_details")
                    seen.setdefault(repr(settings), []).append(details)
    # The two figures of Jumpout's rescales differ in nothing but the rate.
    assert {len({repr(d) for d in found}) for found in seen.values()} == {1, 2}
    twice = [f for f in seen.values() if len({repr(d) for d in f}) == 2]
    assert {d["layer"]["rate"] for f in twice for d in f} == {0.1, 0.2}


def test_another_data_set_changes_nothing_else():
    recipe = RECIPES["augmented-table-3"]
    (before,), (after,) = recipe.plans, on_dataset(recipe, "digits").plans
    expected = dataclasses.replace(
        before, name="lenet/digits", dataset="digits"
    )
    assert after == expected


def test_rates_are_those_of_the_printed_settings():
    for name in ("augmented-table-1", "augmented-table-3", "augmented-table-5"):
        for method in RECIPES[name].plans[0].methods:
            family, _, setting = method.name.partition(" ")
            if family in ("plain", "noise-matched"):
                continue
            layer = method.dropout()
            rate, _, ratio = setting.partition("/")
            assert layer.get_config()["rate"] == float(rate)
            if family == "augmented":
                assert layer.get_config()["backward_rate"] == float(ratio)
            if family in ("standard", "remasked"):
                assert layer.get_config()["backward_rate"] == 0


def test_ablation_switches_each_modification_alone():
    # Which of I, II and III a method has, by its layer's arguments.
    for method in jumpout.ABLATION:
        if method.name in ("plain", "remasked"):
            continue
        has = set(method.name.split("+")[1:])
        if method.name == "jumpout":
            has = {"I", "II", "III"}
        config = method.dropout(*([0.3] if method.source else [])).get_config()
        assert ("sigma" in config and config["sigma"] is not None) == (
            "I" in has
        )
        assert config.get("adaptive", False) == ("II" in has)
        exponent = AugmentedDropout(0.3, rescale=config["rescale"]).rescale
        assert (exponent in (0.75, "batchnorm")) == ("III" in has)


def test_fixed_rate_is_the_mean_of_the_random_one():
    mean = mean_rate(jumpout.SIGMA)
    assert jumpout.MEAN_RATE == pytest.approx(mean, abs=1e-9)


def test_jumpouts_line_in_figure_2_has_the_rate_as_its_mean_p():
    plan = RECIPES["jumpout-figure-2"].plans[0]
    methods = [m for m in plan.methods if m.name.startswith("jumpout")]
    assert len(methods) == 2 * len(jumpout.RATES)
    for method in methods:
        config = method.dropout().get_config()
        rate = float(method.name.split()[1])
        assert mean_rate(config["sigma"]) == pytest.approx(rate, abs=5e-5)


def test_without_adaptation_the_noise_is_divided_by_the_fraction():
    layer = jumpout.unadapted(0.4, "mean")
    assert isinstance(layer, Jumpout) and not layer.adaptive
    np.testing.assert_allclose(layer.sigma, jumpout.SIGMA / 0.4)
    np.testing.assert_allclose(layer.min_rate, 0.01 / 0.4)


def test_star_pairs_the_settings_of_two_families():
    methods = ["plain", "a 0.1", "a 0.2", "b 0.1", "b 0.2", "b 0.3"]
    assert Contrast("m", "a *", "b *", 1).pairs(methods) == [
        ("a 0.1", "b 0.1"),
        ("a 0.2", "b 0.2"),
    ]
    assert Contrast("m", "b *", "plain", 1).pairs(methods) == [
        ("b 0.1", "plain"),
        ("b 0.2", "plain"),
        ("b 0.3", "plain"),
    ]
    assert Contrast("m", "b *", "a *", 1).pairs(methods) == [
        ("b 0.1", "a 0.1"),
        ("b 0.2", "a 0.2"),
    ]
    assert Contrast("m", "a 0.1", "none", 1).pairs(methods) == []
