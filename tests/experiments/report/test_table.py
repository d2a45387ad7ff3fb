"""Tables in terminals of several widths, and text that is only text."""

import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import termios
import threading
import types

import pytest
from rich.console import Console

from keras_dropx.experiments import Comparison, papers
from keras_dropx.experiments.papers import ours
from keras_dropx.experiments.plan import Contrast, Method
from keras_dropx.experiments.report import recipe_list
from keras_dropx.experiments.report.show import show
from keras_dropx.experiments.report.table import Table
from keras_dropx.experiments.search import trials_report

HOSTILE = (
    "[/b]",
    "[lr]",
    "[/job:localhost/task:0]",
    ":smile:",
    "$x_{",
    "a|b",
    "a\nb",
)


def printed(width, show):
    """Returns what `show(console)` writes to a terminal of a width."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("4H", 50, width, 0, 0))
    chunks = []

    def read():
        # What a terminal holds until it is read is little. At its end Linux
        # raises.
        with contextlib.suppress(OSError):
            while chunk := os.read(main, 65536):
                chunks.append(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    with open(side, "w") as file:
        console = Console(file=file, width=width, markup=False, emoji=False)
        assert console.width == width and console.is_terminal
        show(console)
    reader.join()
    os.close(main)
    text = b"".join(chunks).decode().replace("\r\n", "\n")
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def records_of(plan, seeds=3):
    """Returns made-up records, with numbers as long as they get."""
    return [
        {
            "plan": plan.name,
            "method": method.name,
            "seed": seed,
            "dataset": "digits",
            "train_size": 300,
            "input_shape": [8, 8, 1],
            "epochs": 100,
            "step_ms": 1.5 + k,
            "test_accuracy": (0.95 - 0.6 * (k % 2) * (seed % 2)),
            "test_loss": 12345.678 * (k + 1) + seed * k,
            "train_loss": [1.0],
            **({"reestimated_accuracy": 0.9 + 0.01 * seed * k}
               if plan.name == "batchnorm" else {}),
            **({"epochs_to_loss": 30 + k * seed}
               if plan.name == "saturation" else {}),
            **({"gradient": {"hidden_1": 10.0 * k + 1, "logits": 1e3}}
               if plan.name == "masks" else {}),
        }
        for k, method in enumerate(plan.methods)
        for seed in range(seeds)
    ]  # fmt: skip


def numbers(tables):
    for table in tables:
        for row in table.rows:
            for heading, cell in zip(table.headings, row, strict=True):
                if heading not in table.words and cell:
                    yield cell


@pytest.fixture
def shown_tables(monkeypatch):
    """The tables that are printed, as they are."""
    tables = []
    draw = Table.__rich_console__

    def noted(table, *arguments):
        tables.append(table)
        return draw(table, *arguments)

    monkeypatch.setattr(Table, "__rich_console__", noted)
    return tables


def check_whole(width, show, tables):
    show(Console(file=io.StringIO(), width=width))
    text = printed(width, show)
    assert max(map(len, text.splitlines())) <= width
    # But where a sentence of a paper has one.
    assert "…" not in text.replace("[…]", "")
    cells = list(numbers(tables))
    assert len(cells) > 10
    for cell in cells:
        assert cell in text, cell


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", list(ours.PLANS))
def test_every_number_of_compare_is_whole(name, width, shown_tables):
    plan = ours.PLANS[name]
    records = records_of(plan)
    check_whole(
        width, lambda console: show(plan, records, console), shown_tables
    )


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", ["augmented-table-2", "gaaf-table-3"])
def test_every_number_of_reproduce_is_whole(name, width, shown_tables):
    recipe = papers.find(name, "digits")
    (plan,) = recipe.plans
    records = records_of(plan)
    check_whole(
        width,
        lambda console: show(plan, records, console, recipe),
        shown_tables,
    )


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("metric", ["accuracy", "loss", "a_long_metric_name"])
def test_every_number_of_a_users_comparison_is_whole(
    metric, width, shown_tables, monkeypatch
):
    names = ("none", "dropout", "augmented", "a-method-with-a-long-name")
    plan = types.SimpleNamespace(
        name="comparison",
        claim="Which dropout helps this model on this data?",
        methods=[Method(name) for name in names],
        contrasts=[
            Contrast(f"test_{metric}", name, "none", None) for name in names[1:]
        ],
        floor=None,
        directions={f"test_{metric}": "max", f"reestimated_{metric}": "max"},
    )
    records = [
        {
            "method": name,
            "seed": seed,
            f"test_{metric}": 1234.5678 * k + seed * 10.0**k,
            f"reestimated_{metric}": 1e-5 * k * seed,
            "step_ms": 1.0 + k,
        }
        for k, name in enumerate(names)
        for seed in range(3)
    ]
    check_whole(
        width, lambda console: show(plan, records, console), shown_tables
    )
    # As a string too.
    monkeypatch.setenv("COLUMNS", str(width))
    text = str(Comparison(plan, metric, "max", None, 1, "", records))
    assert max(map(len, text.splitlines()[1:])) <= width
    assert all(cell in text for cell in numbers(shown_tables))


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("objective", ["val_accuracy", "val_loss"])
def test_every_number_of_tune_is_whole(
    objective, width, shown_tables, monkeypatch
):
    monkeypatch.setattr(
        trials_report, "executions", lambda trial: [trial.score, 0.1234567]
    )
    settings = types.SimpleNamespace(
        objective=objective,
        direction="max" if objective == "val_accuracy" else "min",
        dataset="digits",
        train_size=300,
        network="mlp",
        executions=2,
    )
    found = [
        types.SimpleNamespace(
            status="COMPLETED",
            trial_id=f"{k:04d}",
            score=0.9 - k / 7,
            hyperparameters=types.SimpleNamespace(
                values={
                    "dropout_method": "augmented",
                    "dropout_rate": k / 17,
                    "dropout_backward_rate": 1e-5 * (k + 1) / 3,
                    "dropout_sigma": 0.123456,
                    "tuner/epochs": 33,
                    "tuner/initial_epoch": 11,
                }
            ),
        )
        for k in range(12)
    ]

    def shown(console):
        console.print(trials_report.table(found, settings, "any"))

    check_whole(width, shown, shown_tables)
    assert {len(table.rows) for table in shown_tables} == {10}


@pytest.mark.parametrize("width", [80, 120])
def test_the_list_of_recipes_is_readable(width, shown_tables, monkeypatch):
    # Networks are not built for it, nor is the machine measured.
    monkeypatch.setattr(recipe_list, "products", lambda *arguments: 10**8)
    monkeypatch.setattr(recipe_list, "speed", lambda: 1e11)

    check_whole(width, recipe_list.list_recipes, shown_tables)
    text = printed(width, recipe_list.list_recipes)
    for name in papers.RECIPES:
        assert f"│ {name} " in text


def test_speed_is_measured_and_lengths_are_read():
    assert 1e8 < recipe_list.speed(0.01) < 1e15
    assert [recipe_list.duration(s) for s in (5, 600, 7200, 86_400 * 3)] == [
        *("1 min", "10 min", "2 h", "3 days")
    ]


@pytest.mark.parametrize("width", [10, 25, 40, 80])
def test_columns_that_do_not_fit_stand_below(width):
    table = Table(
        ["method", "a", "b"],
        [["dropout-batchnorm", "1.25 ± 0.50", "-15.65 to +36.67"]],
        ("method",),
    )
    text = printed(width, lambda console: console.print(table))
    assert max(map(len, text.splitlines())) <= width
    cells = ("1.25 ± 0.50", "-15.65 to +36.67") if width >= 40 else ()
    for cell in cells:
        assert cell in text
    # Even where nothing fits, no digit is lost.
    joined = re.sub(r"[^\d.+-]", "", text)
    assert width < 40 or "1.250.50" in joined or "36.67" in joined


@pytest.mark.parametrize("text", HOSTILE)
def test_what_comes_from_outside_is_text(text):
    table = Table([text, "b"], [[text, "1"]], (text,), text, text)
    found = printed(80, lambda console: console.print(table))
    for part in text.splitlines():
        assert found.count(part) >= 4


def test_nothing_steers_the_terminal():
    table = Table(["a", "b"], [["\x1b[2Jx", "\x07\udcff"]], ("a",))
    found = printed(80, lambda console: console.print(table))
    assert "\x1b[2J" not in found and "\x07" not in found
    assert "�[2J" in found and "x" in found
