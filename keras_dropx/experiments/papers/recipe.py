import dataclasses
import re

from keras_dropx.experiments.plan import Deviation, check_count, check_name

__all__ = ["Deviation", "Recipe", "on_dataset"]

# A flipped 2 is no 2.
DIRECTED = ("mnist", "svhn_cropped", "svhn_cropped+extra", "digits")
# Whole sets of images too many, or too varied, for the memory.
STREAMED = ("imagenet2012",)
# What takes the place of a stream's own crops and standardisation.
IN_MEMORY = {
    "streamed": False,
    "preparation": (("scale",), ("standardize",)),
    "augmentation": "pad-4-crop-flip",
}
STREAM = {"streamed": True, "preparation": (), "augmentation": None}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A table or a figure of a paper, as data.

    Attributes:
        name: String, what `dropx reproduce` takes.
        title: String, what is shown.
        paper: The paper as `results.csv` names it.
        plans: Tuple of `plan.Plan`s: the columns of a table.
        deviations: Tuple of `Deviation`s.
        seeds: Integer, runs of each method; the paper's where it says.
        tables: The tables of `results.csv` that hold its numbers; none for
            most figures.
        figure: Key of `figures.FIGURES`, or None: accuracies.
        pretrained: Whether the training starts from given weights.

    Raises:
        ValueError: If an argument is no such thing.
    """

    name: str
    title: str
    paper: str
    plans: tuple
    deviations: tuple
    seeds: int
    tables: tuple = ()
    figure: str | None = None
    pretrained: bool = False

    def __post_init__(self):
        for name in ("name", "title", "paper"):
            check_name(name, getattr(self, name))
        check_count("seeds", self.seeds)


def on_dataset(recipe, dataset):
    """Returns a recipe on another data set.

    Plans of one network become one, with the methods of all. It is trained as
    the recipe trains that network on this data set, or else as on its first.
    A data set that is read as a stream is prepared by the stream alone.
    """
    groups = {}
    for plan in recipe.plans:
        words = [plan.network.__name__, *map(str, plan.options.values())]
        network = re.sub(r"[^\w.]+", "_", "_".join(words)).strip("_")
        groups.setdefault(network, []).append(plan)
    plans = []
    for network, group in groups.items():
        own = [plan for plan in group if plan.dataset == dataset]
        chosen = (own or group)[0]
        if (dataset in STREAMED) != chosen.streamed:
            images = IN_MEMORY if chosen.streamed else STREAM
            chosen = dataclasses.replace(chosen, **images)
        augmentation = chosen.augmentation
        if augmentation is not None and dataset in DIRECTED:
            augmentation = augmentation.removesuffix("-flip")
        methods = {
            method.name: method for plan in group for method in plan.methods
        }
        contrasts = dict.fromkeys(
            contrast for plan in group for contrast in plan.contrasts
        )
        plans.append(
            dataclasses.replace(
                chosen,
                name=f"{network}/{dataset}",
                dataset=dataset,
                methods=tuple(methods.values()),
                contrasts=tuple(contrasts),
                augmentation=augmentation,
            )
        )
    return dataclasses.replace(recipe, plans=tuple(plans))
