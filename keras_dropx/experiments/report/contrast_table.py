"""The table of a plan's contrasts: intervals, verdicts, claims."""

from keras_dropx.experiments.measures import describe, label
from keras_dropx.experiments.report.table import Table
from keras_dropx.experiments.statistics import compared, seeds_text

EXPECTED = {"+": "higher", "-": "lower", "=": "equal"}


def contrast_table(plan, records, looks=1):
    """Returns a table of the primary contrasts: intervals and verdicts.

    Where a paper says something of them, its sentences come first, and the
    verdicts say whether they hold.
    """
    seeds = len({record["seed"] for record in records})
    title = f"Contrasts fixed before running, {seeds_text(seeds)}"
    if seeds < 5:
        title += " (a demonstration, not a test)"
    words = ("contrast", "metric", "verdict")
    claims = any(contrast.sentence for contrast in plan.contrasts)
    if claims:
        words = ("claim", "contrast: expected", "outcome")
    rows, said = [], None
    results = compared(records, plan.contrasts, looks)
    for contrast, result in zip(plan.contrasts, results, strict=True):
        metric = describe(contrast.metric, plan)
        difference = ""
        if result.mean is not None:
            difference = metric.format(result.mean, "+")
        first = f"{label(contrast.treatment)} - {label(contrast.control)}"
        second, verdict = metric.text, verdict_text(contrast, result, seeds)
        if claims:
            second = first
            if contrast.metric != "test_accuracy":
                second += f", {metric.text}"
            if contrast.sign:
                second += f": {EXPECTED[contrast.sign]}"
            outcome = claim_verdict(contrast, result)
            if outcome not in ("", "not resolved"):
                verdict = f"{outcome}: {verdict}"
            first = "" if contrast.sentence == said else contrast.sentence
            said = contrast.sentence
        interval = metric.span(result, "+")
        rows.append([first, second, difference, interval, verdict])
    caption = f"t intervals, all {len(rows)} together at the 95 % level"
    if looks > 1:
        caption += f", with {looks} looks"
    caption += " (Bonferroni)"
    if any("*" in contrast.treatment for contrast in plan.contrasts):
        caption += "; *: the mean over all settings"
    if claims and any(c.metric == "test_accuracy" for c in plan.contrasts):
        caption += "; of accuracy, %, where nothing else stands there"
    headings = [*words[:2], "difference", "interval", words[2]]
    return Table(headings, rows, words, title, caption)


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
