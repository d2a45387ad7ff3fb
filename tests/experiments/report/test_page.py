"""The page of `dropx report`: which runs belong together, and what it says."""

import json
import pathlib
import shutil

import pytest
from matplotlib.figure import Figure

from keras_dropx.errors import UserError
from keras_dropx.experiments import papers
from keras_dropx.experiments.records import identity
from keras_dropx.experiments.report import page, paper_page
from keras_dropx.experiments.report.table import Table

REPRODUCTIONS = pathlib.Path(__file__).parents[3] / "docs/reproductions"
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
    """Returns made-up records of a recipe's first plan."""
    plan = papers.find(name, on).plans[0]
    source = {**SOURCE, **others}
    epochs = source.pop("epochs", plan.epochs)
    return [
        {
            **identity(plan, method, seed, epochs, source),
            "test_accuracy": 0.5,
            "test_loss": 1.0,
            "train_loss": [1.0] * epochs,
            "step_ms": 1.0,
            "epochs_to_loss": None,
            "saturation": {"hidden_1": 0.1},
            "versions": {"keras": "3"},
        }
        for seed in range(seeds)
        for method in plan.methods
    ]


def studies(records):
    return [
        (recipe.name, plan.name, found)
        for recipe, plan, found in page.studies(records)
    ]


@pytest.mark.few(3)
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
    details = {**second["method_details"], "sized": True}
    assert studies([first, {**second, "method_details": details}])[0][2] == [
        first
    ]
    # Of what stands there twice the first one counts, as for `run`.
    again = {**first, "test_accuracy": 0.9}
    assert studies([first, second, again])[0][2] == [first, second]


def test_a_plan_that_lacks_a_method_shows_the_others():
    records = runs_of("gaaf-table-3", 2)
    assert len(studies(records)) == 1
    method = records[-1]["method"]
    others = [r for r in records if r["method"] != method]
    (study,) = studies(others)
    assert sorted(map(str, study[2])) == sorted(map(str, others))
    stale = [
        {**r, "batch_size": 1} if r["method"] == method else r for r in records
    ]
    (study,) = studies(stale)
    assert sorted(map(str, study[2])) == sorted(map(str, others))


def test_runs_on_the_papers_images_are_of_that_plan_alone():
    found = runs_of("augmented-table-5", 1, None, dataset="svhn_cropped")
    recipe, plan, records = page.studies(found)[0]
    assert plan == papers.find("augmented-table-5").plans[0]
    assert recipe == papers.find("augmented-table-5") and records == found
    # Of the recipe as it is, not of what it would be on other images.
    names = [plan.name for _, plan, _ in page.studies(found)]
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
    recipe = papers.find("gaaf-table-3", on)
    (plan,) = recipe.plans
    for seeds, words in ((4, "4 seeds: a demonstration."), (5, "5 seeds.")):
        records = runs_of("gaaf-table-3", seeds, on, **others)
        text = paper_page.paper_section(recipe, plan, records, "figure.png")
        assert words in text
        first = records[0]
        assert (
            f"Data set {first['dataset']}, {first['train_size']:,} training "
            f"images, {first['epochs']} epochs, batch {plan.batch_size}, "
            f"learning rate {plan.learning_rate:g}, float32;"
        ) in text
    notes = ("only orderings compare", "less than the recipe")
    if expected is None:
        assert not any(note in text for note in notes)
    else:
        assert expected in text
        assert sum(note in text for note in notes) == 1
    assert "![" in text and "(figure.png)" in text
    assert "Noise floor: dropout under other masks" in text
    for contrast in plan.contrasts:
        assert contrast.sentence in text
    text = paper_page.paper_page(
        "gaaf", "", [text], [(recipe, plan, records)] * 2
    )
    for choice in recipe.deviations:
        assert text.count(choice.why) == 1
    less = (
        "| mnist, 60,000 images, 200 epochs; 5 seeds in the recipe "
        f"| {first['dataset']}, {first['train_size']:,} images, "
        f"{first['epochs']} epochs; 5 seeds |"
    )
    assert text.count(less) == (expected is not None)


def test_heading_names_all_versions_once():
    versions = [{"keras": "3.15"}, {"keras": "3.16", "numpy": "2"}]
    records = [{"versions": versions[k]} for k in (0, 0, 1)]
    text = page.heading(records, [(None, None, records)])
    assert "3 runs (keras 3.15; keras 3.16, numpy 2)" in text


