"""Draws the pictures of the docs with the layers: docs/pictures.py [folder].

On TensorFlow; the same pictures every time. That of batch normalisation is
drawn from the records of docs/reproductions/digits, and its numbers printed.
"""

import functools
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from keras import Sequential
from keras.layers import Activation, Dense
from matplotlib import colormaps
from matplotlib.figure import Figure

from keras_dropx import layers
from keras_dropx.experiments.records import Records
from keras_dropx.experiments.report.style import COLOURS
from keras_dropx.experiments.statistics import compare

DOCS = Path(__file__).parent
BLUE, ACCENT, GREY = COLOURS[0], COLOURS[1], "#868e96"
TONES = "black", ACCENT, GREY
GREYS = colormaps["Greys"].with_extremes(bad=ACCENT)
SEED = 4  # The shares that it drops of 64 values are close to the rates.
NUMBERS = np.random.default_rng(0).normal(size=(3, 8, 8)).astype("float32")
# ReLU's values, but with something in place of 0: what is 0 was dropped.
X = np.where(NUMBERS[0] > 0, NUMBERS[0], -1e-6)
DY = NUMBERS[1]


def passes(layer, x, dy):
    """Returns y and the gradients by x and, where there is one, a kernel."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
    wanted = [x, *layer.trainable_variables]
    gradients = tape.gradient(y, wanted, tf.constant(dy))
    return [tensor.numpy() for tensor in (y, *gradients)]


def kernel_gradients(kind, *rates):
    """Returns h ⊙ ε_f and the dW of a Dense layer, drop-in and exact."""
    h = 0.5 + np.abs(NUMBERS[2].reshape(1, -1)[:, :12])
    dy = 0.4 + 0.4 * np.abs(DY[:1])
    alone, before, inside = (kind(*rates, seed=SEED) for _ in range(3))
    drop_in = Sequential([before, Dense(8, use_bias=False)])
    exact = layers.MaskedInput(Dense(8, use_bias=False), inside)
    gradients = [passes(form, h, dy)[2].T for form in (drop_in, exact)]
    return passes(alone, h, h)[0], *gradients


def drift(p, a, r):
    """Mean and variance of the next net value, training over inference."""
    mean = (1 - p) ** (1 - a)
    return mean, mean**2 * (1 + p / (1 - p) * r)


def sampled_drift(p, a, samples=20):
    """Returns R for ReLU's values, and both drifts under each of the masks."""
    rng = np.random.default_rng(1)
    x = np.maximum(rng.normal(size=(10_000, 16)), 0).astype("float32")
    w = 0.2 + rng.normal(size=16)
    quiet = x @ w
    layer = layers.AugmentedDropout(p, rescale=a, seed=SEED)
    nets = [layer(x, training=True).numpy() @ w for _ in range(samples)]
    r = np.sum(w**2 * np.mean(x**2, axis=0)) / quiet.var()
    means, variances = np.mean(nets, axis=1), np.var(nets, axis=1)
    return r, means / quiet.mean(), variances / quiet.var()


def drawn_rates(active, samples=20_000, adaptive=True):
    """Returns p′ of samples with `active` of 100 units above 0."""
    x = np.tile(np.arange(100) < active, (samples, 1)).astype("float32")
    layer = layers.Jumpout(0.2, adaptive=adaptive, per_sample=True, seed=SEED)
    return np.ravel(layer.drop_rate(x, layer.next_seed()))


def accuracies(network, method):
    """Returns by seed the test accuracies of the records, in %.

    A pair each: as trained, and with the statistics re-estimated.
    """
    keys = "test_accuracy", "reestimated_accuracy"
    return {
        record["seed"]: [100 * record[key] for key in keys]
        for record in records()
        if (record["plan"], record["method"]) == (network, method)
        and keys[1] in record
    }


@functools.cache
def records():
    return Records(DOCS / "reproductions" / "digits").records


SMALL, WIDE = "cifar10_small_0.5/digits", "wide_resnet_16_1/digits"


def batch_norm_contrasts():
    """Returns the paired intervals of dropout before BN, jointly at 95 %."""
    found = {}
    for name, network in (("small CNN", SMALL), ("wide ResNet", WIDE)):
        dropout = accuracies(network, "dropout")
        none = accuracies(network, "plain")
        found[f"{name}: re-estimated - as trained"] = [
            after - before for before, after in dropout.values()
        ]
        found[f"{name}: no dropout - dropout, both re-estimated"] = [
            none[seed][1] - after for seed, (_, after) in dropout.items()
        ]
    made = compare(list(found.values()), [None] * len(found))
    return dict(zip(found, made, strict=True))


