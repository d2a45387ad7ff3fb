import re
from typing import NamedTuple

# A flipped 2 is no 2.
DIRECTED = ("mnist", "svhn_cropped", "svhn_cropped+extra", "digits")


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

    Panels of one network become one, with the arms of all. It is trained as
    the recipe trains that network on this data set, or else as on its first.

    Args:
        recipe: `Recipe`.
        dataset: TFDS name.
    """
    groups = {}
    for panel in recipe.panels:
        words = [panel.network.__name__, *map(str, panel.options.values())]
        network = re.sub(r"[^\w.]+", "_", "_".join(words)).strip("_")
        groups.setdefault(network, []).append(panel)
    panels = []
    for network, group in groups.items():
        own = [panel for panel in group if panel.dataset == dataset]
        chosen = (own or group)[0]
        augmentation = chosen.augmentation
        if augmentation is not None and dataset in DIRECTED:
            augmentation = augmentation.removesuffix("-flip")
        arms = {arm.name: arm for panel in group for arm in panel.arms}
        contrasts = dict.fromkeys(
            contrast for panel in group for contrast in panel.contrasts
        )
        panels.append(
            chosen._replace(
                name=f"{network}/{dataset}",
                dataset=dataset,
                arms=tuple(arms.values()),
                contrasts=tuple(contrasts),
                augmentation=augmentation,
            )
        )
    return recipe._replace(panels=tuple(panels))
