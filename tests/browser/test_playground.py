"""Compares the numbers of docs/playground.html with the formulas.

`make test-browser` runs it, with headless Chromium.
"""

import re
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy import optimize, special, stats
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from keras_dropx import layers, models

PAGE = Path(__file__).parents[2] / "docs" / "playground.html"
SEED = 12345
BOTTOM, HEIGHT = 214, 206  # of the axes of each plot, in pixels
METHODS = [
    "standard",
    "forward",
    "backward",
    "augmented",
    "independent",
    "jumpout",
]
FREQUENCIES = [
    *(1, 2, 5, 10, 20, 50, 100, 200, 500),
    *(1000, 2000, 5000, 10_000),
]
UNITS = [*(f"x{i}" for i in "₁₂₃₄"), *(f"h{i}" for i in "₁₂₃₄₅₆")]
UNITS += [f"z{i}" for i in "₁₂₃"]


def mulberry32(seed, count):
    """Tommy Ettinger's generator of 32 bits, as numbers in [0, 1)."""
    with np.errstate(over="ignore"):
        steps = np.arange(1, count + 1, dtype="uint32")
        state = np.uint32(seed) + steps * np.uint32(0x6D2B79F5)
        t = (state ^ (state >> 15)) * (state | np.uint32(1))
        t ^= t + (t ^ (t >> 7)) * (t | np.uint32(61))
        return (t ^ (t >> 14)) / 2**32


def hidden(page, index):
    network = page.script("return playground.NETWORK")
    x = np.array(network["inputs"][index])
    return x, network, np.maximum(np.array(network["below"]) @ x, 0)


def jumpout_rates(words, sigma, h):
    u, v = words[:, 12], words[:, 13]
    normal = np.sqrt(-2 * np.log(1 - u)) * np.cos(2 * np.pi * v)
    p = np.minimum(0.01 + sigma * np.abs(normal), 0.6)
    q = np.mean(h > 0)
    return p, q, np.minimum(p / q, 0.6)


def noise(method, words, rate=0.0, ratio=0.0, p_prime=None):
    """ε_f and ε_b of the table in section 1 of the equations."""
    u, v = words[:, :6], words[:, 6:12]
    mask = (u >= rate) / (1 - rate)
    if method == "jumpout":
        p_prime = p_prime[:, None]
        mask = (u >= p_prime) * (1 - p_prime) ** -0.75
    one = np.ones_like(u)
    nested = u >= rate + (1 - rate) * ratio
    return {
        "standard": (mask, mask),
        "forward": (mask, one),
        "backward": (one, mask),
        "augmented": (mask, mask * nested / (1 - ratio)),
        "independent": (mask, (v >= ratio) / (1 - ratio)),
        "jumpout": (mask, mask),
    }[method]


def drawn(page, method, draws, **settings):
    """ε_f and ε_b of the page's function, for draws 0, 1, …"""
    eps = page.script(
        "const [method, settings, seed, draws] = arguments;"
        "return Array.from({ length: draws }, (_, draw) =>"
        "  playground.noise(method, settings,"
        "    playground.words(seed, draw, 14)));",
        method,
        settings,
        SEED,
        draws,
    )
    return [np.array([e[k] for e in eps]) for k in ("forward", "backward")]


def gradients(network, x, h, eps_f, eps_b, form):
    """dh, and the gradients of the weights above and below the layer."""
    above = np.array(network["above"])
    delta = above @ (h * eps_f) - network["target"]
    dh = (above.T @ delta) * eps_b
    source = eps_b if form == "exact" else eps_f
    return dh, np.outer(delta, h * source), np.outer(dh * (h > 0), x)


# 1. Two masks


def test_words_of_the_seed(page):
    # The whole stream, and any draw of it without those before.
    words = mulberry32(SEED, 28).tolist()
    stream = "const next = playground.mulberry32(arguments[0]);"
    stream += "return Array.from({ length: 28 }, next)"
    assert page.script(stream, SEED) == words
    draw = "return playground.words(arguments[0], 1, 14)"
    assert page.script(draw, SEED) == words[14:]
    assert (
        page.script(draw, 2**32 - 1) == mulberry32(2**32 - 1, 28)[14:].tolist()
    )


