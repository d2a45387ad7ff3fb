"""Wang, Zhou, Bilmes, 2019: Jumpout, ICML (the review copy of ICLR).

Long since it is data: all tables and figures of one paper.
"""

from dataclasses import replace

from keras_dropx.experiments import networks
from keras_dropx.experiments.baselines import ConcreteDropout, link_kernels
from keras_dropx.experiments.baselines.mean_rate import (
    MAX_RATE,
    MIN_RATE,
    sigma_of,
)
from keras_dropx.experiments.papers.recipe import Recipe
from keras_dropx.experiments.plan import Deviation, Method, Plan
from keras_dropx.layers import AugmentedDropout, Jumpout

PAPER = "jumpout"
SIGMA = 0.2
# mean_rate(SIGMA) but for 2e-10: the committed runs have this very number.
MEAN_RATE = 0.16939472180261023
EXPONENTS = {"1": "mean", "0.5": "variance", "0.75": "batchnorm"}


def unadapted(fraction, rescale):
    """Returns modification I at Jumpout's noise without II: p / mean(q⁺)."""
    fraction = fraction or 1.0  # Without an active unit nothing is dropped.
    return Jumpout(
        sigma=SIGMA / fraction,
        min_rate=min(MIN_RATE / fraction, MAX_RATE),
        max_rate=MAX_RATE,
        adaptive=False,
        rescale=rescale,
    )


PLAIN = Method("plain")
JUMPOUT = Method("jumpout", lambda: Jumpout(sigma=SIGMA))
DROPOUT = Method("dropout", AugmentedDropout, rates_of="jumpout")
# The control of Jumpout, too: its mean p′ and its exponent.
RESCALED = Method(
    "dropout+III",
    lambda rate: AugmentedDropout(rate, rescale="batchnorm"),
    rates_of="jumpout",
)
REMASKED = replace(DROPOUT, name="remasked", mask_offset=1)
ABLATION = (
    PLAIN,
    JUMPOUT,
    DROPOUT,
    Method(
        "dropout+I",
        lambda fraction: unadapted(fraction, "mean"),
        fractions_of="jumpout",
    ),
    Method("dropout+I+II", lambda: Jumpout(sigma=SIGMA, rescale="mean")),
    Method("dropout+II", lambda: Jumpout(rate=MEAN_RATE, rescale="mean")),
    Method("dropout+II+III", lambda: Jumpout(rate=MEAN_RATE)),
    RESCALED,
    Method(
        "dropout+III+I",
        lambda fraction: unadapted(fraction, "batchnorm"),
        fractions_of="jumpout",
    ),
    REMASKED,
)
COMPARED = (PLAIN, JUMPOUT, DROPOUT, RESCALED, REMASKED)
CHOICES = (
    Deviation(
        "σ of Jumpout",
        "not stated; tuned",
        f"{SIGMA:g}",
        "one value for all data sets: a tuned one would need each data set's "
        "validation images",
    ),
    Deviation(
        "rate of dropout",
        "not stated",
        "Jumpout's mean p′, site by site and seed by seed",
        "so that the amount of noise is the same; p / mean(q⁺) without II; "
        "E[p] without I, which leaves some more noise than Jumpout where "
        "p / q⁺ is clipped",
    ),
    Deviation(
        "scale of dropout",
        "1/p, p being the rate of dropping",
        "1/(1 - p)",
        "the paper's own next sentence asks that the mean be kept",
    ),
    Deviation(
        "p",
        "clipped to [p_min, p_max] in section 3.1, shifted by p_min in "
        "Algorithm 1",
        "shifted",
        "the algorithm is followed",
    ),
    Deviation(
        "p / q⁺ above 1",
        "not stated",
        "clipped to p_max = 0.6",
        "it would be no probability",
    ),
    Deviation(
        "training of the wide and the pre-activation networks",
        "the settings of hysts/pytorch_image_classification on CIFAR and "
        "Fashion-MNIST; not stated on SVHN and STL-10",
        "SGD, Nesterov momentum 0.9; wide networks 200 epochs from rate 0.1, "
        "times 0.2 at 60, 120, 160, weight decay 0.0005 (SVHN 160 epochs "
        "from 0.01, as Zagoruyko and Komodakis 2016); PreAct-ResNet-20 160 "
        "epochs, times 0.1 at 80 and 120, weight decay 0.0001",
        "the settings that those networks are published with",
    ),
    Deviation(
        "training of CIFAR10(s)",
        "not stated; 150 epochs in Figure 2, 100 in Figures 3 and 5",
        "as many epochs, SGD, Nesterov momentum 0.9, rate 0.1 times 0.1 at "
        "1/2 and 3/4, weight decay 0.0005",
        "usual for such networks",
    ),
    Deviation(
        "augmentation on STL-10",
        "not stated",
        "12 pixels of padding, crop, flip",
        "the 4 of CIFAR for images three times as wide",
    ),
)
SMALL = Plan(
    name="cifar10_small/cifar10",
    claim="What does each of Jumpout's modifications bring to a small CNN?",
    network=networks.cifar10_small,
    methods=ABLATION,
    contrasts=(),
    epochs=150,
    batch_size=128,
    learning_rate=0.1,
    measures=frozenset({"curve", "reestimated"}),
    dataset="cifar10",
    preparation=(("scale",), ("standardize",)),
    augmentation="pad-4-crop-flip",
    nesterov=True,
    weight_decay=5e-4,
    drops=(0.5, 0.75),
    printed=("CIFAR10(s)", "CIFAR10"),
)
WIDE = replace(
    SMALL,
    name="wide_resnet_28_10/cifar10",
    claim="What does each of Jumpout's modifications bring to WRN-28-10?",
    network=networks.wide_resnet,
    options={"depth": 28, "width": 10},
    epochs=200,
    drops=(0.3, 0.6, 0.8),
    drop=0.2,
    printed=("WideResNet-28-10", "CIFAR10"),
)
WIDE_100 = replace(
    WIDE,
    name="wide_resnet_28_10/cifar100",
    dataset="cifar100",
    printed=("WideResNet-28-10", "CIFAR100"),
)
STL = replace(
    WIDE,
    name="wide_resnet_16_8/stl10",
    claim="What does each of Jumpout's modifications bring to WRN-16-8?",
    options={"depth": 16, "width": 8},
    dataset="stl10",
    augmentation="pad-12-crop-flip",
    printed=("WideResNet-16-8", "STL10"),
)
FASHION = replace(
    SMALL,
    name="preact_resnet20/fashion_mnist",
    claim="Is Jumpout better than dropout on PreAct-ResNet-20?",
    network=networks.preact_resnet20,
    epochs=160,
    weight_decay=1e-4,
    dataset="fashion_mnist",
    printed=("PreActResNet-20", "Fashion-MNIST"),
)
SVHN = replace(
    STL,
    name="wide_resnet_16_8/svhn_cropped",
    dataset="svhn_cropped+extra",
    preparation=(("scale",),),
    augmentation=None,
    epochs=160,
    learning_rate=0.01,
    drops=(0.5, 0.75),
    drop=0.1,
    printed=("WideResNet-16-8", "SVHN"),
)
IMAGENET = replace(
    SMALL,
    name="resnet18/imagenet2012",
    claim="Is Jumpout better than dropout on ResNet-18?",
    network=networks.resnet18,
    epochs=10,
    batch_size=256,
    learning_rate=0.001,
    weight_decay=1e-4,
    drops=(0.5,),
    measures=frozenset({"curve"}),
    dataset="imagenet2012",
    streamed=True,
    preparation=(),
    augmentation=None,
    printed=("ResNet-18", "ImageNet"),
)


