"""Gao, Pei, Huang, 2019: Demystifying Dropout, ICML.

Long since it is data: all tables and figures of one paper.
"""

from dataclasses import replace
from functools import partial

from keras_dropx.experiments import networks
from keras_dropx.experiments.baselines import (
    ExpectationLinear,
    NoiseMatchedDropout,
    distill,
)
from keras_dropx.experiments.papers.recipe import Recipe
from keras_dropx.experiments.plan import Deviation, Method, Plan
from keras_dropx.layers import (
    AugmentedDropout,
    BackwardDropout,
    ForwardDropout,
)

PAPER = "augmented-dropout"
RATES = (0.3, 0.2, 0.1, 0.05, 0.01, 0.005)
SAMPLES = 30


def standard(rate):
    return Method(f"standard {rate:g}", lambda: AugmentedDropout(rate))


def forward(rate):
    return Method(f"forward {rate:g}", lambda: ForwardDropout(rate))


def backward(rate):
    return Method(f"backward {rate:g}", lambda: BackwardDropout(rate))


def augmented(rate, ratio):
    # The setting as the papers print it: 0.1/0.0001.
    return Method(
        f"augmented {rate:g}/{ratio:.10f}".rstrip("0"),
        lambda: AugmentedDropout(rate, ratio),
    )


def remasked(rate):
    return Method(
        f"remasked {rate:g}", lambda: AugmentedDropout(rate), mask_offset=1
    )


PLAIN = Method("plain")
SPLIT = (
    PLAIN,
    *map(standard, RATES),
    *map(forward, RATES),
    *map(backward, RATES),
    remasked(0.2),
)
DISCREPANCY = Deviation(
    "form of the backward mask",
    "the error and the features of the next layer's weight gradient (Eq. 9)",
    "the error alone: the drop-in layers",
    "a layer between two others; `dropx compare` shows both forms",
)
QUICK_STEPS = Deviation(
    "training of ConvNet-Quick on SVHN",
    "as in section 4, which counts 9,000 iterations of 100 images",
    "12 epochs, 8,796 iterations",
    "whole epochs",
)
BIASES = Deviation(
    "biases",
    "not stated; Caffe doubles their learning rate and decays them",
    "as the kernels' learning rate, no decay",
    "weight decay is on kernels only, in all recipes",
)
RESNET_CHOICES = (
    DISCREPANCY,
    BIASES,
    Deviation(
        "iterations of ResNet-20",
        "640,000, the rate divided at 320,000 and 480,000",
        "64,000: 164 epochs on CIFAR, 112 on SVHN, divided at 1/2 and 3/4",
        "He et al. 2016 train for 64,000 iterations and divide at 32,000 and "
        "48,000; a digit too many",
    ),
    Deviation(
        "weight decay of ResNet-20",
        "0.001",
        "0.0001",
        "He et al. 2016 use 0.0001",
    ),
)

QUICK = Plan(
    name="convnet_quick/cifar10",
    claim="Which pass of dropout helps ConvNet-Quick?",
    network=networks.convnet_quick,
    methods=SPLIT,
    contrasts=(),
    epochs=18,
    batch_size=100,
    learning_rate=0.001,
    measures=frozenset({"curve"}),
    dataset="cifar10",
    preparation=(("scale", 255), ("mean-image",)),
    weight_decay=0.004,
    drops=(4 / 9,),
    printed=("ConvNet-Quick", "CIFAR10"),
)
QUICK_SVHN = replace(
    QUICK,
    name="convnet_quick/svhn_cropped",
    claim="Does augmented dropout help ConvNet-Quick?",
    dataset="svhn_cropped",
    epochs=12,
    printed=("ConvNet-Quick", "SVHN"),
)
RESNET = Plan(
    name="resnet20/cifar10",
    claim="Which pass of dropout helps ResNet-20?",
    network=networks.resnet20,
    methods=SPLIT,
    contrasts=(),
    epochs=164,
    batch_size=128,
    learning_rate=0.1,
    measures=frozenset({"curve", "reestimated"}),
    dataset="cifar10",
    preparation=(("scale",), ("mean-image",)),
    augmentation="pad-4-crop-flip",
    nesterov=True,
    weight_decay=1e-4,
    drops=(1 / 2, 3 / 4),
    printed=("ResNet-20", "CIFAR10"),
)