@pytest.mark.parametrize("method", METHODS[:-1])
def test_masks(page, method, assert_share):
    rate, ratio, draws = 0.3, 0.2, 4000
    words = mulberry32(SEED, 14 * draws).reshape(draws, 14)
    expected = noise(method, words, rate, ratio)
    eps = drawn(page, method, draws, rate=rate, ratio=ratio)
    np.testing.assert_allclose(eps, expected, rtol=1e-12)
    forward, backward = (e == 0 for e in eps)
    n = forward.size
    assert_share(forward.sum(), n, 0.0 if method == "backward" else rate)
    whole = {"standard": rate, "forward": 0.0, "backward": rate}
    whole |= {"augmented": rate + (1 - rate) * ratio, "independent": ratio}
    assert_share(backward.sum(), n, whole[method])
    if method == "augmented":
        assert backward[forward].all()
        # Among the kept units, where the ratio shows.
        assert_share(backward[~forward].sum(), (~forward).sum(), ratio)
    if method == "independent":
        assert_share((forward & backward).sum(), n, rate * ratio)
    if method == "standard":
        assert np.array_equal(forward, backward)


def test_law_of_jumpouts_rate(page):
    draws = 4000
    words = mulberry32(SEED, 14 * draws).reshape(draws, 14)
    normal = page.script(
        "return arguments[0].map(([u, v]) => playground.halfNormal(u, v))",
        words[:, 12:].tolist(),
    )
    assert stats.kstest(normal, "halfnorm").pvalue > 0.01
    # No active unit: the identity, not 0/0.
    rates = page.script("return playground.jumpoutRates([0, 0], 0.1, 0.5, 0)")
    assert rates["q"] == rates["pPrime"] == 0


@pytest.mark.parametrize("method", METHODS)
def test_counts_shown(page, method):
    rate, ratio, sigma, draws = 0.45, 0.25, 0.2, 1002
    page.sow(SEED)
    page.choose("net-method", method)
    page.choose("net-input", 1)
    for name, value in (("rate", rate), ("ratio", ratio), ("sigma", sigma)):
        page.move(f"net-{name}", value)
    page.click("net-many", 10)
    page.click("net-sample")

    _, _, h = hidden(page, 1)
    words = mulberry32(SEED, 14 * draws).reshape(draws, 14)
    p, q, p_prime = jumpout_rates(words, sigma, h)
    eps = noise(method, words, rate, ratio, p_prime)
    forward, backward = (e == 0 for e in eps)
    assert page.number("net-draw") == page.number("net-draws") == draws
    assert page.number("net-seed") == SEED
    assert page.number("net-units") == 6 * draws
    assert page.number("net-forward-count") == forward.sum()
    assert page.number("net-backward-count") == backward.sum()
    assert page.number("net-only-count") == (backward & ~forward).sum()
    share = 100 * forward.mean()
    assert abs(page.number("net-forward-share") - share) <= 0.051

    # What was asked, and how far from it the counts may be.
    probability = np.full(draws, rate)
    if method == "jumpout":
        probability = p_prime
        shown = [page.number(f"net-{name}") for name in ("p", "q", "p-prime")]
        last = p[-1], q, p_prime[-1]
        np.testing.assert_allclose(shown, last, atol=5.1e-5)
    if method == "backward":
        probability = np.zeros(draws)
    asked = page.number("net-forward-expected")
    assert abs(asked - 100 * probability.mean()) <= 0.051
    error = np.sqrt(6 * np.sum(probability * (1 - probability)))
    assert abs(forward.sum() - 6 * probability.sum()) <= 4 * error
    if method == "forward":
        assert page.number("net-backward-count") == 0

    # Another seed, another count; the draws begin again.
    page.sow(SEED + 1)
    assert page.number("net-draw") == 1
    page.click("net-many")
    page.click("net-reset")
    assert page.number("net-draw") == 1


