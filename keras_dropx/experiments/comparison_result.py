"""What `compare` returns: a sentence, tables, a figure, a page."""

import dataclasses
import functools
import io
import shutil
import textwrap
from pathlib import Path

import numpy as np

from keras_dropx.errors import invalid
from keras_dropx.experiments.files import write_atomically
from keras_dropx.experiments.measures import REESTIMATED, describe
from keras_dropx.experiments.statistics import (
    by_seed,
    compared,
    standard_error,
)

HELD = (
    "For all methods of a seed these are the same: the initial weights (those "
    "of the model without dropout), the optimizer's start, the order of the "
    "batches, the words from which the forward masks are made, and the seeds "
    "of all other random layers. Evaluated is the last epoch on the test data."
)


@dataclasses.dataclass(eq=False, repr=False)
class Comparison:
    """The result of `compare`; `str()` is the sentence, then tables.

    Attributes:
        plan: `plan.Plan` of the methods and contrasts.
        metric: String, name of the metric.
        direction: "max" or "min": which is better.
        margin: Float, the smallest difference that matters, or None.
        looks: Integer, over how many looks the level is split.
        records: List of dicts, one a run: method, seed, `test_…` for all that
            `evaluate` returns, `reestimated_…` with batch statistics
            re-estimated, train_loss of each epoch, step_ms.
        call: String, the code or the command that repeats it.
    """

    plan: object
    metric: str
    direction: str
    margin: float | None
    looks: int
    call: str
    records: list = ()

    def __post_init__(self):
        self.records = [_marked(r, self.metric) for r in self.records]

    @functools.cached_property
    def seeds(self):
        """List of the seeds."""
        return sorted({record["seed"] for record in self.records})

    def values(self, method, key=None):
        """Returns a dict from seed to a number of a method's records.

        Args:
            method: String, the method's name.
            key: Key of a record. None: the metric on the test data, NaN of
                a run that diverged.
        """
        key = key or f"test_{self.metric}"
        return by_seed([r for r in self.records if key in r], method, key)

    def differences(self, treatment, control):
        """Returns treatment minus control in the metric, over the seeds."""
        a, b = self.values(treatment), self.values(control)
        return np.array([a[s] - b[s] for s in self.seeds if s in a and s in b])

    @functools.cached_property
    def rows(self):
        """List of dicts, one a method: its mean and standard error."""
        rows = []
        for method in self.plan.methods:
            row = {
                "method": method.name,
                "runs": len(self.values(method.name)),
                "diverged": sum(self.values(method.name, "diverged").values()),
            }
            for prefix, key in (("", "test_"), (REESTIMATED, REESTIMATED)):
                found = self.values(method.name, f"{key}{self.metric}").values()
                values = [value for value in found if np.isfinite(value)]
                if found or not prefix:
                    mean = float(np.mean(values)) if values else None
                    row[f"{prefix}mean"] = mean
                    row[f"{prefix}standard_error"] = standard_error(values)
            rows.append(row)
        return rows

    @functools.cached_property
    def contrasts(self):
        """List of dicts, one a contrast, with its simultaneous interval."""
        found = compared(self.records, self.plan.contrasts, self.looks)
        scale = describe(f"test_{self.metric}").scale
        rows = []
        for contrast, interval in zip(self.plan.contrasts, found, strict=True):
            row = {
                "treatment": contrast.treatment,
                "control": contrast.control,
                **interval._asdict(),
            }
            for key in ("mean", "low", "high"):
                row[key] = None if row[key] is None else row[key] / scale
            rows.append(row)
        return rows

    @property
    def resolved(self):
        """Whether more seeds could tell nothing more."""
        return all(
            contrast["verdict"] != "not resolved" for contrast in self.contrasts
        )

    @property
    def seeds_needed(self):
        """Integer, seeds that would about resolve all contrasts, or None.

        To the margin; without one, to the differences seen. None where all are
        resolved, or nothing says so.
        """
        needed = [c["seeds_needed"] for c in self.contrasts]
        return max((n for n in needed if n is not None), default=None)

    @property
    def verdict(self):
        """What the intervals allow to say, a string of sentences."""
        from keras_dropx.experiments.report.sentence import sentence

        return sentence(self.plan, self.records, self.looks)

    def __str__(self):
        from rich.console import Console

        from keras_dropx.experiments.report.show import results

        width = shutil.get_terminal_size().columns
        console = Console(file=io.StringIO(), width=width, color_system=None)
        for part in results(self.plan, self.records, looks=self.looks):
            if isinstance(part, str):
                console.out(part, highlight=False)
            else:
                console.print(part)
        lines = console.file.getvalue().strip().splitlines()
        return "\n".join(line.rstrip() for line in lines)

    def __repr__(self):
        return f"<Comparison: {self.verdict}>"

    def figure(self):
        """Draws the paired differences with their intervals.

        Returns:
            `matplotlib.figure.Figure`.
        """
        from keras_dropx.experiments.report.figures import figure

        return figure(
            None, self.plan, self.records, self.plan.claim, self.looks
        )

    def report(self, path):
        """Writes a page, `.md` (and a `.png` beside it) or `.html`.

        The HTML page holds all it shows.

        Args:
            path: Path whose ending is `.md` or `.html`.

        Raises:
            ValueError: If it ends otherwise.
            OSError: If it cannot be written; nothing is left half-written.
        """
        write_page(self, path)


def write_page(comparison, path, end=""):
    """Does what `Comparison.report` says; `end` is Markdown that follows."""
    from keras_dropx.experiments.report import page
    from keras_dropx.experiments.report.paper_page import as_markdown
    from keras_dropx.experiments.report.show import results

    path = Path(path)
    if path.suffix not in (".md", ".html"):
        raise invalid("path", "a path that ends in .md or .html", str(path))
    place = path.with_suffix(".png")
    image = page.png_of(comparison.figure())
    records = comparison.records
    said, *tables = results(comparison.plan, records, looks=comparison.looks)
    made = (
        f"{page.versions_of(records)}; backend {records[0]['backend']}; "
        f"precision {records[0]['precision']}."
    )
    text = "\n\n".join(
        [
            "# Does it help?",
            as_markdown(said),
            f"![Paired differences]({place.name})",
            *map(as_markdown, tables),
            "## Held equal",
            HELD,
            "## Repeat it",
            textwrap.indent(comparison.call, "    "),
            f"Seeds: {', '.join(map(str, comparison.seeds))}.",
            "## Versions",
            page.markdown_text(made) + "\n" + end,
        ]
    )
    if path.suffix == ".md":
        write_atomically(place, image)
    else:
        text = page.html_page("Does it help?", text, {place.name: image})
    write_atomically(path, text)


def _marked(record, metric):
    numbers = [
        *record.get("train_loss", ()),
        record.get("test_loss", 0.0),
        record.get(f"test_{metric}", 0.0),
    ]
    return {**record, "diverged": not np.isfinite(numbers).all()}
