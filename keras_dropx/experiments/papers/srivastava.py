"""Srivastava et al., 2014: Dropout, JMLR 15, by way of a reading note."""

from keras_dropx.experiments import networks
from keras_dropx.experiments.papers.recipe import Recipe
from keras_dropx.experiments.plan import Deviation, Method, Plan
from keras_dropx.layers import AugmentedDropout

PAPER = "dropout-reading-note"
MNIST_RATES = (0.2, 0.5, 0.5, 0.5)
CIFAR_RATES = (0.1, 0.25, 0.25, 0.5, 0.5, 0.5)
FREE = {"max_norm": None}
NOTE = Deviation(
    "numbers",
    "approximate, from a reading note",
    "as the note prints them",
    "the note is what is at hand of that paper",
)
MNIST = Recipe(
    name="srivastava-mnist",
    title="A fully connected network on MNIST, with dropout and without",
    paper=PAPER,
    tables=("MNIST",),
    plans=(
        Plan(
            name="srivastava_mlp/mnist",
            claim="Does dropout help a fully connected network?",
            network=networks.srivastava_mlp,
            methods=(
                Method("no dropout", options=FREE),
                Method(
                    "dropout",
                    AugmentedDropout,
                    rates=MNIST_RATES,
                    options=FREE,
                ),
                Method("dropout+max-norm", AugmentedDropout, rates=MNIST_RATES),
                Method(
                    "remasked",
                    AugmentedDropout,
                    rates=MNIST_RATES,
                    options=FREE,
                    mask_offset=1,
                ),
            ),
            contrasts=(),
            epochs=200,
            batch_size=100,
            learning_rate=0.1,
            measures=frozenset({"curve"}),
            dataset="mnist",
            momentum=0.95,
            drops=(0.5, 0.75),
            printed=("fully connected", "MNIST"),
        ),
    ),
    deviations=(
        NOTE,
        Deviation(
            "training",
            "not stated",
            "SGD, momentum 0.95, rate 0.1 divided by ten at 1/2 and 3/4 of "
            "200 epochs, batch 100",
            "the note recommends a high rate and momentum",
        ),
        Deviation(
            "convnet on MNIST, 0.79 %",
            "a convnet with dropout",
            "not run",
            "the note does not say which network",
        ),
    ),
    seeds=5,
)
CIFAR10 = Recipe(
    name="srivastava-cifar10",
    title="A convnet on CIFAR-10, with dropout and with max-norm",
    paper=PAPER,
    tables=("CIFAR-10",),
    plans=(
        Plan(
            name="srivastava_convnet/cifar10",
            claim="Do dropout and max-norm help a convnet?",
            network=networks.srivastava_convnet,
            methods=(
                Method("no dropout", options=FREE),
                Method(
                    "dropout",
                    AugmentedDropout,
                    rates=CIFAR_RATES,
                    options=FREE,
                ),
                Method("dropout+max-norm", AugmentedDropout, rates=CIFAR_RATES),
                Method(
                    "remasked",
                    AugmentedDropout,
                    rates=CIFAR_RATES,
                    options=FREE,
                    mask_offset=1,
                ),
            ),
            contrasts=(),
            epochs=200,
            batch_size=128,
            learning_rate=0.01,
            measures=frozenset({"curve"}),
            dataset="cifar10",
            preparation=(("gcn", 55.0), ("zca", 0.1)),
            momentum=0.95,
            drops=(0.5, 0.75),
            printed=("convnet", "CIFAR10"),
        ),
    ),
    deviations=(
        NOTE,
        Deviation(
            "training",
            "not stated",
            "SGD, momentum 0.95, rate 0.01 divided by ten at 1/2 and 3/4 of "
            "200 epochs, batch 128; global contrast normalisation and ZCA",
            "the preprocessing of Srivastava et al., the rest usual",
        ),
    ),
    seeds=5,
)
RECIPES = (MNIST, CIFAR10)