def test_jumpout_is_clipped_by_the_active_units(page):
    page.sow(SEED)
    page.choose("net-method", "jumpout")
    page.move("net-sigma", 0.15)
    clipped = []
    for index in range(3):
        page.choose("net-input", index)
        _, _, h = hidden(page, index)
        assert (h > 0).sum() == [5, 4, 2][index]
        words = mulberry32(SEED, 14)[None]
        (p,), q, (p_prime,) = jumpout_rates(words, 0.15, h)
        shown = [page.number(f"net-{name}") for name in ("p", "q", "p-prime")]
        np.testing.assert_allclose(shown, [p, q, p_prime], atol=5.1e-5)
        clipped.append("clipped" in page.text("net-clipped"))
        assert clipped[-1] == (p / q > 0.6)
    assert clipped == [False, False, True]


@pytest.mark.parametrize("form", ["drop-in", "exact"])
def test_worked_examples_of_the_equations(page, form):
    h, eps_f = [1, 2, 3], [2, 0, 2]
    for eps_b, w, delta, z, exact, dh in (
        ([2, 0, 0], [1, 1, 1], 1, 8, [2, 0, 0], [2, 0, 0]),
        ([2.5, 0, 0], [3, -1, 2], 0.5, 18, [1.25, 0, 0], [3.75, 0, 0]),
    ):
        eps = {"forward": eps_f, "backward": eps_b}
        call = "return playground.masked(...arguments)"
        assert page.script(call, [w], h, eps) == [z]
        call = "return playground.maskedGradients(...arguments)"
        found = page.script(call, [w], h, eps, [delta], form)
        received = (delta * np.multiply(h, eps_f)).tolist()
        assert found["dW"] == [exact if form == "exact" else received]
        assert found["dh"] == dh


@pytest.mark.parametrize("form", ["drop-in", "exact"])
@pytest.mark.parametrize("method", METHODS)
def test_nets_shown(page, method, form):
    rate, ratio, sigma = 0.4, 0.4, 0.3
    page.sow(SEED)
    page.choose("net-method", method)
    page.choose("net-form", form)
    for name, value in (("rate", rate), ("ratio", ratio), ("sigma", sigma)):
        page.move(f"net-{name}", value)
    words = mulberry32(SEED, 4 * 14).reshape(4, 14)
    x, network, h = hidden(page, 0)
    _, _, p_prime = jumpout_rates(words, sigma, h)
    eps = noise(method, words, rate, ratio, p_prime)
    for eps_f, eps_b in zip(*eps, strict=True):
        dh, above, below = gradients(network, x, h, eps_f, eps_b, form)
        source = eps_b if form == "exact" else eps_f
        expected = [h, eps_f, eps_b, h * source, dh]
        shown = list(page.table("net-table").values())
        np.testing.assert_allclose(shown, expected, atol=5.1e-3)
        assert page.number("net-above") == np.count_nonzero(above)
        assert page.number("net-below") == np.count_nonzero(below)

        value = h * eps_f
        carried = np.outer(value, x), np.outer(np.ones(3), value)
        for name, mask, (low, high) in (
            ("forward", eps_f, carried),
            ("backward", eps_b, (below, above)),
        ):
            names, dropped, edges = net(page, f"net-{name}")
            assert names == UNITS
            units = {UNITS[4 + j] for j in np.flatnonzero(mask == 0)}
            assert dropped == units
            words_shown = ", ".join(sorted(units)) or "none"
            assert page.text(f"net-{name}-units") == words_shown
            lower = {(UNITS[k], UNITS[4 + j]) for j, k in np.argwhere(low)}
            upper = {
                (UNITS[4 + j], UNITS[10 + i]) for i, j in np.argwhere(high)
            }
            assert edges == lower | upper
        page.click("net-sample")


