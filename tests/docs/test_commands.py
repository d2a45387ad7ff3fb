"""The commands on the pages are commands: the parsers take each of them."""

import re
import shlex
from pathlib import Path

import pytest

import dropx
from dropx import parser
from keras_dropx.experiments import papers

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Reports are generated.
PAGES = [page for page in PAGES if "reproductions" not in page.parts]
FENCE = re.compile(r"^```(.*?)\n(.*?)^```", re.M | re.S)
INLINE = re.compile(r"`(dropx [a-z]+ [^`…]+|make [a-z-]+)[ `]")
COMMANDS = [
    (page.stem, shlex.split(line.removeprefix("$ "), comments=True))
    for page in PAGES
    for text in [page.read_text().replace("\\\n", " ")]
    for line in [
        *(
            line
            for language, block in FENCE.findall(text)
            if language in ("", "console", "text")
            for line in block.split("\n")
        ),
        *(" ".join(line.split()) for line in INLINE.findall(text)),
    ]
    # A line with variables is part of a shell script.
    if re.match(r"(\$ )?(dropx|make) [a-z-][^$]*$", line)
]
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)


def test_commands_are_found():
    assert {name for name, _ in COMMANDS} >= {
        "README",
        "tuning",
        "reproductions",
    }


@pytest.mark.parametrize(
    "command", [command for _, command in COMMANDS], ids=shlex.join
)
def test_commands_are_taken(command):
    program, *arguments = command
    if program == "make":
        assert arguments[0] in TARGETS
        return
    if "--help" in arguments or "--version" in arguments:
        with pytest.raises(SystemExit) as stop:
            dropx.main(arguments)
        assert stop.value.code == 0
        return
    options = parser.parse(arguments)
    if hasattr(options, "recipe"):
        papers.find(options.recipe)


def test_the_page_of_the_command_shows_its_help(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    page = (ROOT / "docs" / "api" / "dropx.md").read_text()
    shown = re.findall(
        r"^```text\n\$ dropx (.*?)--help\n(.*?)^```", page, re.M | re.S
    )
    assert [command.strip() for command, _ in shown] == [
        "",
        "compare",
        "tune",
        "list",
        "reproduce",
        "report",
    ]
    for command, text in shown:
        with pytest.raises(SystemExit):
            dropx.main([*command.split(), "--help"])
        assert text == capsys.readouterr().out, command
