"""The plain sentence that the intervals of a plan allow."""

import numpy as np

from keras_dropx.experiments.measures import (
    REESTIMATED,
    describe,
    label,
    value,
)
from keras_dropx.experiments.report.contrast_table import claim_verdict
from keras_dropx.experiments.report.method_table import mean_error, runs_of
from keras_dropx.experiments.statistics import (
    by_seed,
    compare,
    compared,
    paired,
    seeds_text,
)


def sentence(plan, records, looks=1):
    """Returns what the intervals of a plan say, in plain words."""
    results = compared(records, plan.contrasts, looks)
    pairs = list(zip(plan.contrasts, results, strict=True))
    seeds = len({record["seed"] for record in records})
    parts = [
        _resolved(contrast, result, plan)
        for contrast, result in pairs
        if result.verdict != "not resolved"
    ]
    unresolved = [p for p in pairs if p[1].verdict == "not resolved"]
    if unresolved and seeds == 1:
        parts.append("With 1 seed there is no interval: nothing is told apart.")
    elif unresolved:
        parts.append(_unresolved(unresolved, bool(parts), seeds, plan))
    parts += _incomplete(plan, records, seeds)
    parts += _batch_norm(plan, records, looks)
    claims = [claim_verdict(*pair) for pair in pairs if pair[0].sign]
    if claims:
        holds, fails = claims.count("holds"), claims.count("does not hold")
        parts.append(
            f"Of {len(claims)} claim{'s' * (len(claims) > 1)} {holds} "
            f"hold{'s' * (holds == 1)}, {fails} do{'es' * (fails == 1)} not, "
            f"{len(claims) - holds - fails} not resolved."
        )
    elif pairs and seeds > 1:
        parts += _keep(pairs, plan)
    return " ".join(parts)


def _resolved(contrast, result, plan):
    metric = describe(contrast.metric, plan)
    treatment, control = label(contrast.treatment), label(contrast.control)
    if result.verdict == "equal":
        return _start(
            f"{treatment} equals {control} within "
            f"{metric.amount(contrast.margin)}."
        )
    verb = "is above" if result.verdict == "higher" else "is below"
    if metric.better is not None:
        verb = "beats" if _better(metric, result) else "loses to"
    low, high = sorted((abs(result.low), abs(result.high)))
    size = result._replace(mean=abs(result.mean), low=low, high=high)
    small = ""
    if contrast.margin is not None and high < contrast.margin:
        small = f", less than the {contrast.margin:g} that matter"
        small += "s" * (contrast.margin == 1)
    return _start(
        f"{treatment} {verb} {control} by {_amount(metric, size)}{small}."
    )


def _amount(metric, result):
    """Returns a difference with its unit and its interval."""
    mean = metric.format(result.mean)
    return f"{mean} {metric.unit} ({metric.span(result)})"


def _unresolved(pairs, others, seeds, plan):
    """Returns what is not resolved, and how many seeds would do."""
    if len(pairs) == 1:
        ((contrast, _),) = pairs
        text = (
            f"{label(contrast.treatment)} is not told apart from "
            f"{label(contrast.control)}"
        )
    elif others:
        text = f"the other {len(pairs)} contrasts are not resolved"
    else:
        text = f"none of the {len(pairs)} contrasts is resolved"
    text += f" with {seeds_text(seeds)}"
    results = [result for _, result in pairs]
    needed = [result for result in results if result.seeds_needed]
    if needed:
        number = f"{_span(r.seeds_needed - r.count for r in needed)} more"
        # What to ask for, unless runs of these seeds are missing.
        if all(result.count == seeds for result in needed):
            number += f" ({_span(r.seeds_needed for r in needed)} in all)"
        goals = {
            "differences as large as those seen"
            if contrast.margin is None
            else describe(contrast.metric, plan).amount(contrast.margin)
            for contrast, result in pairs
            if result.seeds_needed
        }
        goal = goals.pop() if len(goals) == 1 else "what matters"
        text += f"; about {number} would resolve {goal}"
    equal = sum(result.has_no_spread for result in results)
    if needed and equal:
        verb = "has" if equal == 1 else "have"
        text += f"; {equal} of them {verb} no spread to estimate it from"
    elif equal:
        text += (
            "; differences without spread do not tell how many more would do"
        )
    return _start(text + ".")


