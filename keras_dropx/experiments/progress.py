"""What a command shows while it works: a console and bars of progress."""

import contextlib
import sys

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)


def make_console():
    """Returns the console of a command."""
    # Names and reasons that are printed are text: `[b]` stays `[b]`.
    return Console(
        file=sys.stdout,
        # A pipe has no width of its own.
        width=None if sys.stdout.isatty() else 120,
        markup=False,
        emoji=False,
    )


def sayer(console):
    """Returns a `say` for `run` that prints to a console."""
    return lambda text: console.print(text, soft_wrap=True)


def progress_bar(console, unit, **options):
    """Returns a `rich.progress.Progress` that counts units."""
    return Progress(
        TextColumn("{task.description:<50}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        console=console,
        **options,
    )


@contextlib.contextmanager
def epochs_shown(console, total, waiting="reading data", disable=False):
    """Shows a progress bar that counts epochs, unless it is disabled.

    Yields:
        Function of (plan) that returns a `progress` for `run`.
    """
    with progress_bar(console, "epochs", disable=disable) as bar:
        task = bar.add_task(waiting, total=total)

        def of(plan):
            def progress(method, seed, done):
                text = f"{plan.name} · {method} · seed {seed}"
                bar.update(task, advance=done, description=text)

            return progress

        yield of
