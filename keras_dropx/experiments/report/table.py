"""One table, for a terminal of any width or as Markdown."""

from typing import NamedTuple

import rich.table

from keras_dropx.experiments.report.text import (
    markdown_paragraph,
    markdown_text,
    rich_text,
)


class Table(NamedTuple):
    """A table of strings.

    Attributes:
        headings: List of strings.
        rows: List of lists of strings.
        words: Headings of the columns of words, which may be broken into
            lines. All others hold numbers, which are never broken.
        title: String, shown above.
        caption: String, shown below.
    """

    headings: list
    rows: list
    words: tuple = ()
    title: str = ""
    caption: str = ""

    def markdown(self):
        """Returns the table as Markdown, without its title."""
        rule = [
            "---" if heading in self.words else "--:"
            for heading in self.headings
        ]
        rows = [
            [markdown_text(cell) for cell in row]
            for row in [self.headings, *self.rows]
        ]
        rows.insert(1, rule)
        text = "\n".join("| " + " | ".join(row) + " |" for row in rows)
        if self.caption:
            text += "\n\n" + markdown_paragraph(self.caption)
        return text

    def __rich_console__(self, console, options):
        """Draws the table as a `rich.console.Console` asks for it."""
        # What does not fit beside the first column goes into a table below.
        blocks = self._blocks(options.max_width)
        for columns in blocks:
            widths = self._widths(columns, options.max_width)
            title = self.title if columns is blocks[0] else ""
            caption = self.caption if columns is blocks[-1] else ""
            drawn = rich.table.Table(
                title=rich_text(title) if title else None,
                title_justify="left",
                caption=rich_text(caption) if caption else None,
                caption_justify="left",
            )
            for column, width in zip(columns, widths, strict=True):
                drawn.add_column(
                    rich_text(self.headings[column]),
                    justify="left" if self._is_words(column) else "right",
                    width=width,
                    overflow="fold",
                )
            for row in self.rows:
                drawn.add_row(*(rich_text(row[column]) for column in columns))
            yield drawn

    def _is_words(self, column):
        return self.headings[column] in self.words

    def _least(self, column):
        """Returns the width at which no number and no word is broken."""
        parts = self.headings[column].split()
        for row in self.rows:
            cell = row[column]
            parts += cell.split() if self._is_words(column) else [cell]
        return max((rich_text(part).cell_len for part in parts), default=1)

    def _most(self, column):
        cells = [row[column] for row in (self.headings, *self.rows)]
        return max(1, *(rich_text(cell).cell_len for cell in cells))

    def _blocks(self, width):
        """Returns lists of columns, each with the first, that fit."""
        first, *others = range(len(self.headings))
        blocks = [[first]]
        for column in others:
            if _total([self._least(c) for c in [*blocks[-1], column]]) > width:
                if len(blocks[-1]) > 1:
                    blocks.append([first])
            blocks[-1].append(column)
        return blocks

    def _widths(self, columns, width):
        """Returns widths: columns of words shrink, the widest one first."""
        least = [self._least(column) for column in columns]
        widths = [self._most(column) for column in columns]
        while _total(widths) > width:
            slack = [
                wide * (wide > small)
                for wide, small in zip(widths, least, strict=True)
            ]
            if not any(slack):
                break  # A terminal too narrow for two columns.
            widths[slack.index(max(slack))] -= 1
        return widths


def _total(widths):
    return sum(widths) + 3 * len(widths) + 1