def compared(plan):
    network, _ = plan.printed
    return replace(
        plan,
        claim=f"Is Jumpout better than dropout of {network}?",
        methods=COMPARED,
    )


TABLE_1 = Recipe(
    name="jumpout-table-1",
    title="Each of Jumpout's modifications, alone and together",
    paper=PAPER,
    tables=("1",),
    plans=(SMALL, WIDE, WIDE_100, STL),
    deviations=CHOICES,
    seeds=3,
)
TABLE_2 = Recipe(
    name="jumpout-table-2",
    title="Dropout and Jumpout",
    paper=PAPER,
    tables=("2",),
    plans=tuple(map(compared, (SMALL, WIDE, WIDE_100, FASHION, STL, SVHN))),
    deviations=CHOICES,
    seeds=3,
)
TABLE_2_IMAGENET = Recipe(
    name="jumpout-table-2-imagenet",
    title="Dropout and Jumpout on ImageNet, from given weights",
    paper=PAPER,
    tables=("2",),
    plans=(compared(IMAGENET),),
    deviations=(
        *CHOICES[:5],
        Deviation(
            "training on ImageNet",
            "from a pre-trained network, for the same number of epochs",
            "10 epochs from rate 0.001, divided by ten half-way, batch 256",
            "neither epochs nor rate are stated",
        ),
    ),
    seeds=1,
    pretrained=True,
)


LENGTH = 0.01


def concrete(size):
    """Returns concrete dropout for a number of training images."""
    return ConcreteDropout(LENGTH**2 / (2 * size), 1 / size)


def linked(model):
    link_kernels(model)
    return model


