"""Hahn, Choi, 2018: Gradient Acceleration in Activation Functions."""

from dataclasses import replace
from functools import partial

import keras

from keras_dropx.experiments import networks
from keras_dropx.experiments.baselines import SmoothedGradientDense
from keras_dropx.experiments.baselines.gain_matched import gaaf_control
from keras_dropx.experiments.papers.recipe import Recipe
from keras_dropx.experiments.plan import Deviation, Method, Plan
from keras_dropx.layers import GAAF, AugmentedDropout

PAPER = "gaaf"
RATE = 0.5


def tanh():
    return keras.layers.Activation("tanh")


def smoothed(units, name, rate):
    # No dropout is before the first layer.
    rate = 0.0 if name == "hidden_1" else rate
    return SmoothedGradientDense(units, rate, "tanh", name=name)


BASE = Method("base", None, tanh)
DROPOUT = Method("dropout", lambda: AugmentedDropout(RATE), tanh)
ACCELERATED = Method("gaaf", None, lambda: GAAF("tanh"))
MNIST = Plan(
    name="gaaf_mlp/mnist",
    claim="Is GAAF's gain more than a larger gradient?",
    network=networks.gaaf_mlp,
    methods=(
        BASE,
        DROPOUT,
        ACCELERATED,
        Method("gaaf-control", None, lambda: gaaf_control("tanh")),
        Method("base-double-rate", None, tanh, learning_rate=2.0),
        Method(
            "gaaf-smoothed", options={"hidden": partial(smoothed, rate=RATE)}
        ),
        replace(DROPOUT, name="remasked", mask_offset=1),
    ),
    contrasts=(),
    epochs=200,
    batch_size=128,
    learning_rate=0.01,
    measures=frozenset({"convergence", "saturation"}),
    dataset="mnist",
    printed=("MLP 512-256-256-10", "MNIST"),
)
CHOICES = (
    Deviation(
        "optimizer, learning rate, batch",
        "not stated, but for a batch of 128",
        "SGD, momentum 0.9, rate 0.01, batch 128",
        "under Adam a gain of the gradient is divided out",
    ),
    Deviation(
        "rate of dropout",
        "not stated; usually 0.5",
        "0.5 behind each hidden layer",
        "the paper has no dropout on its input",
    ),
    Deviation(
        "epochs to converge",
        "no criterion",
        "the first epoch whose training loss, without dropout, is at most "
        "0.02 nats",
        "one criterion for all methods, which no test image enters",
    ),
    Deviation(
        "shape functions",
        "drawn in Figure 4, no formula",
        "exp(-x²/4) for tanh, sigmoid(5(x + 0.5)) for ReLU",
        "fitted to the figure with an error below 0.01",
    ),
    Deviation(
        "N of Eq. 5",
        "the number of nodes in the layer",
        "the number of samples",
        "the sum runs over samples",
    ),
    Deviation(
        "methods gaaf-control, base-double-rate, gaaf-smoothed",
        "none",
        "the base network with GAAF's mean gain, at twice the learning rate, "
        "and with the slope that dropout's net variance would leave",
        "more slope alone is a larger learning rate in the layers below",
    ),
)
TABLE_1 = Recipe(
    name="gaaf-table-1",
    title="Gradient information with dropout and without",
    paper=PAPER,
    tables=("1", "5.1"),
    plans=(
        replace(
            MNIST,
            claim="Does dropout raise the gradient in each layer?",
            methods=MNIST.methods[:4],
            measures=frozenset({"gradient_information"}),
        ),
    ),
    deviations=(
        *CHOICES,
        Deviation(
            "batch of the gradient information",
            "not stated",
            "the same 128 training images at ten epochs, averaged over them",
            "so that all methods are measured on the same images",
        ),
    ),
    seeds=5,
    figure="gradient_information",
)
TABLE_2 = Recipe(
    name="gaaf-table-2",
    title="Variance of the net values that dropout causes",
    paper=PAPER,
    tables=("2",),
    plans=(
        replace(
            MNIST,
            claim="Does dropout's net variance grow from layer to layer?",
            methods=(DROPOUT,),
            measures=frozenset({"net_variance"}),
        ),
    ),
    deviations=CHOICES,
    seeds=5,
    figure="net_variance",
)
TABLE_3 = Recipe(
    name="gaaf-table-3",
    title="Accuracy and epochs of training on MNIST",
    paper=PAPER,
    tables=("3",),
    plans=(MNIST,),
    deviations=CHOICES,
    seeds=5,
)


def relu():
    return keras.layers.Activation("relu")


BN = {"batch_norm": True}
REPAIRED = (
    Method("base", None, relu),
    Method("gaaf", None, lambda: GAAF("relu")),
    Method("gaaf-control", None, lambda: gaaf_control("relu")),
    Method("base+bn", None, relu, options=BN),
    Method("gaaf+bn", None, lambda: GAAF("relu"), options=BN),
    Method("gaaf-control+bn", None, lambda: gaaf_control("relu"), options=BN),
)
VGG_10 = Plan(
    name="gaaf_vgg/cifar10",
    claim="Does GAAF help a VGG network, with and without BN?",
    network=networks.gaaf_vgg,
    methods=REPAIRED,
    contrasts=(),
    epochs=200,
    batch_size=128,
    learning_rate=0.01,
    measures=frozenset({"curve", "train"}),
    dataset="cifar10",
    preparation=(("scale",), ("standardize",)),
    weight_decay=5e-4,
    drops=(0.5, 0.75),
    printed=("VGG16-like", "CIFAR10"),
)
VGG_100 = replace(
    VGG_10,
    name="gaaf_vgg/cifar100",
    dataset="cifar100",
    printed=("VGG16-like", "CIFAR100"),
)
CNN = replace(
    VGG_10,
    name="gaaf_svhn_cnn/svhn_cropped",
    claim="Does GAAF help a small CNN, with and without BN?",
    network=networks.gaaf_svhn_cnn,
    dataset="svhn_cropped",
    printed=("CNN 4 conv + 3 dense", "SVHN"),
)
TABLE_4 = Recipe(
    name="gaaf-table-4",
    title="GAAF with and without batch normalisation",
    paper=PAPER,
    tables=("4", "5.2 text"),
    plans=(VGG_100, VGG_10, CNN),
    deviations=(
        CHOICES[3],
        CHOICES[5],
        Deviation(
            "training of Table 4",
            "not stated",
            "SGD, momentum 0.9, rate 0.01 divided by ten at 1/2 and 3/4 of "
            "200 epochs, batch 128, weight decay 0.0005, no augmentation",
            "usual for such networks; training accuracies of 99.6 % speak "
            "against augmentation",
        ),
    ),
    seeds=3,
)


def distributions(number, method, title):
    return Recipe(
        name=f"gaaf-figure-{number}",
        title=title,
        paper=PAPER,
        plans=(
            replace(
                MNIST,
                claim="Are more net values saturated?",
                methods=(BASE, method),
                measures=frozenset({"net_distribution", "saturation"}),
            ),
        ),
        deviations=CHOICES[:4],
        seeds=5,
        figure="net_distribution",
    )


FIGURE_2 = distributions(
    2, DROPOUT, "Net values on test data, with dropout and without"
)
FIGURE_5 = distributions(
    5, ACCELERATED, "Net values on test data, with GAAF and without"
)
RECIPES = (TABLE_1, TABLE_2, TABLE_3, TABLE_4, FIGURE_2, FIGURE_5)