TABLE_1 = Recipe(
    name="augmented-table-1",
    title="Plain, standard, forward and backward dropout of ConvNet-Quick",
    paper=PAPER,
    tables=("1",),
    plans=(QUICK,),
    deviations=(
        DISCREPANCY,
        BIASES,
        Deviation(
            "weight decay of ConvNet-Quick",
            "not stated",
            "0.004",
            "the cited Caffe recipe's",
        ),
    ),
    seeds=4,
)
TABLE_2 = Recipe(
    name="augmented-table-2",
    title="Plain, standard, forward and backward dropout of ResNet-20",
    paper=PAPER,
    tables=("2",),
    plans=(RESNET,),
    deviations=RESNET_CHOICES,
    seeds=4,
)
LENET_RATES = (0.1, 0.2, 0.3, 0.4, 0.5)
TABLE_3 = Recipe(
    name="augmented-table-3",
    title="Augmented dropout of LeNet on MNIST",
    paper=PAPER,
    tables=("3",),
    plans=(
        Plan(
            name="lenet/mnist",
            claim="Does augmented dropout help LeNet?",
            network=networks.lenet,
            methods=(
                PLAIN,
                *map(standard, LENET_RATES),
                *(augmented(rate, 1e-4) for rate in LENET_RATES),
                # Ours: does the backward mask matter, or only its variance?
                augmented(0.5, 0.3),
                Method(
                    "noise-matched 0.5/0.3",
                    lambda: NoiseMatchedDropout(0.5, 0.3),
                ),
                remasked(0.5),
            ),
            contrasts=(),
            epochs=20,
            batch_size=100,
            learning_rate=0.01,
            measures=frozenset({"curve"}),
            dataset="mnist",
            # Caffe multiplies by 1/256.
            preparation=(("scale", 255 / 256),),
            weight_decay=5e-4,
            drops=(1 / 2,),
            printed=("LeNet", "MNIST"),
        ),
    ),
    deviations=(
        DISCREPANCY,
        BIASES,
        Deviation(
            "methods augmented 0.5/0.3 and noise-matched 0.5/0.3",
            "none",
            "a strong backward ratio, and Gaussian noise of its variance",
            "to tell the backward mask from its variance",
        ),
    ),
    seeds=4,
)
FIRST_RATES = (0.1, 0.2, 0.3)


def pairs(ratio):
    return (
        PLAIN,
        *map(standard, FIRST_RATES),
        *(augmented(rate, ratio) for rate in FIRST_RATES),
        remasked(0.2),
    )


TABLE_4 = Recipe(
    name="augmented-table-4",
    title="Augmented dropout of ConvNet-Quick",
    paper=PAPER,
    tables=("4",),
    plans=(
        replace(QUICK_SVHN, methods=pairs(2e-4)),
        replace(
            QUICK,
            claim="Does augmented dropout help ConvNet-Quick?",
            methods=pairs(2e-4),
        ),
    ),
    deviations=(*TABLE_1.deviations, QUICK_STEPS),
    seeds=4,
)
TABLE_5 = Recipe(
    name="augmented-table-5",
    title="Augmented dropout of ResNet-20",
    paper=PAPER,
    tables=("5",),
    plans=(
        replace(
            RESNET,
            name="resnet20/svhn_cropped",
            claim="Does augmented dropout help ResNet-20?",
            methods=pairs(2e-4),
            dataset="svhn_cropped",
            augmentation=None,
            epochs=112,
            printed=("ResNet-20", "SVHN"),
        ),
        replace(
            RESNET,
            claim="Does augmented dropout help ResNet-20?",
            methods=pairs(1e-4),
        ),
        replace(
            RESNET,
            name="resnet20/cifar100",
            claim="Does augmented dropout help ResNet-20?",
            methods=pairs(1e-4),
            dataset="cifar100",
            printed=("ResNet-20", "CIFAR100"),
        ),
    ),
    deviations=RESNET_CHOICES,
    seeds=4,
)


