"""The recipes as data: complete, consistent, and true to results.csv."""

import csv
import pathlib

import numpy as np
import pytest
from scipy import integrate, stats

from keras_dropx.errors import UserError
from keras_dropx.experiments import recipes
from keras_dropx.experiments.panel import Contrast
from keras_dropx.experiments.recipe_list import SIZES
from keras_dropx.experiments.recipes import jumpout
from keras_dropx.experiments.recipes.digits import on_digits
from keras_dropx.experiments.recipes.recipe import on_dataset
from keras_dropx.experiments.runs import settings_of
from keras_dropx.layers import AugmentedDropout, Jumpout

RECIPES = recipes.RECIPES
# Printed rows of which no arm is run, with the recipe that says so.
NOT_RUN = {
    ("dropout-reading-note", "MNIST", "dropout", "0.79"): "srivastava-mnist",
}


def arm_of(panel, name):
    return next(arm for arm in panel.arms if arm.name == name)


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
        recipes.find("table-1")


def printed_rows():
    for row in recipes.printed_results():
        # Text that belongs to another row's runs, not a run of its own.
        if "text" not in row["table"]:
            yield row


@pytest.mark.parametrize(
    "row", list(printed_rows()), ids=lambda row: "-".join(row.values())[:70]
)
def test_every_printed_number_has_an_arm(row):
    key = (row["paper"], row["table"], row["method"], row["value"])
    if key in NOT_RUN:
        choices = RECIPES[NOT_RUN[key]].choices
        assert any("0.79" in choice.what for choice in choices)
        return
    names = {f"{row['method']} {row['setting']}".strip(), row["method"]}
    arms = [
        arm.name
        for recipe in RECIPES.values()
        if recipe.paper == row["paper"] and row["table"] in recipe.tables
        for panel in recipe.panels
        if panel.printed == (row["network"], row["dataset"])
        for arm in panel.arms
    ]
    assert names.intersection(arms), arms


def test_printed_results_are_the_papers():
    rows = recipes.printed_results()
    assert len(rows) == 180
    found = next(
        row
        for row in rows
        if (row["paper"], row["table"], row["method"], row["setting"])
        == ("augmented-dropout", "1", "forward", "0.3")
    )
    assert found["value"] == "0.6908"


def test_every_claim_is_tested_by_its_recipe():
    path = pathlib.Path(recipes.__file__).parent / "claims.csv"
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["recipe"] for row in rows} <= RECIPES.keys()
    for row in rows:
        contrasts = [
            (contrast.treatment, contrast.control, contrast.metric)
            for panel in RECIPES[row["recipe"]].panels
            for contrast in panel.contrasts
        ]
        assert (row["treatment"], row["control"], row["metric"]) in contrasts
        assert row["sign"] in "+-=" and float(row["margin"]) > 0


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_panels_are_consistent(recipe):
    for each in (recipe, on_digits(recipe), on_dataset(recipe, "mnist")):
        names = [panel.name for panel in each.panels]
        assert len(set(names)) == len(names)
        for panel in each.panels:
            arms = [arm.name for arm in panel.arms]
            assert len(set(arms)) == len(arms)
            for arm in panel.arms:
                # The noise of an arm is measured before it is used.
                if arm.source:
                    assert arms.index(arm.source) < arms.index(arm.name)
            assert all(0 < drop < 1 for drop in panel.drops)
    assert all(panel.dataset in SIZES for panel in recipe.panels)
    assert all("" not in choice for choice in recipe.choices)


def test_digits_merge_what_differs_only_in_its_images():
    recipe = on_digits(RECIPES["augmented-table-5"])
    (panel,) = recipe.panels
    names = [arm.name for arm in panel.arms]
    assert names.count("standard 0.1") == 1
    assert {"augmented 0.1/0.0001", "augmented 0.1/0.0002"} <= set(names)
    assert panel.name == "resnet20/digits" and panel.dataset == "digits"
    assert panel.augmentation is None
    assert panel.weight_decay == 1e-4
    assert recipe.choices[-1].what == "resnet20 on digits"


def test_a_data_set_of_the_recipe_is_trained_as_the_recipe_does():
    recipe = RECIPES["augmented-table-5"]
    (panel,) = on_dataset(recipe, "cifar100").panels
    own = next(p for p in recipe.panels if p.dataset == "cifar100")
    assert panel.epochs == own.epochs == 164
    assert panel.augmentation == own.augmentation == "pad-4-crop-flip"
    names = {arm.name for arm in panel.arms}
    assert {arm.name for p in recipe.panels for arm in p.arms} == names
    # What must not be flipped is not.
    (panel,) = on_dataset(RECIPES["augmented-table-2"], "mnist").panels
    assert panel.augmentation == "pad-4-crop"