def net(page, name):
    """Units, dropped units and the edges drawn as carrying something."""
    markup = page.script(
        "return document.getElementById(arguments[0]).innerHTML", name
    )
    circles = re.findall(
        r'<g class="([^"]*)"><circle class="unit" cx="(\d+)" cy="([\d.]+)".*?'
        r"<text[^>]*>(..)</text>",
        markup,
    )
    units = {(cx, cy): unit for _, cx, cy, unit in circles}
    dropped = {unit for kind, _, _, unit in circles if "dropped" in kind}
    paths = re.findall(
        r'class="edge on"[^>]* d="M(\S+) (\S+?)L(\S+) (\S+)"', markup
    )
    edges = {(units[a, b], units[c, d]) for a, b, c, d in paths}
    assert markup.count('class="edge') == 24 + 18
    return list(units.values()), dropped, edges


# 2. The mean over masks


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize(
    ("w", "x", "keep"), [(2, 1, 0.5), (-1.5, 2, 0.8), (3, 0.4, 0.05), (1, 1, 1)]
)
def test_running_mean(page, w, x, keep, inverted):
    page.sow(SEED)
    for name, value in (("w", w), ("x", x), ("keep", keep)):
        page.move(f"mean-{name}", value)
    if inverted:
        page.click("mean-inverted")
    scale = 1 / keep if inverted else 1
    expected = w * x * keep * scale
    assert page.number("mean-inference") == pytest.approx(expected, abs=5.1e-5)
    assert page.text("mean-running") == page.text("mean-band") == "–"
    u = mulberry32(SEED, 1003)
    for count, button, times in (
        (1, "sample", 1),
        (3, "sample", 2),
        (1003, "many", 10),
    ):
        page.click(f"mean-{button}", times)
        outputs = np.where(u[:count] < keep, w * x * scale, 0)
        deviation = abs(w * x) * scale * np.sqrt(keep * (1 - keep) / count)
        assert page.number("mean-count") == count
        for name, number in (
            ("last", outputs[-1]),
            ("running", outputs.mean()),
            ("band", deviation),
        ):
            shown = page.number(f"mean-{name}")
            assert shown == pytest.approx(number, abs=5.1e-5), name
    assert abs(outputs.mean() - expected) <= 4 * deviation + 1e-9
    # The line ends where the number says it does.
    heights = page.script(
        "return ['.line.orange', '.line.dashed', '.dots.blue'].map((kind) => {"
        "  const d = document.querySelector('#mean-plot ' + kind);"
        "  return d.getAttribute('d').match(/[\\d.]+ ([\\d.]+)(h0)?$/)[1]; })"
    )
    line, dashed, last = map(float, heights)
    slope = (last - dashed) / (outputs[-1] - expected or np.inf)
    assert line - dashed == pytest.approx(
        slope * (outputs.mean() - expected), abs=0.02
    )
    page.click("mean-reset")
    assert page.number("mean-count") == 0


def test_auto_play(page):
    for name, count in (("mean", "mean-count"), ("net", "net-draw")):
        button, reading = (
            page.find(f"{name}-play"),
            page.find(f"{name}-reading"),
        )
        start, begun = page.number(count), time.monotonic()
        button.send_keys(Keys.SPACE)
        assert button.text == "Pause"
        assert button.get_attribute("aria-pressed") == "true"
        # What changes all the time is not read out.
        assert reading.get_attribute("aria-live") == "off"
        WebDriverWait(page, 10, 0.05).until(
            lambda page, c=count, s=start: page.number(c) >= s + 3
        )
        assert time.monotonic() - begun > {"mean": 0.25, "net": 1.5}[name]
        button.send_keys(Keys.SPACE)
        assert button.text == "Play"
        assert reading.get_attribute("aria-live") == "polite"
        stopped = page.number(count)
        time.sleep(0.8)
        assert page.number(count) == stopped


def test_no_play_of_itself_where_motion_is_not_wanted(page):
    assert page.find("net-play").text == "Play"
    time.sleep(0.8)
    assert page.number("net-draw") == 1