def axes(rows, columns, height, **options):
    drawn = Figure((8, height), 105, layout="constrained")
    return drawn, drawn.subplots(rows, columns, squeeze=False, **options)


def grid(columns, labels, height, **options):
    """Draws arrays below each other, a column for each title."""
    drawn, cells = axes(len(labels), len(columns), height, **options)
    for column, (title, arrays) in zip(cells.T, columns.items(), strict=True):
        column[0].set_title(title)
        for axis, array in zip(column, arrays, strict=True):
            sizes = np.ma.masked_equal(np.abs(array), 0)
            axis.pcolormesh(
                sizes, cmap=GREYS, vmin=0, vmax=3, ec="lightgrey", lw=0.3
            )
            axis.set(xticks=[], yticks=[], aspect="equal", anchor="N")
            axis.invert_yaxis()
    for axis, label in zip(cells[:, 0], labels, strict=True):
        axis.set_ylabel(label, rotation=0, ha="right", va="center")
    drawn.supxlabel("grey: the darker, the larger;  orange: dropped", size=9)
    return drawn


def passes_of(kinds, height):
    columns = {title: passes(kind, X, DY) for title, kind in kinds.items()}
    return grid(columns, ("forward:\nvalues", "backward:\ngradients"), height)


def masks():
    kinds = {
        "no dropout": layers.AugmentedDropout(0.0),
        "dropout\none mask": layers.AugmentedDropout(0.3, seed=SEED),
        "forward\nvalues only": layers.ForwardDropout(0.3, seed=SEED),
        "backward\ngradients only": layers.BackwardDropout(0.3, seed=SEED),
        "augmented\nmore gradients": layers.AugmentedDropout(
            0.3, 0.3, seed=SEED
        ),
        "Jumpout\nrate drawn anew": layers.Jumpout(0.2, seed=SEED),
    }
    return passes_of(kinds, 3.3)


def augmented_dropout():
    kinds = {
        f"backward_rate={rate}\n{coupling}": layers.AugmentedDropout(
            0.3, rate, coupling, seed=SEED
        )
        for rate, coupling in (
            (0, "nested"),
            (0.3, "nested"),
            (0.3, "independent"),
        )
    }
    return passes_of(kinds, 4.3)


def masked_input():
    kinds = (
        layers.ForwardDropout,
        layers.BackwardDropout,
        layers.AugmentedDropout,
    )
    columns = {
        f"{kind.__name__}({', '.join(map(str, rates))})": kernel_gradients(
            kind, *rates
        )
        for kind, rates in zip(kinds, ((0.3,), (0.3,), (0.3, 0.3)), strict=True)
    }
    labels = "h ⊙ ε_f", "∂E/∂W,\ndrop-in", "∂E/∂W,\nexact"
    return grid(columns, labels, 4.2, height_ratios=(1, 8, 8))


def rescale():
    drawn, [(left, middle, right)] = axes(1, 3, 3)
    p, rates = np.linspace(0, 0.6, 61), np.linspace(0.1, 0.6, 6)
    for a, tone in zip((1, 0.75, 0.5), TONES, strict=True):
        sampled = [sampled_drift(rate, a) for rate in rates]
        lines = drift(p, a, sampled[0][0])
        for number, axis in enumerate((left, middle)):
            points = [np.mean(each[number + 1]) for each in sampled]
            axis.plot(p, lines[number], color=tone, label=f"a = {a}")
            axis.plot(rates, points, "o", color=tone, ms=4)
    r = np.linspace(0, 2, 81)
    for rate, style in ((0.1, "-"), (0.3, "--"), (0.5, ":")):
        a = 1 + np.log1p(rate * r / (1 - rate)) / (2 * np.log1p(-rate))
        right.plot(r, a, style, color="black", label=f"p = {rate}")
    right.axhline(0.75, color=ACCENT, label="a = 0.75")
    left.set(title="mean, training / inference", xlabel="p")
    middle.set(title="variance, training / inference", xlabel="p")
    right.set(title="a that keeps the variance", xlabel="R")
    return drawn