def distilled(network, images, seed, plan, shorter, slower):
    """Returns the student of a trained network.

    Args:
        network: The teacher.
        images: Array of training images.
        seed: Integer.
        plan: The `Plan` of the teacher.
        shorter: Integer, what its epochs are divided by.
        slower: Integer, what its learning rate is divided by.
    """
    return distill(
        network,
        images,
        max(1, plan.epochs // shorter),
        plan.batch_size,
        plan.learning_rate / slower,
        seed,
        from_logits=True,
    )


def baselines(rates):
    """Returns the methods of Table 6, which share one network's rates."""

    def method(name, **options):
        return Method(name, AugmentedDropout, rates=rates, **options)

    return (
        PLAIN,
        method("standard"),
        method("monte-carlo", samples=SAMPLES),
        method(
            "distillation",
            finish=partial(distilled, shorter=5, slower=10),
        ),
        method(
            "expectation-linear",
            train_as=partial(ExpectationLinear, strength=1.0, from_logits=True),
        ),
        Method(
            "augmented",
            lambda rate: AugmentedDropout(rate, 1e-4),
            rates=rates,
        ),
        method("remasked", mask_offset=1),
    )


TABLE_6 = Recipe(
    name="augmented-table-6",
    title="Augmented dropout beside other uses of dropout",
    paper=PAPER,
    tables=("6",),
    plans=(
        Plan(
            name="all_cnn/cifar10",
            claim="Is augmented dropout better than the others on ALL-CNN-C?",
            network=networks.all_cnn,
            methods=baselines((0.2, 0.5, 0.5)),
            contrasts=(),
            epochs=350,
            batch_size=128,
            learning_rate=0.05,
            dataset="cifar10",
            preparation=(("gcn", 55.0), ("zca", 0.1)),
            weight_decay=1e-3,
            drops=(200 / 350, 250 / 350, 300 / 350),
            printed=("ALL-Conv", "CIFAR10"),
        ),
        Plan(
            name="nin/cifar10",
            claim="Is augmented dropout better than the others on NiN?",
            network=networks.nin,
            methods=baselines((0.5, 0.5)),
            contrasts=(),
            epochs=300,
            batch_size=128,
            learning_rate=0.1,
            dataset="cifar10",
            preparation=(("gcn", 55.0), ("zca", 0.1)),
            weight_decay=1e-4,
            drops=(5 / 6,),
            printed=("NiN", "CIFAR10"),
        ),
    ),
    deviations=(
        DISCREPANCY,
        Deviation(
            "rates of Table 6",
            "not stated",
            "forward those of the networks' papers, backward ratio 0.0001",
            "the ratio of the paper's other results on CIFAR-10",
        ),
        Deviation(
            "training of ALL-Conv and NiN",
            "not stated",
            "ALL-CNN-C as Springenberg et al. 2014, at rate 0.05; NiN 300 "
            "epochs from rate 0.1, weight decay 0.0001",
            "the former say one of four rates; the latter lower it by hand",
        ),
        Deviation(
            "strength of expectation-linear regularisation",
            "not stated",
            "1",
            "Ma et al. 2016 choose it on validation data",
        ),
        Deviation(
            "training of the student of distillation",
            "not stated",
            "a fifth of the epochs, a tenth of the learning rate",
            "it starts at its teacher's weights",
        ),
        Deviation(
            "masks of Monte Carlo dropout",
            "not stated",
            str(SAMPLES),
            "enough for the mean of ten probabilities",
        ),
        Deviation(
            "the three baselines",
            "quoted from their papers, not run",
            "run on the same networks and seeds",
            "otherwise the trainings differ too",
        ),
    ),
    seeds=4,
)


def chosen(methods, *names):
    """Returns the methods of these names, in the order of the names."""
    by_name = {method.name: method for method in methods}
    return tuple(by_name[name] for name in names)


COMPARED = ("plain",) + tuple(
    f"{method} {rate}"
    for rate in ("0.2", "0.05")
    for method in ("standard", "forward", "backward")
)
FIGURE_1 = replace(
    TABLE_1,
    name="augmented-figure-1",
    title="Training and test loss of ConvNet-Quick at p = 0.2 and 0.05",
    tables=(),
    plans=(replace(QUICK, methods=chosen(SPLIT, *COMPARED)),),
    figure="losses",
)
FIGURE_2 = replace(
    TABLE_2,
    name="augmented-figure-2",
    title="Training and test loss of ResNet-20 at p = 0.2 and 0.05",
    tables=(),
    plans=(replace(RESNET, methods=chosen(SPLIT, *COMPARED)),),
    figure="losses",
)
FIGURE_3 = replace(
    TABLE_4,
    name="augmented-figure-3",
    title="Losses of standard and augmented dropout of ConvNet-Quick",
    tables=(),
    plans=(
        replace(
            QUICK,
            claim=TABLE_4.plans[1].claim,
            methods=chosen(pairs(2e-4), "standard 0.2", "augmented 0.2/0.0002"),
        ),
    ),
    figure="losses",
)
RECIPES = (
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    TABLE_5,
    TABLE_6,
    FIGURE_1,
    FIGURE_2,
    FIGURE_3,
)
