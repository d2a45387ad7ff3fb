"""The records of an output folder, the committed ones too."""

import json
import pathlib
import shutil

import pytest

from keras_dropx.experiments import recipes, runner
from keras_dropx.experiments.recipe_data import open_data
from keras_dropx.experiments.recipes.digits import on_digits
from keras_dropx.experiments.runs import Runs, settings_of

COMMITTED = pathlib.Path(__file__).parents[2] / "docs/reproductions/digits"
SESSION = {"precision": "float32", "jit": False, "backend": "tensorflow"}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("data"))


@pytest.fixture
def committed(tmp_path):
    """The committed runs, in a folder where they may be written."""
    shutil.copy(COMMITTED / "runs.jsonl", tmp_path)
    return Runs(tmp_path)


def test_a_record_is_found_by_all_its_settings(tmp_path):
    runs = Runs(tmp_path / "new" / "folder")
    assert runs.find(arm="a") is None
    runs.add({"arm": "a", "seed": 0, "test_loss": 0.5})
    runs.add({"arm": "a", "seed": 1, "test_loss": 0.7})
    assert runs.find(arm="a", seed=1)["test_loss"] == 0.7
    assert runs.find(arm="a", seed=2) is None
    assert runs.find(arm="a", seed=1, precision="float32") is None
    again = Runs(tmp_path / "new" / "folder")
    assert again.records == runs.records


@pytest.mark.parametrize("torn", ["µ".encode(), b"\xff\xc2"])
def test_a_line_that_a_killed_process_left_is_written_over(torn, tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_bytes(b'{"arm": "a"}\n{"arm": "' + torn)
    runs = Runs(tmp_path)
    assert runs.records == [{"arm": "a"}]
    runs.add({"arm": "b"})
    runs.add({"arm": "c"})
    assert path.read_text() == '{"arm": "a"}\n{"arm": "b"}\n{"arm": "c"}\n'


def test_every_committed_run_is_one_of_a_recipe(committed, data_dir):
    """What is asked for now has the settings of what was run."""
    names = {record["panel"] for record in committed.records}
    sources, wanted = {}, set()
    for recipe in recipes.RECIPES.values():
        for panel in on_digits(recipe).panels:
            if panel.name not in names:
                continue
            if panel.preparation not in sources:
                _, data = open_data(panel, None, data_dir, False)
                sources[panel.preparation] = {**data, **SESSION}
            source = sources[panel.preparation]
            for arm in panel.arms:
                settings = settings_of(panel, arm, 0, panel.epochs, source)
                del settings["seed"]
                wanted.add(json.dumps(settings, sort_keys=True))
    keys = json.loads(next(iter(wanted))).keys()
    for record in committed.records:
        settings = {key: record[key] for key in keys}
        assert json.dumps(settings, sort_keys=True) in wanted, record["arm"]


def test_committed_runs_are_not_run_again(committed, data_dir):
    (panel,) = on_digits(recipes.find("augmented-table-3")).panels
    _, source = open_data(panel, None, data_dir, False)
    seeds = range(5)
    before = committed.path.read_bytes()
    done = []

    def no_data(seed):
        pytest.fail(f"seed {seed} is run again")

    runner.run_panel(
        panel,
        no_data,
        {**source, **SESSION},
        seeds,
        panel.epochs,
        committed,
        lambda *arguments: done.append(arguments),
    )
    assert done == [
        (a.name, s, panel.epochs) for s in seeds for a in panel.arms
    ]
    assert committed.path.read_bytes() == before
    # With other settings they are not taken for done.
    with pytest.raises(pytest.fail.Exception, match="seed 0 is run again"):
        runner.run_panel(
            panel._replace(weight_decay=0.0),
            no_data,
            {**source, **SESSION},
            seeds,
            panel.epochs,
            committed,
            lambda *arguments: None,
        )