def batch_norm():
    drawn, [(left, right)] = axes(1, 2, 3.2, sharey=True)
    rates = np.linspace(0, 0.35, 8)
    runs = [accuracies(SMALL, f"dropout {rate:.2g}") for rate in rates[1:]]
    none = accuracies(SMALL, "plain")
    runs = np.array([[by[seed] for seed in runs[0]] for by in [none, *runs]])
    looks = ("as trained", ACCENT, "o--"), ("re-estimated", BLUE, "s-")
    for number, (name, tone, mark) in enumerate(looks):
        means = runs[:, :, number].mean(1)
        left.plot(rates, means, mark, color=tone, ms=4, label=name)
        left.plot(rates, runs[:, :, number], ".", color=tone, ms=3, alpha=0.5)
    methods = {"plain": "no dropout", "dropout": "dropout"}
    methods |= {"dropout+III": 'rescale=\n"batchnorm"'}
    for place, method in enumerate(methods):
        pairs = np.array(list(accuracies(SMALL, method).values())).T
        x = np.array((-0.25, 0.25)) + place
        right.plot(x, pairs, color=GREY, lw=0.6, alpha=0.6)
        for at, values, (_, tone, mark) in zip(x, pairs, looks, strict=True):
            right.plot(at, values.mean(), mark[0], color=tone, ms=7, zorder=3)
    left.set(title="3 seeds at each rate", xlabel="rate of dropout")
    left.set(ylabel="test accuracy, %")
    right.set(title=f"{pairs.shape[1]} seeds, a line each; large: mean")
    right.set_xticks(range(3), methods.values())
    return drawn


def jumpout():
    drawn, [(left, right)] = axes(1, 2, 3)
    for active, tone in zip((100, 60, 30), TONES, strict=True):
        edges = np.arange(0, 0.65, 0.04)
        steps = np.histogram(drawn_rates(active), edges)[0]
        label = f"q⁺ = {active / 100:g}"
        left.stairs(steps / steps.sum(), edges, color=tone, label=label, lw=1.5)
    active = np.arange(5, 101, 5)
    for adaptive, tone in zip((False, True), TONES, strict=False):
        rates = [np.mean(drawn_rates(n, 2_000, adaptive)) for n in active]
        changed, label = rates * active / 100, f"adaptive={adaptive}"
        right.plot(active / 100, changed, "o-", color=tone, label=label, ms=4)
    left.set(title="share of the steps with rate p′", xlabel="p′")
    right.set(title="mean share of the units that change", xlabel="q⁺")
    return drawn


def gaaf():
    drawn, [panels] = axes(1, 4, 3)
    x = np.linspace(-5, 5, 1_001, dtype="float32")
    ones = np.ones_like(x)
    for axis, name in zip(panels, ("tanh", "sigmoid", "relu"), strict=False):
        y, slope = passes(Activation(name), x, ones)
        more = passes(layers.GAAF(name), x, ones)[1]
        axis.plot(x, y, ":", color="black", label="φ")
        axis.plot(x, slope, "--", color="black", label="φ′")
        axis.plot(x, more - slope, color=GREY, label="s")
        axis.plot(x, more, color=ACCENT, label="φ′ + s")
        axis.set(title=name, xlabel="x", ylim=(-1.1, 2.1))
    for frequency, tone in ((5, ACCENT), (None, "black")):
        y = passes(layers.GAAF("tanh", frequency=frequency), x / 2, ones)[0]
        label = f"K = {frequency or '∞'}"
        panels[3].plot(x / 2, y, color=tone, label=label, lw=1)
    panels[3].set(title="φ + g·s of tanh", xlabel="x")
    return drawn


PICTURES = (
    *(masks, augmented_dropout, masked_input, rescale),
    *(batch_norm, jumpout, gaaf),
)

if __name__ == "__main__":
    folder = DOCS / "images"
    if sys.argv[1:]:
        folder = Path(sys.argv[1])
    for draw in PICTURES:
        drawn = draw()
        for axis in drawn.axes:
            axis.title.set_fontsize(9)
            if axis.get_legend_handles_labels()[1]:
                axis.legend(frameon=False, fontsize=8)
        name = f"methods-{draw.__name__}"
        if draw in (masks, batch_norm):
            name = draw.__name__
        drawn.savefig(folder / f"{name}.png", pil_kwargs={"optimize": True})
    for name, each in batch_norm_contrasts().items():
        numbers = (
            f"{each.mean:+.2f} points ({each.low:+.2f} to {each.high:+.2f})"
        )
        print(f"{name}: {numbers}, {each.count} seeds")