CONCRETE = Method("concrete-dropout", concrete, sized=True, train_as=linked)
TABLE_3 = Recipe(
    name="jumpout-table-3",
    title="Concrete dropout beside dropout and Jumpout",
    paper=PAPER,
    tables=("3",),
    plans=tuple(
        replace(compared(plan), methods=(*COMPARED, CONCRETE))
        for plan in (WIDE, WIDE_100, STL)
    ),
    deviations=(
        *CHOICES,
        Deviation(
            "networks of Table 3",
            "not stated",
            "those of Table 1",
            "its dropout and Jumpout rows are Table 1's",
        ),
        Deviation(
            "regularisers of concrete dropout",
            "not stated",
            "l²/(2N) with l = 0.01, and 1/N, beside the network's weight decay",
            "Gal et al. 2017 for a mean cross-entropy; the length scale is "
            "theirs for images",
        ),
    ),
    seeds=3,
)
FIGURE_1 = Recipe(
    name="jumpout-figure-1",
    title="The active fraction q⁺ of each layer during the training",
    paper=PAPER,
    plans=(
        replace(
            compared(SMALL),
            claim="Does the active fraction differ between layers and epochs?",
            methods=(PLAIN, JUMPOUT),
            measures=frozenset({"active_fraction"}),
        ),
    ),
    deviations=CHOICES,
    seeds=3,
    figure="active_fraction",
)
RATES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35)
NO_NORM = {"batch_norm": False}


def at(name, rescale, options, text=""):
    """Returns a method for each rate of Figure 2."""
    return tuple(
        Method(
            f"{name}{text} {rate:g}",
            lambda rate=rate: AugmentedDropout(rate, rescale=rescale),
            options=options,
        )
        for rate in RATES
    )


def jumpout_at(name, options):
    """Returns Jumpout for each rate of Figure 2, which is its mean p.

    σ has four digits, so that a run is known again with any version of SciPy.
    """
    return tuple(
        Method(
            f"{name} {rate:g}",
            lambda rate=rate: Jumpout(sigma=round(sigma_of(rate), 4)),
            options=options,
        )
        for rate in RATES
    )


FIGURE_2 = Recipe(
    name="jumpout-figure-2",
    title="Accuracy against the rate, with and without batch normalisation",
    paper=PAPER,
    plans=(
        replace(
            SMALL,
            claim="Does the rescale of Jumpout repair dropout before BN?",
            methods=(
                PLAIN,
                *at("dropout", "mean", {}),
                *at("rescaled", "batchnorm", {}),
                *jumpout_at("jumpout", {}),
                Method("plain-no-bn", options=NO_NORM),
                *at("dropout", "mean", NO_NORM, "-no-bn"),
                *at("rescaled", "batchnorm", NO_NORM, "-no-bn"),
                *jumpout_at("jumpout-no-bn", NO_NORM),
            ),
            measures=frozenset({"reestimated"}),
            learning_rate=0.01,
        ),
    ),
    deviations=(
        *CHOICES[2:],
        Deviation(
            "Jumpout in Figure 2",
            "a third line; σ is not stated, the axis is the rate of dropout",
            "at the σ at which its mean p is the rate",
            "before p / q⁺: the rate of active units dropped is larger",
        ),
        Deviation(
            "learning rate of Figure 2",
            "not stated",
            "0.01",
            "the network without batch normalisation diverges at 0.1",
        ),
    ),
    seeds=3,
    figure="rates",
)


def moments(number, rate):
    return Recipe(
        name=f"jumpout-figure-{number}",
        title=f"Mean and variance drift of three rescales at p = {rate:g}",
        paper=PAPER,
        plans=(
            replace(
                SMALL,
                claim="Is the exponent 0.75 a trade-off of mean and variance?",
                methods=tuple(
                    Method(
                        f"exponent {text}",
                        lambda rescale=rescale: AugmentedDropout(
                            rate, rescale=rescale
                        ),
                    )
                    for text, rescale in EXPONENTS.items()
                ),
                measures=frozenset({"moment_drift"}),
                epochs=100,
            ),
        ),
        deviations=CHOICES[2:],
        seeds=3,
        figure="moments",
    )


FIGURE_3 = moments(3, 0.2)
FIGURE_4 = replace(
    TABLE_2,
    name="jumpout-figure-4",
    title="Learning curves of dropout and Jumpout",
    tables=(),
    plans=tuple(map(compared, (WIDE, WIDE_100, SVHN, STL))),
    figure="losses",
)
FIGURE_5 = moments(5, 0.1)
RECIPES = (
    TABLE_1,
    TABLE_2,
    TABLE_2_IMAGENET,
    TABLE_3,
    FIGURE_1,
    FIGURE_2,
    FIGURE_3,
    FIGURE_4,
    FIGURE_5,
)
