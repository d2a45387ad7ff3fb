"""The table of a plan's contrasts: intervals, verdicts, claims."""

from keras_dropx.experiments.measures import describe, label
from keras_dropx.experiments.report.table import Table
from keras_dropx.experiments.statistics import compared, seeds_text

ACCURACY = describe("test_accuracy").text
EXPECTED = {"+": "higher", "-": "lower", "=": "equal", "": ""}
NUMBERS = ("difference", "interval")


def contrast_table(plan, records, looks=1):
    """Returns a table of the primary contrasts: intervals and verdicts.

    Where a paper says something of them, its sentences are in it, and whether
    they hold.
    """
    seeds = len({record["seed"] for record in records})
    title = f"Contrasts fixed before running, {seeds_text(seeds)}"
    if seeds < 5:
        title += " (a demonstration, not a test)"
    rows, claims = [], any(contrast.sentence for contrast in plan.contrasts)
    results = compared(records, plan.contrasts, looks)
    for contrast, result in zip(plan.contrasts, results, strict=True):
        metric = describe(contrast.metric, plan)
        difference, interval = "", result.why_no_interval
        if result.mean is not None:
            difference = metric.format(result.mean, "+")
        if result.low is not None:
            interval = metric.span(result, "+")
        row = [
            f"{label(contrast.treatment)} - {label(contrast.control)}",
            metric.text,
            difference,
            interval,
            verdict_text(contrast, result, seeds),
        ]
        if claims:
            outcome = claim_verdict(contrast, result)
            row += [EXPECTED[contrast.sign], outcome, contrast.sentence]
        rows.append(row)
    headings = ["contrast", "metric", *NUMBERS, "verdict"]
    if claims:
        headings += ["expected", "outcome", "claim"]
    words = tuple(h for h in headings if h not in NUMBERS)
    caption = f"t intervals, all {len(rows)} together at the 95 % level"
    if looks > 1:
        caption += f", with {looks} looks"
    caption += " (Bonferroni)"
    if any("*" in contrast.treatment for contrast in plan.contrasts):
        caption += "; *: the mean over all settings"
    return Table(headings, rows, words, title, caption)


def by_claim(table):
    """Returns a `contrast_table` with claims as a page shows it: they first."""
    rows, said = [], None
    for row in table.rows:
        cell = dict(zip(table.headings, row, strict=True))
        contrast = cell["contrast"]
        if cell["metric"] != ACCURACY:
            contrast += f", {cell['metric']}"
        if cell["expected"]:
            contrast += f": {cell['expected']}"
        outcome = cell["verdict"]
        if cell["outcome"] not in ("", "not resolved"):
            outcome = f"{cell['outcome']}: {outcome}"
        claim = "" if cell["claim"] == said else cell["claim"]
        said = cell["claim"]
        rows.append(
            [claim, contrast, cell["difference"], cell["interval"], outcome]
        )
    words = ("claim", "contrast: expected", "outcome")
    headings = [*words[:2], *NUMBERS, words[2]]
    caption = table.caption
    if any(ACCURACY in row for row in table.rows):
        caption += f"; of {ACCURACY}, where nothing else stands there"
    return Table(headings, rows, words, table.title, caption)


def verdict_text(contrast, result, seeds):
    """Returns the verdict of a contrast of some seeds as tables show it."""
    text = result.verdict
    notes = []
    if text == "equal":
        text += f" within {contrast.margin:g}"
    if result.seeds_needed:
        more = result.seeds_needed - result.count
        notes.append(f"about {more:,} more seed{'s' if more > 1 else ''}")
    if result.diverged:
        notes.append(f"{result.diverged} of {seeds} diverged")
    elif 0 < result.count < seeds:
        notes.append(f"{result.count} of {seeds} pairs")
    return f"{text} ({', '.join(notes)})" if notes else text


def claim_verdict(contrast, result):
    """Returns "holds", "does not hold" or "not resolved"; "" of no claim."""
    if not contrast.sign:
        return ""
    if result.verdict == "not resolved":
        return result.verdict
    holds = result.verdict == EXPECTED[contrast.sign]
    if contrast.sign == "=":
        holds = -contrast.margin < result.low and result.high < contrast.margin
    return "holds" if holds else "does not hold"
