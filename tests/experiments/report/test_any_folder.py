"""Pages of any folder of runs, whatever its records say."""

import html.parser
import io
import json
import re
import time

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from keras_dropx.experiments.report import page
from keras_dropx.experiments.report.studies import studies
from keras_dropx.experiments.report.table import Table
from keras_dropx.experiments.report.text import markdown_paragraph

HOSTILE = (
    "[/b]",
    "<script>alert(1)</script>",
    "![x](http://evil.example/x.png)",
    "[a](javascript:alert(1))",
    "`code` | pipe",
    "$x_{",
    "<http://evil.example>",
    "&lt;b&gt;",
    "_a_ **b** ~~c~~",
)


class Tags(html.parser.HTMLParser):
    """The tags of a page, its links, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text = set(), [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.links += [v for k, v in attributes if k in ("src", "href")]

    def handle_data(self, data):
        self.text += data


@pytest.mark.few(3)
@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_records_say_is_text(hostile, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "figure", lambda *arguments: Figure((1, 1)))
    records = [
        {
            "plan": hostile,
            "method": method,
            "seed": seed,
            "dataset": hostile,
            "epochs": 3,
            "precision": hostile,
            "versions": {hostile: hostile},
            "test_accuracy": 0.5 + 0.1 * seed,
        }
        for seed in range(2)
        for method in (hostile, "dropout")
    ]
    lines = map(json.dumps, records)
    (tmp_path / "runs.jsonl").write_text("\n".join(lines) + "\n")
    found = Tags(page.report(tmp_path).read_text())
    assert found.tags <= set(
        "html head meta title style body h1 h2 p code em table thead tbody tr "
        "th td img".split()
    )
    assert all(
        link.startswith("data:image/png;base64,") for link in found.links
    )
    assert found.text.count(" ".join(hostile.split())) >= 8
    text = (tmp_path / "report.md").read_text()
    # Brackets are escaped, which makes no link; nor does an address.
    assert not re.search(r"(?<!\\)\]\((http|javascript)", text)
    assert "<" not in text and "://" not in text


def test_a_paragraph_of_markdown_is_one_line():
    text = "1. first\n\n# second\n- third"
    assert markdown_paragraph(text) == "1\\. first # second - third"
    assert markdown_paragraph("# a") == "\\# a"
    assert markdown_paragraph("- a") == "\\- a"


def test_runs_of_no_recipe_have_a_page_too(tmp_path):
    """As of `dropx tune`, whose plan is in its records alone."""
    records = [
        {
            "plan": "tune",
            "method": method,
            "method_details": {"mask_offset": int("remasked" in method)},
            "seed": seed,
            "epochs": 3,
            "learning_rate": rate,
            "test_accuracy": 0.5 + 0.01 * seed * len(method),
            "test_loss": 1.0,
            "train_loss": [1.0],
            "step_ms": 1.0,
            "versions": {"keras": "3"},
        }
        for rate in (0.1, 0.2)
        for seed in range(3)
        for method in ("plain", "dropout", "winner", "dropout-remasked")
    ]
    found = studies(records)
    assert [len(own) for *_, own in found] == [12, 12]
    for recipe, plan, own in found:
        assert recipe is None and len({r["learning_rate"] for r in own}) == 1
        assert [(c.treatment, c.control) for c in plan.contrasts] == [
            ("winner", "dropout"),
            ("dropout", "plain"),
        ]
        assert plan.floor.treatment == "dropout-remasked"
    lines = map(json.dumps, records)
    (tmp_path / "runs.jsonl").write_text("\n".join(lines) + "\n")
    page.report(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "winner - dropout" in text and "learning rate 0.2" in text
    assert (tmp_path / "0-tune.png").stat().st_size > 5_000


def test_many_runs_take_seconds():
    """Ten times the runs take about ten times as long, not a hundred."""
    spent = []
    for count in (1000, 10_000):
        records = [
            {"plan": "tune", "method": method, "seed": k, "train_size": k // 20}
            for k in range(count)
            for method in ("dropout", "winner")
        ]
        start = time.process_time()
        assert len(studies(records)) == count // 20
        spent.append(time.process_time() - start)
    assert spent[1] < 30 * spent[0] + 1


RUNS = [
    {
        "plan": "tune",
        "method": method,
        "seed": 0,
        "epochs": 3,
        "test_accuracy": 0.5,
    }
    for method in ("dropout", "winner")
]


def test_a_link_in_place_of_the_page_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "figure", lambda *arguments: Figure((1, 1)))
    target = tmp_path / "target"
    target.write_text("mine")
    folder = tmp_path / "runs"
    folder.mkdir()
    for name in ("report.md", "report.md.new", "report.html"):
        (folder / name).symlink_to(target)
    lines = map(json.dumps, RUNS)
    (folder / "runs.jsonl").write_text("\n".join(lines) + "\n")
    page.report(folder)
    assert target.read_text() == "mine"
    assert not (folder / "report.md").is_symlink()


def test_what_steers_a_terminal_takes_the_place_that_is_shown():
    """A column is as wide as what is printed, not as what came."""
    table = Table(["a", "b"], [["\x1b[2Jx", "1"]], ("a",))
    file = io.StringIO()
    Console(file=file, width=80).print(table)
    assert "│ �[2Jx │ 1 │" in file.getvalue()
