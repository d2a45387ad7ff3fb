"""Compares the training in docs/playground.html with the Keras layers.

`make test-browser` runs it, with headless Chromium.
"""

import keras
import numpy as np
import pytest
from keras.layers import BatchNormalization, Dense, ReLU
from scipy import special
from selenium.webdriver.common.keys import Keys

from keras_dropx import layers, models, random
from keras_dropx.ops import masks

SIZES = [2, 16, 16, 2]
BATCH = 20
SIDES = ["a", "b"]

# What the page takes, and the layer of the package.
METHODS = {
    "none": ({}, None),
    "dropout": (
        {"rate": 0.3},
        lambda seed: layers.AugmentedDropout(0.3, seed=seed),
    ),
    "dropout, second words": (
        {"rate": 0.00312},
        lambda seed: layers.AugmentedDropout(0.00312, seed=seed),
    ),
    "dropout, rescale": (
        {"rate": 0.45, "exponent": 0.75},
        lambda seed: layers.AugmentedDropout(
            0.45, rescale="batchnorm", seed=seed
        ),
    ),
    "augmented": (
        {"rate": 0.3, "ratio": 0.2},
        lambda seed: layers.AugmentedDropout(0.3, 0.2, seed=seed),
    ),
    "independent": (
        {"rate": 0.3, "ratio": 0.45},
        lambda seed: layers.AugmentedDropout(
            0.3, 0.45, coupling="independent", seed=seed
        ),
    ),
    "forward": (
        {"rate": 0.3},
        lambda seed: layers.ForwardDropout(0.3, seed=seed),
    ),
    "backward": (
        {"rate": 0.3},
        lambda seed: layers.BackwardDropout(0.3, seed=seed),
    ),
    "jumpout": (
        {"sigma": 0.3},
        lambda seed: layers.Jumpout(0.3, rescale="mean", seed=seed),
    ),
    "gaaf": ({}, None),
}


def settings_of(name, exact=False):
    settings, make = METHODS[name]
    settings = {"method": name.split(",")[0], **settings}
    return {**settings, "exact": True} if exact else settings, make


def weights(seed=0):
    rng = np.random.default_rng(seed)
    pairs = list(zip(SIZES, SIZES[1:], strict=False))
    w = [rng.normal(0, np.sqrt(2 / n), (n, m)) for n, m in pairs]
    b = [rng.normal(0, 0.1, m) for _, m in pairs]
    return w, b


def page_params(w, b, **others):
    lists = {"w": [part.ravel().tolist() for part in w]}
    return lists | {"b": [part.tolist() for part in b]} | others


def batch(seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(BATCH, 2)), rng.integers(0, 2, BATCH)
    return x, y, {"x": x.ravel().tolist(), "y": y.tolist()}


def page_words(seeds, turn=0):
    """The words that layers of these seeds draw in a call, 32 bits each."""
    lists = []
    for seed in seeds:
        generator = keras.random.SeedGenerator(seed)
        for _ in range(turn + 1):
            now = random.next_seed(generator)
        parts = {}
        for name, shape, stream in (
            ("forward", (BATCH, 16), random.FORWARD),
            ("backward", (BATCH, 16), random.BACKWARD),
            ("rate", (2,), random.RATE),
        ):
            drawn = random.words(now, shape, stream, extended=True)
            high, low = (
                np.array(keras.ops.cast(part, "int64")) for part in drawn
            )
            parts[name] = (high * 2**16 + low).ravel().tolist()
        lists.append(parts)
    return lists


def spied(layer, noises):
    """Lets a layer tell the noise of each call."""
    original = layer.noise

    def noise(inputs):
        noises.append(original(inputs))
        return noises[-1]

    layer.noise = noise
    return layer


def keras_model(make, seeds, exact, gaaf, noises):
    def activation():
        return layers.GAAF("relu", frequency=None) if gaaf else "relu"

    drops = [spied(make(seed), noises) for seed in seeds] if make else []
    first, *others = (
        Dense(16, activation=activation()),
        Dense(16, activation=activation()),
        Dense(2),
    )
    stack = [first]
    for index, dense in enumerate(others):
        if not drops:
            stack.append(dense)
        elif exact:
            stack.append(layers.MaskedInput(dense, drops[index]))
        else:
            stack += [drops[index], dense]
    model = keras.Sequential([keras.Input((2,)), *stack])
    return compiled(model), [first, *others]