def _span(numbers):
    """Returns the least and the most of some integers, "3" or "3 to 5"."""
    numbers = list(numbers)
    least, most = min(numbers), max(numbers)
    return f"{most:,}" if least == most else f"{least:,} to {most:,}"


def _incomplete(plan, records, seeds):
    """Returns which methods diverged, and which lack runs."""
    parts = []
    metrics = {"test_loss", "loss", *(c.metric for c in plan.contrasts)}
    for method in plan.methods:
        runs = runs_of(records, method.name)
        diverged = sum(
            any(
                not np.isfinite(number)
                for metric in metrics
                if (number := value(run, metric)) is not None
            )
            for run in runs
        )
        name = _start(label(method.name))
        if diverged:
            many = seeds_text(len(runs))
            parts.append(f"{name} diverged under {diverged} of {many}.")
        if len(runs) < seeds:
            many = seeds_text(seeds)
            parts.append(f"{name} was run under {len(runs)} of {many}.")
    return parts


def _batch_norm(plan, records, looks):
    """Returns what clean batch statistics do for dropout, if that is a gain."""
    metric = next(
        (c.metric for c in plan.contrasts if c.metric.startswith("test_")), ""
    )
    again = REESTIMATED + metric.removeprefix("test_")
    after = by_seed(records, "dropout", again)
    before = by_seed(records, "dropout", metric)
    shown = describe(metric, plan)
    if not after or shown.better is None:
        return []
    sign = shown.scale if shown.better == "max" else -shown.scale
    gain = [
        sign * (after[s] - before[s])
        for s in sorted(after.keys() & before.keys())
    ]
    margins = [c.margin for c in plan.contrasts if c.metric == metric]
    (result,) = compare([gain], margins[:1], looks * len(plan.contrasts))
    if result.verdict != "higher" or result.high < (margins[0] or 0):
        return []
    text = (
        f"Dropout gains {_amount(shown, result)} by "
        "`keras_dropx.models.reestimate_batch_norm`, which repairs the "
        "statistics that batch normalisation collected under its noise"
    )
    for name in ("none", "plain"):
        plain = by_seed(records, name, metric)
        lost = [sign * (plain[s] - before[s]) for s in plain.keys() & after]
        if lost and np.mean(lost) > 0:
            share = min(result.mean / np.mean(lost), 1)
            text += f": {100 * share:.0f} % of what it loses to {label(name)}"
    return [f"{text}."]


def _keep(pairs, plan):
    """Returns that nothing beats dropout, if nothing that matters does."""
    names = [method.name for method in plan.methods]
    own = "dropout" if "dropout" in names else pairs[0][0].control
    for contrast, result in pairs:
        metric = describe(contrast.metric, plan)
        if result.verdict not in ("higher", "lower") or metric.better is None:
            continue
        winner, loser = contrast.treatment, contrast.control
        if not _better(metric, result):
            winner, loser = loser, winner
        ends = abs(result.low), abs(result.high)
        small = contrast.margin is not None and max(ends) < contrast.margin
        if loser == own and not small:
            return []
    return [f"Keep what you have: nothing is shown to beat {label(own)}."]


def _better(metric, result):
    return (result.verdict == "higher") == (metric.better == "max")


def _start(text):
    if text.startswith("gaaf"):
        return "GAAF" + text[4:]
    return text[:1].upper() + text[1:]


def noise_floor(plan, records):
    """Returns a sentence: what other masks alone do to a method, or None."""
    if plan.floor is not None:
        floors = [(plan.floor.metric, plan.floor.treatment, plan.floor.control)]
    else:
        names = [method.name for method in plan.methods]
        floors = [
            ("test_accuracy", m.name, control)
            for m in plan.methods
            if m.mask_offset and m.name.startswith("remasked")
            for control in (m.name.replace("remasked", "standard"), "dropout")
            if control in names
        ]
    if not floors:
        return None
    metric, treatment, control = floors[0]
    difference = paired(records, metric, treatment, control)
    difference = difference[np.isfinite(difference)]
    if not len(difference):
        return None
    metric = describe(metric, plan)
    text = mean_error(difference, lambda d: metric.format(d, "+"))
    note = "" if len(difference) > 1 else ", one seed"
    return (
        f"Noise floor: {label(control)} under other masks differs by {text} "
        f"{metric.unit}{note}."
    )