def test_play_of_itself_ends(page):
    show = "document.getElementById(arguments[0]).scrollIntoView()"
    wait = WebDriverWait(page, 20, 0.05)

    def plays(page):
        return page.find("net-play").text == "Pause"

    page.open(motion="no-preference")
    page.script(show, "net")
    wait.until(plays)
    wait.until(lambda page: not plays(page))
    assert page.number("net-draw") == 5
    # Before that, a key there ends it; what is started then goes on.
    page.open(motion="no-preference")
    page.script(show, "net")
    wait.until(plays)
    page.find("net-rate").send_keys(Keys.ARROW_RIGHT)
    assert not plays(page)
    page.click("net-play")
    time.sleep(3)
    page.find("net-ratio").send_keys(Keys.ARROW_RIGHT)
    assert plays(page)


@pytest.mark.parametrize(
    ("name", "slider"), [("rescale", "rescale-p"), ("gaaf", "gaaf-x")]
)
def test_sliders_that_play(page, name, slider):
    """They sweep their range, come back, and can be stopped."""
    page.open(motion="no-preference")
    start = page.find(slider).get_property("value")
    # Listens in the page: a busy machine looks too seldom from outside.
    page.script(
        "const [name, slider] = arguments;"
        "const part = document.getElementById(name);"
        "const play = document.getElementById(`${name}-play`);"
        "window.told = [];"
        "new MutationObserver(() => told.push(["
        "  play.textContent, Number(document.getElementById(slider).value)]))"
        "  .observe(part, { subtree: true, childList: true });"
        "part.scrollIntoView();",
        name,
        slider,
    )
    wait = WebDriverWait(page, 60, 0.1)
    wait.until(lambda page: "Pause" in dict(page.script("return told")))
    wait.until(lambda page: page.find(f"{name}-play").text == "Play")
    values = [value for _, value in page.script("return told")]
    assert page.find(slider).get_property("value") == start
    low, high = (
        float(page.find(slider).get_attribute(end)) for end in ("min", "max")
    )
    assert max(values) - min(values) > 0.9 * (high - low)
    # By hand, and stopped where it is.
    button = page.find(f"{name}-play")
    button.send_keys(Keys.SPACE)
    wait.until(lambda page: page.find(slider).get_property("value") != start)
    button.send_keys(Keys.SPACE)
    stopped = page.find(slider).get_property("value")
    time.sleep(0.3)
    assert page.find(slider).get_property("value") == stopped != start


# 3. The rescale exponent