def compiled(model):
    model.compile(
        keras.optimizers.SGD(0.03, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=True,
    )
    return model


def assert_noise(found, noise, shape=(BATCH, 16)):
    for side in ("forward", "backward"):
        mask = getattr(noise, f"{side}_mask")
        mask = np.ones(shape) if mask is None else np.array(mask)
        page = np.reshape(found[side]["mask"], shape)
        np.testing.assert_array_equal(page, mask)
        scale = float(getattr(noise, f"{side}_scale"))
        assert found[side]["scale"] == pytest.approx(scale, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "exact"),
    [
        (name, exact)
        for name, (_, make) in METHODS.items()
        for exact in (False, True)
        if make or not exact  # no mask, no form
    ],
)
def test_one_step_is_that_of_the_layers(page, name, exact):
    settings, make = settings_of(name, exact)
    w, b = weights()
    x, y, points = batch()
    seeds = (11, 12)
    noises = []
    model, denses = keras_model(make, seeds, exact, name == "gaaf", noises)
    for dense, kernel, bias in zip(denses, w, b, strict=True):
        dense.set_weights([kernel, bias])
    loss = model.train_on_batch(x, y)

    found = page.script(
        "return playground.step(...arguments)",
        page_words(seeds),
        page_params(w, b),
        points,
        settings,
    )
    assert found["loss"] == pytest.approx(float(loss), rel=1e-5)
    for dense, kernel, bias, old in zip(
        denses, found["params"]["w"], found["params"]["b"], w, strict=True
    ):
        expected, expected_bias = dense.get_weights()
        np.testing.assert_allclose(kernel, expected.ravel(), atol=1e-6)
        np.testing.assert_allclose(bias, expected_bias, atol=1e-6)
        # The gradient itself, not the weights that hide it.
        gradient = (old - np.reshape(kernel, old.shape)) / 0.03
        assert np.abs(gradient).max() > 0.02
        np.testing.assert_allclose(gradient, (old - expected) / 0.03, atol=1e-5)
    for page_noise, noise in zip(found["noises"], noises, strict=False):
        assert_noise(page_noise, noise)
    assert len(noises) == (2 if make else 0)


def norm_model(make, seed, noises):
    """A mask, and a batch normalisation after the product that follows."""
    drop = spied(make(seed), noises)
    denses = [Dense(16, activation="relu"), Dense(16), Dense(2)]
    norm = BatchNormalization()
    stack = [denses[0], drop, denses[1], norm, ReLU(), denses[2]]
    return (
        compiled(keras.Sequential([keras.Input((2,)), *stack])),
        denses,
        norm,
    )


STRUCTURE = {"sites": [True, False], "norms": [False, True]}


