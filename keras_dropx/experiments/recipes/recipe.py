from typing import NamedTuple


class Choice(NamedTuple):
    """Something that a paper does not state, or prints wrongly.

    Attributes:
        what: String.
        printed: As the paper prints it; "not stated" where it does not.
        used: As it is used here.
        why: The reason.
    """

    what: str
    printed: str
    used: str
    why: str


class Recipe(NamedTuple):
    """A table or a figure of a paper, as data.

    Attributes:
        name: String, what `dropx reproduce` takes.
        title: String, what is shown.
        paper: The paper as `results.csv` names it.
        tables: The tables of `results.csv` that hold its numbers; none for
            most figures.
        panels: Tuple of `panel.Panel`s: the columns of a table.
        choices: Tuple of `Choice`s.
        seeds: Integer, runs of each arm; the paper's where it says.
        figure: Key of `figures.FIGURES`, or None: accuracies.
        pretrained: Whether the training starts from given weights.
    """

    name: str
    title: str
    paper: str
    tables: tuple
    panels: tuple
    choices: tuple
    seeds: int
    figure: str | None = None
    pretrained: bool = False


def on_dataset(recipe, dataset):
    """Returns a recipe on another data set.

    Panels that then differ in their arms only become one.

    Args:
        recipe: `Recipe`.
        dataset: TFDS name.
    """
    merged = {}
    for panel in recipe.panels:
        network = "_".join(
            [panel.network.__name__, *map(str, panel.options.values())]
        )
        arms, contrasts = panel.arms, panel.contrasts
        if network in merged:
            before = merged[network]
            arms = {arm.name: arm for arm in (*before.arms, *arms)}.values()
            contrasts = dict.fromkeys((*before.contrasts, *contrasts))
            panel = before
        merged[network] = panel._replace(
            name=f"{network}/{dataset}",
            dataset=dataset,
            arms=tuple(arms),
            contrasts=tuple(contrasts),
        )
    return recipe._replace(panels=tuple(merged.values()))
