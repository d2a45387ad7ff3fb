"""The page of `dropx report`: which runs belong together, and what it says."""

import json
import pathlib
import shutil

import pytest
from matplotlib.figure import Figure

from keras_dropx.errors import UserError
from keras_dropx.experiments import recipes, report
from keras_dropx.experiments.runs import settings_of

COMMITTED = pathlib.Path(__file__).parents[2] / "docs/reproductions/digits"
SOURCE = {
    "dataset": "digits",
    "data_version": "1.0.0",
    "train_size": 300,
    "num_classes": 10,
    "input_shape": [8, 8, 1],
    "precision": "float32",
    "jit": False,
    "backend": "tensorflow",
}
NAME = "gaaf-table-2"


def runs_of(name, seeds, on="digits", **others):
    """Returns made-up records of a recipe's first panel."""
    panel = recipes.find(name, on).panels[0]
    source = {**SOURCE, **others}
    epochs = source.pop("epochs", panel.epochs)
    return [
        {
            **settings_of(panel, arm, seed, epochs, source),
            "test_accuracy": 0.5,
            "versions": {"keras": "3"},
        }
        for seed in range(seeds)
        for arm in panel.arms
    ]


def studies(records):
    return [
        (recipe.name, panel.name, found)
        for recipe, panel, found in report.studies(records)
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"precision": "mixed_bfloat16"},
        {"jit": True},
        {"backend": "jax"},
        {"epochs": 7},
        {"train_size": 200},
        {"input_shape": [16, 16, 1]},
        {"data_version": "2.0.0"},
        {"num_classes": 3},
        {"weights": "0123"},
    ],
)
def test_runs_that_differ_are_never_in_one_table(other):
    some, others = runs_of(NAME, 2), runs_of(NAME, 3, **other)
    assert studies([some[0], *others, some[1]]) == [
        (NAME, "gaaf_mlp/digits", some),
        (NAME, "gaaf_mlp/digits", others),
    ]


def test_runs_of_a_recipe_that_has_changed_are_left_out():
    (first, second) = runs_of(NAME, 2)
    assert studies([first, {**second, "weight_decay": 0.1}]) == [
        (NAME, "gaaf_mlp/digits", [first])
    ]
    details = {**second["arm_details"], "sized": True}
    assert studies([first, {**second, "arm_details": details}])[0][2] == [first]
    # Of what stands there twice the last one counts.
    again = {**first, "test_accuracy": 0.9}
    assert studies([first, second, again])[0][2] == [again, second]


def test_a_panel_that_lacks_an_arm_waits():
    records = runs_of("gaaf-table-3", 2)
    assert len(studies(records)) == 1
    arm = records[-1]["arm"]
    assert studies([r for r in records if r["arm"] != arm]) == []
    stale = [{**r, "batch_size": 1} if r["arm"] == arm else r for r in records]
    assert studies(stale) == []


def test_runs_on_the_papers_images_are_of_that_panel_alone():
    found = runs_of("augmented-table-5", 1, None, dataset="svhn_cropped")
    recipe, panel, records = next(report.studies(found))
    assert panel == recipes.find("augmented-table-5").panels[0]
    assert recipe == recipes.find("augmented-table-5") and records == found
    # Of the recipe as it is, not of what it would be on other images.
    names = [panel.name for _, panel, _ in report.studies(found)]
    assert set(names) == {"resnet20/svhn_cropped"}, names


@pytest.mark.parametrize(
    "on, others, expected",
    [
        ("digits", {}, "of other images: only orderings compare"),
        (
            None,
            {"dataset": "mnist", "train_size": 1000},
            "This is less than the recipe, which trains on 60,000 images for "
            "200 epochs.",
        ),
        (
            None,
            {"dataset": "mnist", "train_size": 60_000, "epochs": 9},
            "on 60,000 images for 200 epochs.",
        ),
        (None, {"dataset": "mnist", "train_size": 60_000}, None),
    ],
)
def test_section_says_what_was_trained(on, others, expected):
    recipe = recipes.find("gaaf-table-3", on)
    (panel,) = recipe.panels
    for seeds, words in ((4, "4 seeds: a demonstration."), (5, "5 seeds.")):
        records = runs_of("gaaf-table-3", seeds, on, **others)
        text = report.section(recipe, panel, records, "figure.png")
        assert words in text
        first = records[0]
        assert (
            f"Data set {first['dataset']}, {first['train_size']:,} training "
            f"images, {first['epochs']} epochs, batch {panel.batch_size}, "
            f"learning rate {panel.learning_rate:g}, float32;"
        ) in text
    notes = ("only orderings compare", "less than the recipe")
    if expected is None:
        assert not any(note in text for note in notes)
    else:
        assert expected in text
        assert sum(note in text for note in notes) == 1
    assert "![" in text and "(figure.png)" in text
    assert "Noise floor: dropout under other masks" in text
    for contrast in panel.contrasts:
        assert contrast.sentence in text
    for choice in recipe.choices:
        assert choice.why in text


def test_heading_names_all_versions_once():
    versions = [{"keras": "3.15"}, {"keras": "3.16", "numpy": "2"}]
    text = report.heading([{"versions": versions[k]} for k in (0, 0, 1)])
    assert "3 runs (keras 3.15; keras 3.16, numpy 2)" in text


def test_the_committed_page_is_what_the_committed_runs_give(
    tmp_path, monkeypatch
):
    # The figures take a minute.
    monkeypatch.setattr(report, "figure", lambda *arguments: Figure((1, 1)))
    shutil.copy(COMMITTED / "runs.jsonl", tmp_path)
    report.report(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert text == (COMMITTED / "report.md").read_text(), (
        "make it anew: dropx report docs/reproductions/digits"
    )


def test_the_page_holds_its_figures(tmp_path):
    lines = map(json.dumps, runs_of("gaaf-table-3", 1))
    (tmp_path / "runs.jsonl").write_text("\n".join(lines) + "\n")
    path = report.report(tmp_path)
    assert path == tmp_path / "report.html"
    page = path.read_text()
    assert 'src="data:image/png;base64,' in page and ".png" not in page
    assert (tmp_path / "0-gaaf-table-3.png").stat().st_size > 5_000
    assert not list(tmp_path.glob("*.new"))


def test_the_page_takes_no_html_from_records(tmp_path):
    record, *others = runs_of("gaaf-table-3", 1)
    record["versions"] = {"<script>": "1"}
    lines = map(json.dumps, [record, *others])
    (tmp_path / "runs.jsonl").write_text("\n".join(lines) + "\n")
    page = report.report(tmp_path).read_text()
    assert "<script>" not in page and "&lt;script&gt; 1" in page


def test_a_folder_without_runs_is_refused_and_left_alone(tmp_path):
    with pytest.raises(UserError, match="no runs.jsonl in"):
        report.report(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "runs.jsonl").write_text("")
    with pytest.raises(UserError, match="no finished runs of a recipe"):
        report.report(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