@pytest.mark.parametrize("p", [0, 0.01, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("r", [0, 0.5, 1, 2.5, 4])
def test_rescale(page, p, r):
    page.move("rescale-p", p)
    page.move("rescale-r", r)

    def variance(a):
        return (1 - p) ** (2 - 2 * a) * (1 + p / (1 - p) * r)

    star = 1 - r / 2  # the limit for p to 0
    if p:
        star = optimize.brentq(lambda a: variance(a) - 1, -3, 2, xtol=1e-12)
    table = page.table("rescale-table")
    (head,) = (head for head in table if head.startswith("a*"))
    shown = float(head.removeprefix("a* = ").replace("−", "-"))
    assert shown == pytest.approx(star, abs=5.1e-5)
    exponents = [1, 0.75, 0.5, star]
    expected = [[(1 - p) ** (1 - a), variance(a)] for a in exponents]
    np.testing.assert_allclose(list(table.values()), expected, atol=5.1e-5)
    assert list(table)[:3] == ["1", "0.75", "0.5"]
    assert page.find("rescale-note").is_displayed() == (star < 0)
    exact = page.script(
        "return playground.variancePreserving(arguments[0], arguments[1])", p, r
    )
    assert exact == pytest.approx(star, abs=1e-9)


def curve(page, plot, kind):
    """The points of a line, in pixels from the left and the bottom."""
    (path,) = page.all(f"#{plot} .line.{kind}")
    points = re.findall(r"([-\d.]+) ([-\d.]+)", path.get_attribute("d"))
    x, y = np.array(points, float).T
    return x, BOTTOM - y


@pytest.mark.parametrize("r", [0.5, 3])
def test_curves_of_the_rescale(page, r):
    page.move("rescale-r", r)
    p = np.linspace(0, 0.8, 81)
    noise = 1 + p / (1 - p) * r
    star = 1 - r / 2 * np.ones(81)
    star[1:] = 1 + np.log(noise[1:]) / (2 * np.log(1 - p[1:]))
    kinds = {"blue": 1, "orange": 0.75, "green": 0.5, "purple": star}
    for kind, a in kinds.items():
        x, y = curve(page, "rescale-mean", kind)
        assert x == pytest.approx(np.interp(p, [0, 0.8], x[[0, -1]]), abs=0.01)
        share = ((1 - p) ** (1 - a) - 0.2) / (1.05 - 0.2)
        assert y == pytest.approx(HEIGHT * share, abs=0.01)
        _, y = curve(page, "rescale-variance", kind)
        variance = (1 - p) ** (2 - 2 * a) * noise
        share = np.log(variance / 0.15) / np.log(20 / 0.15)
        assert y == pytest.approx(HEIGHT * share, abs=0.01)


# 4. GAAF


def gaaf(name, x, k, width):
    value, slope = {
        "tanh": (np.tanh(x), np.cosh(x) ** -2.0),
        "relu": (np.maximum(x, 0), np.where(x > 0, 1.0, 0.0)),
        "sigmoid": (special.expit(x), special.expit(x) * special.expit(-x)),
    }[name]
    scaled = x / width
    shape = {
        "tanh": np.exp(-(scaled**2) / 4),
        "relu": special.expit(5 * (scaled + 0.5)),
        "sigmoid": np.exp(-(scaled**2) / 16) / 4,
    }[name]
    tooth = (x * k - np.floor(x * k) - 0.5) / k
    return {
        "phi": value,
        "phiPrime": slope,
        "g": tooth,
        "s": shape,
        "y": value + tooth * shape,
        "gradient": slope + shape,
    }


@pytest.mark.parametrize("name", ["tanh", "relu", "sigmoid"])
def test_gaaf_shown(page, name):
    page.choose("gaaf-activation", name)
    for x, index, width in (
        (0, 0, 1),
        (-0.5, 12, 1),
        (2, 2, 0.5),
        (-1, 5, 2.5),
        (4.37, 7, 4),
        (-6, 3, 0.25),
    ):
        k = FREQUENCIES[index]
        for slider, value in (("x", x), ("k", index), ("width", width)):
            page.move(f"gaaf-{slider}", value)
        assert page.number("gaaf-k-value") == k
        assert page.number("gaaf-at-x") == x
        expected = gaaf(name, x, k, width)
        shown = {n: v for n, (v,) in page.table("gaaf-table").items()}
        assert shown.pop("1/(2K)") == pytest.approx(0.5 / k, abs=5.1e-7)
        numbers = list(shown.values())
        np.testing.assert_allclose(
            numbers, list(expected.values()), atol=5.1e-7, rtol=0
        )
        assert abs(shown["g"]) <= 0.5 / k


@pytest.mark.parametrize("name", ["tanh", "relu", "sigmoid"])
@pytest.mark.parametrize(("k", "width"), [(1, 1), (10_000, 0.5), (5, 3)])
def test_gaaf_functions(page, name, k, width):
    x = np.random.default_rng(0).uniform(-6, 6, 500)
    found = page.script(
        "const [name, xs, k, width] = arguments;"
        "return xs.map((x) => playground.gaaf(name, x, k, width))",
        name,
        x.tolist(),
        k,
        width,
    )
    for key, expected in gaaf(name, x, k, width).items():
        values = [row[key] for row in found]
        np.testing.assert_allclose(values, expected, atol=1e-12, err_msg=key)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("tanh", {0: 1, 2: 0.3679, 4: 0.0183}),
        ("relu", {0: 0.9241, -0.5: 0.5, -1: 0.0759}),
    ],
)
def test_shapes_as_the_equations_tell_them(page, name, values):
    for x, expected in values.items():
        call = "return playground.gaaf(...arguments).s"
        found = page.script(call, name, x, 10, 1)
        assert found == pytest.approx(expected, abs=5.1e-5)


