"""What comes from outside as text: no Markdown, no HTML, no rich markup."""

import re

from rich.text import Text

# An underscore within a word is only that.
_ESCAPED = re.compile(r"[\\`*{}\[\]|!]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
# GitHub makes links of "://" and "www.".
_ENTITIES = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "://": "&#58;//",
    "www.": "www&#46;",
    "~": "&#126;",
}
_START = re.compile(r"^(\d+(?=[.)])|(?=[#+\-]))")


def printable(text):
    """Returns a string without characters that steer a terminal."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else "�"
        for letter in str(text)
    )


def rich_text(text):
    """Returns a string as a `rich.text.Text` that shows it as it is."""
    return Text(printable(text))


def markdown_text(text):
    """Returns Markdown within a line that shows a string as it is."""
    text = printable(" ".join(str(text).split()))
    text = re.sub("|".join(_ENTITIES), lambda m: _ENTITIES[m[0]], text)
    return _ESCAPED.sub(lambda match: "\\" + match[0], text)


def markdown_paragraph(text):
    """Returns a paragraph of Markdown that shows a string as it is."""
    return _START.sub(r"\1\\", markdown_text(text))
