"""The scoreboard: every claim of the papers, and what it came to."""

from typing import NamedTuple

from keras_dropx.experiments.measures import describe, label
from keras_dropx.experiments.papers import printed
from keras_dropx.experiments.report.contrast_table import claim_verdict
from keras_dropx.experiments.report.method_table import setting_text
from keras_dropx.experiments.report.table import Table
from keras_dropx.experiments.report.text import markdown_text
from keras_dropx.experiments.statistics import compared

OUTCOMES = ("holds", "does not hold", "not resolved")
MARKS = dict(zip(OUTCOMES, "✓✗○", strict=True))
# In the order of `papers.RECIPES`; how the names of its recipes begin.
PAPERS = {
    "augmented": "Augmented dropout",
    "jumpout": "Jumpout",
    "gaaf": "GAAF",
    "srivastava": "Dropout and max-norm",
}
# What a paper calls a network by that of a data set.
NETWORKS = {"CIFAR10(s)": "small CNN"}
PLACES = {"+": "above", "-": "below", "=": "equal to"}


class Claim(NamedTuple):
    """A claim, where it was tried, and what was found.

    Attributes:
        paper: Key of `PAPERS`.
        recipe: Name of the recipe.
        network: String.
        dataset: String.
        setting: String, what was trained on and how long.
        seeds: Integer.
        contrast: `plan.Contrast` with a sign.
        metric: `measures.Metric`.
        result: `statistics.Interval`.
    """

    paper: str
    recipe: str
    network: str
    dataset: str
    setting: str
    seeds: int
    contrast: object
    metric: object
    result: object

    @property
    def outcome(self):
        """One of `OUTCOMES`."""
        return claim_verdict(self.contrast, self.result)

    @property
    def statement(self):
        """What is claimed of which methods, a sentence."""
        text = (
            f"{label(self.contrast.treatment)} is "
            f"{PLACES[self.contrast.sign]} {label(self.contrast.control)}"
        )
        if self.contrast.metric != "test_accuracy":
            text += f" in {self.metric.text.split(', %')[0].split(', nats')[0]}"
        return text

    @property
    def found(self):
        """The outcome, the difference and its interval, a string."""
        metric, result = self.metric, self.result
        text = f"{MARKS[self.outcome]} {self.outcome}"
        ends = metric.span(result, "+")
        if result.mean is None:
            return f"{text} ({ends})"
        amount = f"{metric.format(result.mean, '+')} {metric.unit}".strip()
        return f"{text}: {amount} ({ends})"


def paper_of(recipe):
    """Returns the key of `PAPERS` that a recipe belongs to."""
    return recipe.name.partition("-")[0]


def network_of(recipe, plan):
    """Returns what the paper calls the network of a plan."""
    name = printed.original(recipe, plan)[0][0][0]
    return NETWORKS.get(name, name)


def claims_of(studies):
    """Lists the `Claim`s of what `studies.studies` returns."""
    return [
        Claim(
            paper_of(recipe),
            recipe.name,
            network_of(recipe, plan),
            plan.dataset,
            f"{setting_text(records[0])}, {records[0].get('precision', '')}",
            len({record["seed"] for record in records}),
            contrast,
            describe(contrast.metric, plan),
            result,
        )
        for recipe, plan, records in studies
        if recipe is not None
        for contrast, result in zip(
            plan.contrasts, compared(records, plan.contrasts), strict=True
        )
        if contrast.sign
    ]


def counts(claims, papers):
    """Returns Markdown: how many claims of each paper hold on which images."""
    lines = [
        "| paper | data set | claims | ✓ hold | ✗ do not | ○ not resolved |",
        "| --- | --- | --: | --: | --: | --: |",
    ]
    for paper in papers:
        own = [claim for claim in claims if claim.paper == paper]
        for dataset in dict.fromkeys(claim.dataset for claim in own):
            found = [c.outcome for c in own if c.dataset == dataset]
            cells = [len(found), *map(found.count, OUTCOMES)]
            lines.append(
                f"| [{PAPERS[paper]}]({paper}.md) | {markdown_text(dataset)} | "
                f"{' | '.join(map(str, cells))} |"
            )
    return "\n".join(lines)


def scoreboard(claims):
    """Returns the table of a paper's claims, a column for each data set.

    What a paper says again of another network stands below it.
    """
    groups = {}
    for claim in claims:
        # Of the same margin and sign, if it is the same claim.
        places = groups.setdefault(claim.contrast, {})
        place = (claim.network, claim.recipe)
        places.setdefault(place, []).append(claim)
    datasets = list(dict.fromkeys(claim.dataset for claim in claims))
    rows, said = [], None
    for contrast, places in groups.items():
        sentence = contrast.sentence
        for number, ((network, recipe), own) in enumerate(places.items()):
            row = ["" if sentence == said else sentence]
            row.append("" if number else own[0].statement)
            row.append(f"{network}, {recipe.partition('-')[2]}")
            for dataset in datasets:
                found = [claim for claim in own if claim.dataset == dataset]
                # The same plan, trained in several ways.
                many = len(found) > 1
                cells = [c.found + f", {c.setting}" * many for c in found]
                row.append("; ".join(cells))
            rows.append(row)
            said = sentence
    headings = ["the paper says", "that is", "where", *datasets]
    return Table(headings, rows, tuple(headings))