@pytest.mark.parametrize(("name", "top"), [("tanh", 2.2), ("sigmoid", 0.6)])
def test_curves_of_gaaf(page, name, top):
    page.choose("gaaf-activation", name)
    page.move("gaaf-width", 2)
    x = np.linspace(-6, 6, 481)
    expected = gaaf(name, x, 5, 2)
    low = -0.03 * top
    for kind, key in (
        ("dashed", "phiPrime"),
        ("green", "s"),
        ("blue", "gradient"),
    ):
        _, y = curve(page, "gaaf-slope", kind)
        share = (expected[key] - low) / (top - low)
        assert y == pytest.approx(HEIGHT * share, abs=0.01)
    low, high = {"tanh": (-1.5, 1.5), "sigmoid": (-0.25, 1.25)}[name]
    _, y = curve(page, "gaaf-value", "dashed")
    share = (expected["phi"] - low) / (high - low)
    assert y == pytest.approx(HEIGHT * share, abs=0.01)
    # From the foot of each tooth to its tip: 12 · K teeth of 9 points.
    _, y = curve(page, "gaaf-value", "blue")
    feet = np.arange(-30, 30) / 5
    share = (gaaf(name, feet, 5, 2)["y"] - low) / (high - low)
    assert y[::9] == pytest.approx(HEIGHT * share, abs=0.01)
    tips = feet + 0.2 - 1e-9
    share = (gaaf(name, tips, 5, 2)["y"] - low) / (high - low)
    assert y[8::9] == pytest.approx(HEIGHT * share, abs=0.01)


def test_sawtooth_is_zoomed(page):
    page.move("gaaf-k", 10)
    page.move("gaaf-x", 1.23)
    _, heights = curve(page, "gaaf-tooth", "orange")
    assert len(heights) == 8  # 4 teeth
    labels = [text.text for text in page.all("#gaaf-tooth text")]
    assert "1/4,000" in labels and "−1/4,000" in labels
    # From -1/(2K) to 1/(2K), which is 4/5 of the height.
    rise = heights[1::2] - heights[::2]
    assert rise == pytest.approx(np.full(4, HEIGHT / 1.25), abs=0.01)


# The page


def test_page_needs_nothing_else(page):
    markup = PAGE.read_text()
    assert len(markup.encode()) < 130_000
    assert not re.search(r"https?:|src=|@import|url\((?!#)|fetch\(", markup)
    assert "default-src 'none'" in markup
    for name in ("net-many", "mean-many"):
        page.click(name)
    entries = "return performance.getEntriesByType('resource').length"
    assert page.script(entries) == 0


def test_sliders_by_keyboard(page):
    sliders = page.all("input[type=range]")
    assert len(sliders) == 22
    page.script("document.getElementById('more').open = true")
    for slider in sliders:
        name = slider.get_attribute("id")
        section, _, kind = name.rpartition("-")
        if kind == "sigma":
            page.choose(f"{section}-method", "jumpout")
        if name in ("a-rate", "a-ratio", "b-ratio"):
            page.choose(f"{section}-method", "augmented")
        low, high, step = (
            float(slider.get_attribute(key)) for key in ("min", "max", "step")
        )
        for key, value in (
            (Keys.END, high),
            (Keys.ARROW_LEFT, high - step),
            (Keys.HOME, low),
            (Keys.ARROW_RIGHT, low + step),
        ):
            slider.send_keys(key)
            found = float(slider.get_property("value"))
            assert found == pytest.approx(value)
            if name == "gaaf-k":
                value = FREQUENCIES[round(value)]
            assert page.number(f"{name}-value") == pytest.approx(value)
            shown = slider.get_attribute("aria-valuetext")
            assert shown == page.find(f"{name}-value").text