def test_steps_with_momentum_and_batch_norm(page):
    settings, make = settings_of("augmented")
    w, b = weights(3)
    b[1][:] = 0  # A bias before a batch normalisation has no gradient.
    rng = np.random.default_rng(4)
    gamma, variance = rng.uniform(0.5, 1.5, (2, 16))
    beta, mean = rng.normal(size=(2, 16))
    model, denses, norm = norm_model(make, 21, noises := [])
    for dense, kernel, bias in zip(denses, w, b, strict=True):
        dense.set_weights([kernel, bias])
    norm.set_weights([gamma, beta, mean, variance])
    steps = []
    for turn in range(3):
        x, y, points = batch(turn)
        model.train_on_batch(x, y)
        steps.append([page_words([21], turn), points])
    own = {"gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
    params = page_params(
        w, b, **{name: [None, part.tolist()] for name, part in own.items()}
    )
    found = page.script(
        "const [steps, params, settings, structure] = arguments;"
        "const network = new playground.Network(params, structure);"
        "for (const [words, points] of steps)"
        "  network.step((l, kind) => words[l][kind], points, settings);"
        "const lists = Object.entries(network.params);"
        "return Object.fromEntries(lists.map(([name, parts]) =>"
        "  [name, parts.map((part) => part && Array.from(part))]))",
        steps,
        params,
        settings,
        STRUCTURE,
    )
    for index, dense in enumerate(denses):
        kernel, bias = dense.get_weights()
        np.testing.assert_allclose(found["w"][index], kernel.ravel(), atol=2e-6)
        np.testing.assert_allclose(found["b"][index], bias, atol=2e-6)
    for name, expected in zip(own, norm.get_weights(), strict=True):
        np.testing.assert_allclose(found[name][1], expected, atol=2e-6)
        assert np.abs(expected - own[name]).max() > 1e-3
    assert len(noises) == 3


def test_thresholds_are_those_of_the_package(page):
    rng = np.random.default_rng(0)
    rates = [0.0, 1e-5, 1e-4, 0.01, 0.3, 0.5, 0.999999]
    rates += rng.uniform(0, 1, 50).tolist() + rng.uniform(0, 0.01, 50).tolist()
    ratios = rng.uniform(0, 0.02, len(rates)).tolist()
    found = page.script(
        "const [rates, ratios] = arguments;"
        "return rates.map((rate, i) => {"
        "  const forward = playground.threshold(rate);"
        "  return [forward, playground.nestedThreshold(forward, ratios[i])];"
        "})",
        rates,
        ratios,
    )
    for rate, ratio, pair in zip(rates, ratios, found, strict=True):
        forward = masks.threshold(rate)
        backward = masks.nested_threshold(forward, ratio)
        expected = [
            part.high + (part.low or 0) / 2**16 for part in (forward, backward)
        ]
        assert pair == expected, (rate, ratio)


def test_inverse_of_erf(page):
    u = [2.0**-23, 1e-3, 0.2, 0.5, 0.9, 0.999, 1 - 2.0**-23]
    found = page.script("return arguments[0].map(playground.inverseErf)", u)
    np.testing.assert_allclose(found, special.erfinv(u), rtol=1e-9)


# The run on the page


def network(page, name, index=0):
    """Weights and data of a run, as NumPy arrays."""
    state = page.script(
        "const run = playground[arguments[0]].runs[arguments[1]];"
        "const list = (part) => part && Array.from(part);"
        "const data = ({ x, y }) => [list(x), list(y)];"
        "const params = Object.entries(run.network.params)"
        "  .map(([name, parts]) => [name, parts.map(list)]);"
        "return { params: Object.fromEntries(params), steps: run.steps,"
        "  train: data(run.data.train), test: data(run.data.test) };",
        name,
        index,
    )
    shapes = list(zip(SIZES, SIZES[1:], strict=False))
    lists = state["params"]
    w = [np.reshape(v, s) for v, s in zip(lists["w"], shapes, strict=True)]
    b = [np.array(v) for v in lists["b"]]
    norm = {k: lists[k][1] for k in ("gamma", "beta", "mean", "variance")}
    data = {
        part: (np.reshape(state[part][0], (-1, 2)), np.array(state[part][1]))
        for part in ("train", "test")
    }
    return w, b, norm, data, state["steps"]


def scores(w, b, x):
    h = np.maximum(x @ w[0] + b[0], 0)
    h = np.maximum(h @ w[1] + b[1], 0)
    return h @ w[2] + b[2]


def quality(z, y):
    margin = (z[:, 1] - z[:, 0]) * (2 * y - 1)
    return np.logaddexp(0, -margin).mean(), 100 * (margin > 0).mean()


def test_numbers_shown_are_those_of_the_networks(page):
    state = "#live?live-data=circles&live-noise=0.2&live-count=60&seed=7"
    state += "&a-method=augmented&a-ratio=0.5&b-rate=0.5&live-step=137"
    page.open(state=state)
    page.settle("live")
    table = page.table("live-table")
    shown = []
    for index in range(2):
        w, b, _, data, steps = network(page, "live", index)
        assert steps == page.number("live-at") == 137
        assert len(data["train"][1]) == 60 and len(data["test"][1]) == 500
        row = []
        for part in ("test", "train"):
            x, y = data[part]
            loss, accuracy = quality(scores(w, b, x), y)
            row += [accuracy, loss]
        shown.append(row)
    shown.append(np.subtract(shown[1], shown[0]).tolist())
    for index, name in enumerate(
        ("test accuracy, %", "test loss")
        + ("training accuracy, %", "training loss")
    ):
        expected = [row[index] for row in shown]
        atol = 0.0501 if "%" in name else 5.1e-4
        np.testing.assert_allclose(table[name], expected, atol=atol)
    # Both learn, and not the same.
    assert min(shown[0][0], shown[1][0]) > 70
    assert shown[2][1] != 0


@pytest.mark.parametrize("form", ["drop-in", "exact"])
def test_masks_drawn_are_those_of_the_step(page, form):
    state = f"#live?live-form={form}&a-method=augmented&a-ratio=0.4"
    page.open(state=state + "&b-method=forward&b-rate=0.4&live-step=33")
    page.settle("live")
    table = page.table("live-table")
    masks_of = page.script(
        "return playground.live.runs.map((run) => run.network.noises.map("
        "  (noise) => ['forward', 'backward'].map((side) => {"
        "    const words = side === 'forward' ? noise.words"
        "      : noise.backwardWords;"
        "    return Array.from(words.slice(0, 16),"
        "      (word) => word / 65536 >= noise[side].threshold); })))"
    )
    for side, both in zip(SIDES, masks_of, strict=True):
        kinds = page.script(
            "const units = document.querySelectorAll(arguments[0]);"
            "return Array.from(units, (unit) => unit.getAttribute('class'))",
            f"#{side}-net g",
        )
        assert len(kinds) == sum(SIZES)
        forward, backward = np.swapaxes(both, 0, 1).reshape(2, 32)
        names = {
            (True, True): "kept",
            (False, False): "dropped",
            (False, True): "dropped only",
            (True, False): "dropped only back",
        }
        expected = [
            names[pair]
            for pair in zip(forward.tolist(), backward.tolist(), strict=True)
        ]
        assert kinds[2:-2] == expected
        column = SIDES.index(side)
        dropped = table["dropped forward, of 32"][column]
        assert dropped == np.sum(~forward) > 0
        assert table["dropped backward"][column] == np.sum(~backward)
        if side == "a":  # nested
            assert not backward[~forward].any()
            assert (~backward).sum() > (~forward).sum()
        else:
            assert backward.all()


def test_methods_of_one_seed_are_paired(page, assert_share):
    """One word for each unit and step, whatever the method and the rate."""
    counts = page.script(
        "const data = { train: playground.points('moons', 0.2, 100, 5, 0),"
        "  test: playground.points('moons', 0.2, 100, 5, 1) };"
        "const run = (settings) => new playground.Run(settings, data, 5);"
        "const runs = [run({ method: 'dropout', rate: 0.3 }),"
        "  run({ method: 'augmented', rate: 0.3, ratio: 0.2 }),"
        "  run({ method: 'dropout', rate: 0.5 })];"
        "const out = { dropped: 0, more: 0, apart: 0, outside: 0, n: 0 };"
        "for (let step = 0; step < 60; step++) {"
        "  for (const run of runs) run.step();"
        "  for (const l of [0, 1]) {"
        "    const [a, b, c] = runs.map((run) => run.network.noises[l]);"
        "    a.words.forEach((word, i) => {"
        "      const u = word / 65536; out.n += 1;"
        "      const drops = u < a.forward.threshold;"
        "      out.dropped += drops;"
        "      out.apart += word !== b.words[i] || word !== c.words[i];"
        "      out.more += !drops && b.words[i] / 65536 < b.backward.threshold;"
        "      const kept = c.words[i] / 65536 >= c.forward.threshold;"
        "      out.outside += drops && kept;"
        "    });"
        "  }"
        "}"
        "return out"
    )
    assert counts["n"] == 60 * 2 * BATCH * 16
    assert_share(counts["dropped"], counts["n"], 0.3)
    assert_share(counts["more"], counts["n"] - counts["dropped"], 0.2)
    assert counts["apart"] == counts["outside"] == 0


@pytest.mark.parametrize("shape", ["moons", "circles", "spirals"])
def test_points(page, shape):
    """Noise of the asked deviation about the shape, and new points to test."""
    call = "const { x, y } = playground.points(...arguments);"
    call += "return [Array.from(x), Array.from(y)]"
    x, y = page.script(call, shape, 0.1, 4000, 3, 0)
    clean, same = page.script(call, shape, 0, 4000, 3, 0)
    assert y == same and sum(y) == 2000
    noise = np.subtract(x, clean) / 0.1
    assert np.abs(noise.mean()) <= 4 / np.sqrt(8000)
    assert np.abs(noise.std() - 1) <= 4 / np.sqrt(2 * 8000)
    assert page.script(call, shape, 0.1, 4000, 3, 1)[0] != x


def test_layers_of_the_sides_are_those_of_the_package(page):
    names = {**vars(layers), "Dense": Dense}
    page.script("document.getElementById('more').open = true")
    kinds = {
        "dropout": layers.AugmentedDropout,
        "augmented": layers.AugmentedDropout,
        "independent": layers.AugmentedDropout,
        "forward": layers.ForwardDropout,
        "backward": layers.BackwardDropout,
        "jumpout": layers.Jumpout,
        "gaaf": layers.GAAF,
    }
    for form in ("drop-in", "exact"):
        page.choose("live-form", form)
        for method, kind in kinds.items():
            page.choose("b-method", method)
            layer = eval(page.text("b-layer"), names)
            if form == "exact" and method != "gaaf":
                assert type(layer) is layers.MaskedInput
                layer = layer.dropout
            assert type(layer) is kind
            settings = page.script("return playground.live.runs[1].settings")
            assert settings["method"] == method
            assert settings.get("exact", False) == (
                form == "exact" and method != "gaaf"
            )
            for key in {"rate", "sigma"} & settings.keys():
                assert getattr(layer, key) == settings[key]
            if "ratio" in settings:
                assert layer.backward_rate == settings["ratio"]
                assert (layer.coupling == "nested") == (method == "augmented")
    page.choose("b-method", "none")
    assert page.text("b-layer") == "no layer"


# Monte Carlo


def monte_carlo(page, w, b, rate, point, seed, count=200):
    """Predictions for class 1 under masks of the page's words."""
    words = page.script(
        "const [seed, count] = arguments;"
        "const words = (t, l) => Array.from("
        "  playground.wordsOf([seed, t, l, 5], new Uint32Array(16)));"
        "return Array.from({ length: count }, (_, t) => [0, 1].map((l) =>"
        "  words(t, l)))",
        seed,
        count,
    )
    kept = (np.array(words) / 2**32 >= masks.threshold(rate).high / 2**16) / (
        1 - masks.represented_rate(masks.threshold(rate))
    )
    h = np.maximum(point @ w[0] + b[0], 0) * kept[:, 0]
    h = np.maximum(h @ w[1] + b[1], 0) * kept[:, 1]
    z = h @ w[2] + b[2]
    return special.expit(z[:, 1] - z[:, 0]), kept > 0


def test_monte_carlo_shown(page, assert_share):
    page.open(state="#live?b-rate=0.4&seed=9&live-step=150")
    page.settle("live")
    # A click moves the sliders there, in x₁ to the right, in x₂ up.
    page.script(
        "const canvas = document.getElementById('a-surface');"
        "const box = canvas.getBoundingClientRect();"
        "canvas.dispatchEvent(new MouseEvent('click', { bubbles: true,"
        "  clientX: box.left + 0.7 * box.width,"
        "  clientY: box.top + 0.4 * box.height }))"
    )
    point = [page.number("point-x-value"), page.number("point-y-value")]
    np.testing.assert_allclose(point, [0.4 * 2, 0.2 * 2], atol=0.04)
    page.settle("live")
    table = page.table("live-table")
    for index, rate in enumerate((0.0, 0.4)):
        w, b, *_ = network(page, "live", index)
        z = scores(w, b, np.array([point]))[0]
        inference = special.expit(z[1] - z[0])
        all_, kept = monte_carlo(page, w, b, rate, np.array(point), 9)
        assert_share(kept.size - kept.sum(), kept.size, rate)
        for name, expected in (
            ("class 1 at the point", inference),
            ("mean of 200 masks", all_.mean()),
            ("their deviation", all_.std()),
        ):
            assert table[name][index] == pytest.approx(expected, abs=5.1e-4)
        heights = page.script(
            "return Array.from(document.querySelectorAll("
            "  '#' + arguments[0] + '-spread .bar'), (bar) => {"
            "  const [, y, top] = bar.getAttribute('d')"
            "    .match(/M\\S+ (\\S+?)V(\\S+?)H/).map(Number);"
            "  return y - top; })",
            SIDES[index],
        )
        counts, _ = np.histogram(all_, np.linspace(0, 1, 21))
        top = max(0.25, counts.max() / 200)
        np.testing.assert_allclose(heights, counts / 200 / top * 66, atol=0.011)
    assert table["their deviation"][0] == 0
    assert table["their deviation"][1] > 0.02


# Batch normalisation


def norm_network(page):
    w, b, norm, data, _ = network(page, "bn")
    model, denses, layer = norm_model(
        lambda seed: layers.AugmentedDropout(0.5, seed=seed), 0, []
    )
    for dense, kernel, bias in zip(denses, w, b, strict=True):
        dense.set_weights([kernel, bias])
    names = ("gamma", "beta", "mean", "variance")
    layer.set_weights([np.array(norm[name]) for name in names])
    return model, w, b, data


@pytest.mark.parametrize("rescale", ["mean", "batchnorm", "variance"])
def test_batch_norm_shown(page, rescale):
    rate = 0.6
    a = masks.rescale_exponent(rescale)
    state = f"#bn?bn-rescale={rescale}&bn-rate={rate}&bn-step=400"
    page.open(state=state)
    page.settle("bn")
    model, w, b, data = norm_network(page)
    x, y = data["train"]
    h = np.maximum(x @ w[0] + b[0], 0)
    squares = (w[1] ** 2).sum(1) @ (h**2).mean(0)
    r = squares / (h @ w[1]).var(0).sum()
    mean_ratio = (1 - rate) ** (1 - a)
    ratio = (1 - rate) ** (2 - 2 * a) * (1 + rate / (1 - rate) * r)
    table = page.table("bn-table")
    assert page.number("bn-r") == pytest.approx(r, abs=5.1e-4)
    assert table["mean ratio"][1] == pytest.approx(mean_ratio, abs=5.1e-4)
    assert table["variance ratio"][1] == pytest.approx(ratio, abs=5.1e-4)
    # Measured: under more masks, it settles on the formula.
    call = "const [run] = playground.bn.runs;"
    call += "return playground.slideMeasured(run.network, run.settings,"
    call += " run.data.train, 1, 4000)"
    found = page.script(call)
    assert found["variance"] == pytest.approx(ratio, rel=0.02)
    assert table["variance ratio"][0] == pytest.approx(ratio, rel=0.15)
    assert found["mean"] == pytest.approx(mean_ratio, rel=0.02)
    # The units' moments in inference, and what the layer keeps of them.
    z = h @ w[1] + b[1]
    for name, value in (("mean", z.mean(0)), ("variance", z.var(0))):
        shown = [unit[name] for unit in found["inference"]]
        np.testing.assert_allclose(shown, value, atol=1e-9)
    # The variance that it has collected is nearer to that of training.
    collected = model.layers[3].moving_variance.numpy().sum()
    assert abs(np.log(collected / z.var(0).sum() / ratio)) < 0.3


def test_reestimates_as_the_package_does(page):
    page.open(state="#bn?bn-rate=0.8&bn-step=600")
    page.settle("bn")
    model, _, _, data = norm_network(page)
    clean = models.reestimate_batch_norm(model, data["train"][0], 100)
    found = page.script(
        "const [run] = playground.bn.runs;"
        "const copy = new playground.Network(run.network.params,"
        "  { sites: [true, false], norms: [false, true] });"
        "copy.reestimate(run.data.train.x, run.data.train.y.length);"
        "return ['mean', 'variance'].map((k) => Array.from(copy.params[k][1]))"
    )
    norm = clean.layers[3]
    for part, variable in zip(
        found, (norm.moving_mean, norm.moving_variance), strict=True
    ):
        np.testing.assert_allclose(part, variable.numpy(), atol=1e-5)
    x, y = data["test"]
    trained = quality(model.predict(x, verbose=0), y)
    new = quality(clean.predict(x, verbose=0), y)

    # Not shown before it is asked for, nor taken for the other.
    assert page.text("bn-state") == "as trained"
    table = page.table("bn-table")
    assert table["test accuracy, %"][1] == table["test loss"][1] == "–"
    page.find("bn-reestimate").send_keys(Keys.SPACE)
    page.settle("bn")
    assert page.text("bn-state") == "re-estimated"
    table = page.table("bn-table")
    for index, (loss, accuracy) in enumerate((trained, new)):
        assert table["test loss"][index] == pytest.approx(loss, abs=6e-4)
        shown = table["test accuracy, %"][index]
        assert shown == pytest.approx(accuracy, abs=0.251)
    assert new[1] > trained[1] + 3  # what the button is for


def test_batch_norm_slides_apart_as_the_rate_grows(page):
    ratios = []
    for rate in (0, 0.3, 0.6, 0.9):
        page.open(state=f"#bn?bn-rate={rate}&bn-step=200")
        page.settle("bn")
        ratios.append(page.table("bn-table")["variance ratio"][0])
        layer = eval(
            page.text("bn-layer"), {**vars(layers), **vars(keras.layers)}
        )
        assert layer[0].rate == rate
    assert ratios[0] == 1
    assert ratios == sorted(ratios) and ratios[-1] > 4