def test_settings_are_the_same_each_time_they_are_made():
    """Keras numbers the names of layers, nested ones too."""
    for recipe in RECIPES.values():
        for panel in recipe.panels:
            for arm in panel.arms:
                assert arm.details() == arm.details()


def test_no_two_runs_share_their_settings_and_differ_in_their_arm():
    seen = {}
    for recipe in RECIPES.values():
        for each in (recipe, on_digits(recipe)):
            for panel in each.panels:
                for arm in panel.arms:
                    settings = settings_of(panel, arm, 0, 1, {})
                    details = settings.pop("arm_details")
                    seen.setdefault(repr(settings), []).append(details)
    # The two figures of Jumpout's rescales differ in nothing but the rate.
    assert {len({repr(d) for d in found}) for found in seen.values()} == {1, 2}
    twice = [f for f in seen.values() if len({repr(d) for d in f}) == 2]
    assert {d["layer"]["rate"] for f in twice for d in f} == {0.1, 0.2}


def test_another_data_set_changes_nothing_else():
    recipe = RECIPES["augmented-table-3"]
    (before,), (after,) = recipe.panels, on_dataset(recipe, "digits").panels
    assert after == before._replace(name="lenet/digits", dataset="digits")


def test_rates_are_those_of_the_printed_settings():
    for name in ("augmented-table-1", "augmented-table-3", "augmented-table-5"):
        for arm in RECIPES[name].panels[0].arms:
            method, _, setting = arm.name.partition(" ")
            if method in ("plain", "noise-matched"):
                continue
            layer = arm.dropout()
            rate, _, ratio = setting.partition("/")
            assert layer.get_config()["rate"] == float(rate)
            if method == "augmented":
                assert layer.get_config()["backward_rate"] == float(ratio)
            if method in ("standard", "remasked"):
                assert layer.get_config()["backward_rate"] == 0


def test_ablation_switches_each_modification_alone():
    # Which of I, II and III an arm has, by its layer's arguments.
    for arm in jumpout.ABLATION:
        if arm.name in ("plain", "remasked"):
            continue
        has = set(arm.name.split("+")[1:])
        if arm.name == "jumpout":
            has = {"I", "II", "III"}
        config = arm.dropout(*([0.3] if arm.source else [])).get_config()
        assert ("sigma" in config and config["sigma"] is not None) == (
            "I" in has
        )
        assert config.get("adaptive", False) == ("II" in has)
        exponent = AugmentedDropout(0.3, rescale=config["rescale"]).rescale
        assert (exponent in (0.75, "batchnorm")) == ("III" in has)


def test_fixed_rate_is_the_mean_of_the_random_one():
    def density(p):
        return 2 * stats.norm.pdf(p, scale=jumpout.SIGMA)

    inner, _ = integrate.quad(lambda p: (0.01 + p) * density(p), 0, 0.59)
    atom = 0.6 * 2 * stats.norm.sf(0.59 / jumpout.SIGMA)
    np.testing.assert_allclose(jumpout.mean_rate(), inner + atom, rtol=1e-8)


def test_without_adaptation_the_noise_is_divided_by_the_fraction():
    layer = jumpout.unadapted(0.4, "mean")
    assert isinstance(layer, Jumpout) and not layer.adaptive
    np.testing.assert_allclose(layer.sigma, jumpout.SIGMA / 0.4)
    np.testing.assert_allclose(layer.min_rate, 0.01 / 0.4)


def test_star_pairs_the_settings_of_two_families():
    arms = ["plain", "a 0.1", "a 0.2", "b 0.1", "b 0.2", "b 0.3"]
    assert Contrast("m", "a *", "b *", 1).pairs(arms) == [
        ("a 0.1", "b 0.1"),
        ("a 0.2", "b 0.2"),
    ]
    assert Contrast("m", "b *", "plain", 1).pairs(arms) == [
        ("b 0.1", "plain"),
        ("b 0.2", "plain"),
        ("b 0.3", "plain"),
    ]
    assert Contrast("m", "b *", "a *", 1).pairs(arms) == [
        ("b 0.1", "a 0.1"),
        ("b 0.2", "a 0.2"),
    ]
    assert Contrast("m", "a 0.1", "none", 1).pairs(arms) == []