def test_every_control_by_tab(page):
    for method in ("augmented", "jumpout"):
        page.open()
        page.script(  # without focus, where Tab begins
            "document.getElementById('more').open = true;"
            "for (const section of ['net', 'a', 'b']) {"
            "  const select = document.getElementById(`${section}-method`);"
            "  select.value = arguments[0];"
            "  select.dispatchEvent(new Event('input'));"
            "}",
            method,
        )
        controls = [
            control
            for control in page.all("a, button, input, select, summary")
            if control.is_displayed()
        ]
        reached = []
        for _ in controls:
            page.driver.switch_to.active_element.send_keys(Keys.TAB)
            element = page.driver.switch_to.active_element
            outline = element.value_of_css_property("outline-style")
            assert outline == "solid", element.get_attribute("id")
            reached.append(element)
        assert reached == controls
        for control in controls:
            assert control.accessible_name, control.get_attribute("id")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_telephone(page, scheme):
    page.open(width=360, scheme=scheme)
    page.click("mean-many")
    width = "return document.documentElement.scrollWidth"
    for method in METHODS:
        for form in ("drop-in", "exact"):
            page.choose("net-method", method)
            page.choose("net-form", form)
            assert page.script(width) == 360, (method, form)
    page.move("rescale-r", 4)
    page.move("gaaf-k", 12)
    page.click("mean-inverted")
    for method in (*METHODS[1:], "none", "dropout", "gaaf"):
        page.choose("a-method", method)
        assert page.script(width) == 360, method


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(page, scheme):
    page.open(scheme=scheme)
    names = "page panel ink soft blue orange green purple".split()
    hexes = page.script(
        "const style = getComputedStyle(document.documentElement);"
        "return arguments[0].map((n) => style.getPropertyValue('--' + n))",
        names,
    )
    luminance = {}
    for name, code in zip(names, hexes, strict=True):
        rgb = np.array([int(code.strip()[i : i + 2], 16) for i in (1, 3, 5)])
        rgb = rgb / 255
        linear = np.where(
            rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4
        )
        luminance[name] = linear @ [0.2126, 0.7152, 0.0722]
    assert (luminance["page"] > 0.5) == (scheme == "light")
    for back in ("page", "panel"):
        for ink in names[2:]:
            low, high = sorted([luminance[back], luminance[ink]])
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, back)


def test_readings_are_told(page):
    for name in ("live", "bn", "net", "mean", "rescale", "gaaf"):
        reading = page.find(f"{name}-reading")
        assert reading.get_attribute("role") == "status"
        assert reading.aria_role == "status"


@pytest.mark.parametrize("method", METHODS)
def test_layers_named_are_those_of_the_package(page, method):
    names = {**vars(layers), "Dense": keras.layers.Dense}
    page.choose("net-method", method)
    code = page.text("net-layer").removesuffix(" before Dense(3)")
    alone = eval(code, names)
    page.choose("net-form", "exact")
    wrapped = eval(page.text("net-layer"), names)
    assert type(wrapped) is layers.MaskedInput
    for layer in (alone, wrapped.dropout):
        config = layer.get_config()
        if method == "jumpout":
            assert (type(layer), layer.sigma) == (layers.Jumpout, 0.1)
            assert (layer.min_rate, layer.max_rate) == (0.01, 0.6)
            continue
        kind = {
            "forward": layers.ForwardDropout,
            "backward": layers.BackwardDropout,
        }.get(method, layers.AugmentedDropout)
        assert (type(layer), layer.rate) == (kind, 0.3)
        pair = {
            "standard": (0.0, "nested"),
            "augmented": (0.3, "nested"),
            "independent": (0.3, "independent"),
        }.get(method)
        if pair:
            assert (config["backward_rate"], config["coupling"]) == pair


def test_other_layers_named_are_those_of_the_package(page):
    default = eval(page.text("mean-layer").split(", and")[0], vars(layers))
    assert (default.rate, default.rescale) == (0.5, 0.0)
    assert "scale_for_inference" in page.text("mean-layer")
    assert hasattr(models, "scale_for_inference")
    page.click("mean-inverted")
    code = page.text("mean-layer").removesuffix(", the default")
    assert eval(code, vars(layers)).rescale == "mean"
    gaaf = eval(page.text("gaaf-layer"), vars(layers))
    assert (gaaf.width, gaaf.frequency) == (1, 5)