@pytest.mark.parametrize("name", ["digits", "fashion_mnist"])
def test_the_committed_pages_are_what_the_committed_runs_give(
    name, tmp_path, monkeypatch
):
    committed_in = REPRODUCTIONS / name
    # The figures take a minute.
    for drawn in ("figure", "forest"):
        monkeypatch.setattr(page, drawn, lambda *arguments: Figure((1, 1)))
    shutil.copy(committed_in / "runs.jsonl", tmp_path)
    page.report(tmp_path)
    made, committed = (
        {path.name: path.read_text() for path in folder.glob("*.md")}
        for folder in (tmp_path, committed_in)
    )
    assert made == committed, (
        f"make it anew: dropx report docs/reproductions/{name}"
    )


@pytest.mark.full
@pytest.mark.parametrize("name", ["digits", "fashion_mnist"])
def test_the_committed_figures_are_those_of_the_committed_runs(name, tmp_path):
    committed_in = REPRODUCTIONS / name
    shutil.copy(committed_in / "runs.jsonl", tmp_path)
    page.report(tmp_path)
    made, committed = (
        {path.name: path.read_bytes() for path in folder.glob("*.png")}
        for folder in (tmp_path, committed_in)
    )
    assert made.keys() == committed.keys()
    assert [k for k in made if made[k] != committed[k]] == []


def test_the_page_holds_its_figures(tmp_path):
    lines = map(json.dumps, runs_of("gaaf-table-3", 1))
    (tmp_path / "runs.jsonl").write_text("\n".join(lines) + "\n")
    path = page.report(tmp_path)
    assert path == tmp_path / "report.html"
    html = path.read_text()
    assert 'src="data:image/png;base64,' in html and ".png" not in html
    # The scoreboard is first, and leads to what is below it.
    assert html.index("the paper says") < html.index('id="gaaf"')
    assert 'href="#gaaf"' in html and ".md" not in html
    assert "| --- |" not in html
    assert (tmp_path / "0-gaaf-table-3.png").stat().st_size > 5_000
    assert not list(tmp_path.glob("*.new"))


def test_a_long_table_is_folded_and_stays_a_table():
    rows = [[f"method {k}", "1"] for k in range(paper_page.LONG + 1)]
    table = Table(["method", "accuracy"], rows, ("method",))
    text = paper_page.folded(table, "methods")
    html = page.html_page("a page", text, {})
    assert html.count("<details>") == html.count("<table>") == 1
    assert html.index("<summary>") < html.index("<table>")
    assert rows[-1][0] in html.partition("</details>")[0]
    short = table._replace(rows=rows[1:])
    assert paper_page.folded(short, "methods") == short.markdown()


def test_a_page_of_someone_else_is_kept(tmp_path):
    lines = map(json.dumps, runs_of("gaaf-table-3", 1))
    (tmp_path / "runs.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "gaaf.md").write_text("# Mine\n")
    with pytest.raises(UserError, match="did not write .*gaaf.md"):
        page.report(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert (tmp_path / "gaaf.md").read_text() == "# Mine\n"


def test_two_precisions_are_told_apart():
    found = page.studies(
        runs_of("gaaf-table-3", 1)
        + runs_of("gaaf-table-3", 1, precision="mixed_bfloat16")
    )
    settings = {claim.setting for claim in page.claims_of(found)}
    assert settings == {
        f"digits, 300 training images, 100 epochs, {precision}"
        for precision in ("float32", "mixed_bfloat16")
    }


def test_the_page_takes_no_html_from_records(tmp_path):
    record, *others = runs_of("gaaf-table-3", 1)
    record["versions"] = {"<script>": "1"}
    lines = map(json.dumps, [record, *others])
    (tmp_path / "runs.jsonl").write_text("\n".join(lines) + "\n")
    html = page.report(tmp_path).read_text()
    assert "<script>" not in html and "&lt;script&gt; 1" in html


def test_a_folder_without_runs_is_refused_and_left_alone(tmp_path):
    with pytest.raises(UserError, match="no runs.jsonl in"):
        page.report(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "runs.jsonl").write_text("")
    with pytest.raises(UserError, match="no runs of a plan as it is now"):
        page.report(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
