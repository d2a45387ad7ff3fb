"""How docs/playground.html moves, keeps its state and fits a telephone.

`make test-browser` runs it, with headless Chromium.
"""

import time
from urllib import parse

from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait


def test_plays_when_opened(page):
    page.open(motion="no-preference")
    wait = WebDriverWait(page, 10, 0.05)
    wait.until(lambda page: page.number("live-step") >= 3)
    assert page.find("live-play").text == "Pause"
    reading = page.find("live-reading")
    assert reading.get_attribute("aria-live") == "off"
    page.find("live-play").send_keys(Keys.SPACE)
    assert page.find("live-play").text == "Play"
    assert reading.get_attribute("aria-live") == "polite"
    page.settle("live")
    step = page.number("live-step")
    assert step == page.number("live-at")
    time.sleep(0.5)
    assert page.number("live-step") == step
    # The other network waits until it is seen.
    assert page.number("bn-step") == 0
    assert page.find("bn-play").text == "Pause"
    page.script("document.getElementById('bn').scrollIntoView()")
    wait.until(lambda page: page.number("bn-step") >= 3)


def test_plays_to_its_end_and_again(page):
    page.open(state="#live?live-step=1990")
    page.settle("live")
    page.find("live-play").send_keys(Keys.SPACE)
    wait = WebDriverWait(page, 30, 0.05)
    wait.until(lambda page: page.find("live-play").text == "Play")
    page.settle("live")
    assert page.number("live-at") == 2000
    page.find("live-play").send_keys(Keys.SPACE)
    wait.until(lambda page: 0 < page.number("live-step") < 1990)
    page.click("live-reset")
    assert page.number("live-step") < 100


def test_still_where_motion_is_not_wanted(page):
    for name in ("live", "bn"):
        assert page.find(f"{name}-play").text == "Play"
        assert page.find(f"{name}-play").is_displayed()
    time.sleep(0.5)
    assert page.number("live-step") == page.number("bn-step") == 0


def test_frames_while_training(page):
    """A frame costs the main thread less than 33 ms, so 30 a second fit.

    Its own time, not the clock's: the machine may be busy with others.
    """
    page.open(width=1400, height=900, motion="no-preference")
    command = page.driver.execute_cdp_cmd
    command("Performance.enable", {"timeDomain": "threadTicks"})

    def state():
        found = command("Performance.getMetrics", {})["metrics"]
        seconds = {part["name"]: part["value"] for part in found}
        frames = page.script("return playground.frames.length")
        return frames, seconds["TaskDuration"], page.number("live-step")

    wait = WebDriverWait(page, 120, 0.2)
    wait.until(lambda page: state()[0] >= 20)  # compiled by then
    first, before, step = state()
    wait.until(lambda page: state()[0] >= first + 40)
    last, after, end = state()
    command("Performance.disable", {})
    assert end > step  # it was training
    milliseconds = 1000 * (after - before) / (last - first)
    print(f"{milliseconds:.1f} ms of the main thread for each frame")
    assert 0.1 < milliseconds < 33


STATE = {
    "live-data": "spirals",
    "live-noise": "0.1",
    "live-count": "160",
    "live-form": "exact",
    "seed": "77",
    "a-method": "augmented",
    "a-rate": "0.2",
    "a-ratio": "0.35",
    "b-method": "jumpout",
    "b-sigma": "0.2",
    "point-x": "-0.5",
    "bn-rate": "0.75",
    "net-method": "backward",
    "mean-inverted": "true",
    "gaaf-activation": "sigmoid",
}


def shown(page):
    """All that is set and told, and the networks."""
    return page.script(
        "const all = [...document.querySelectorAll("
        "  'input[id], select[id], output, svg, table, .reading')];"
        "const tell = (e) => e.matches('input, select')"
        "  ? (e.type === 'checkbox' ? e.checked : e.value) : e.innerHTML;"
        "const weights = playground.live.runs.map((run) =>"
        "  Array.from(run.network.params.w[1]));"
        "return JSON.stringify([all.map(tell), weights])"
    )


def test_link_reproduces_what_is_shown(page):
    page.script("document.getElementById('more').open = true")
    for name, value in STATE.items():
        if name == "seed":
            page.sow(value)
        elif name == "mean-inverted":
            page.click(name)
        elif page.find(name).tag_name == "select":
            page.choose(name, value)
        else:
            page.move(name, float(value))
    page.click("net-many")
    page.click("mean-many")
    page.click("bn-reestimate")
    page.find("live-play").send_keys(Keys.SPACE)
    wait = WebDriverWait(page, 30, 0.05)
    wait.until(lambda page: page.number("live-step") > 30)
    page.find("live-play").send_keys(Keys.SPACE)
    for name in ("live", "bn"):
        page.settle(name)

    command = page.driver.execute_cdp_cmd
    denied = {"permission": {"name": "clipboard-write"}, "setting": "denied"}
    command("Browser.setPermission", denied)
    page.click("live-copy")
    link = wait.until(lambda page: page.all("input[readonly]"))[0]
    link = link.get_property("value")
    # Not shown of itself, but selected, to be copied by hand.
    assert page.script("return getSelection().toString()") == link
    head, _, query = link.partition("?")
    assert head == page.path.as_uri() + "#live"
    found = dict(parse.parse_qsl(query))
    counts = {"net-draws": "101", "mean-draws": "100", "bn-reestimate": "1"}
    steps = int(found.pop("live-step"))
    assert found == STATE | counts and steps > 30

    before = shown(page)
    for motion in ("reduce", "no-preference"):
        page.open(state=f"#live?{query}", motion=motion)
        for name in ("live", "bn")[: 2 if motion == "reduce" else 1]:
            page.settle(name)
        if motion == "reduce":
            assert shown(page) == before
        assert page.find("live-play").text == "Play"
        assert page.number("live-at") == steps
    command("Browser.resetPermissions", {})


def test_address_follows(page):
    page.move("b-rate", 0.5)
    wait = WebDriverWait(page, 10, 0.05)
    address = "return location.hash"
    wait.until(lambda page: page.script(address) == "#live?b-rate=0.5")
    page.move("rescale-r", 2)
    wait.until(
        lambda page: page.script(address) == "#rescale?b-rate=0.5&rescale-r=2"
    )
    # A link to a part leaves what is set; one with a state sets everything.
    page.script("location.hash = '#gaaf'")
    assert page.number("b-rate-value") == 0.5
    page.script("location.hash = '#live?a-method=jumpout'")
    wait.until(lambda page: page.number("b-rate-value") == 0.3)
    assert page.find("a-method").get_property("value") == "jumpout"
    assert page.number("rescale-r-value") == 0.5


def test_nonsense_in_the_address(page):
    page.open(
        state="#nowhere?a-method=magic&b-rate=NaN&seed=-3&live-noise=9"
        "&net-draws=x&mean-draws=-2&bn-step=1e99&live-step=oops&other=1"
    )
    page.settle("live")
    assert page.find("a-method").get_property("value") == "none"
    assert page.number("live-noise-value") == 0.5  # as far as it goes
    assert page.find("seed").get_property("value") == "32"
    assert page.number("net-draw") == 1
    assert page.number("mean-count") == 0
    assert page.number("live-step") == 0


def test_presets(page):
    links = [
        link.get_attribute("href").partition("#")[2]
        for link in page.all(".presets a")
    ]
    assert len(links) == 7
    for link in links:
        page.open(state=f"#{link}")
        asked = dict(parse.parse_qsl(link.partition("?")[2]))
        for name, value in asked.items():
            assert page.find(name).get_property("value") == value, link
    # By keyboard, from another state.
    page.open(state="#live?b-rate=0.9")
    page.all(".presets a")[1].send_keys(Keys.ENTER)
    wait = WebDriverWait(page, 10, 0.05)
    wait.until(lambda page: page.number("b-rate-value") == 0.3)
    assert page.find("b-method").get_property("value") == "augmented"
    # The one that is open begins again.
    page.move("live-noise", 0.4)
    page.all(".presets a")[1].send_keys(Keys.ENTER)
    wait.until(lambda page: page.number("live-noise-value") == 0.25)


def test_links_lead_somewhere(page):
    links = {
        link.get_attribute("href").partition("#")[0]
        for link in page.all("a")
        if not link.get_attribute("href").startswith(page.path.as_uri() + "#")
    }
    page.script("document.getElementById('more').open = true")
    for method in page.script(
        "return Array.from(document.getElementById('a-method').options,"
        "  (option) => option.value)"
    ):
        page.choose("a-method", method)
        links.add(page.find("a-about").get_attribute("href"))
    names = {
        link.removeprefix(page.path.parent.as_uri() + "/").removesuffix(".html")
        for link in links
    }
    assert {"index", "methods/jumpout", "guides/batch_norm"} <= names
    for name in names:
        assert (page.path.parent / f"{name}.md").is_file(), name


# What a control changes, and has to be seen beside it.
EFFECTS = {
    "live-data": ["a-surface", "b-surface"],
    "live-noise": ["a-surface", "b-surface"],
    "live-play": ["a-surface", "b-surface"],
    "live-reset": ["a-surface", "b-surface"],
    "a-method": ["a-surface", "a-spread"],
    "b-method": ["b-surface", "b-spread"],
    "b-rate": ["b-surface", "b-spread", "b-curve"],
    "point-x": ["a-spread", "b-spread"],
    "point-y": ["a-spread", "b-spread"],
    "bn-data": ["bn-surface", "bn-values"],
    "bn-rate": ["bn-surface", "bn-values", "bn-ratio"],
    "bn-reestimate": ["bn-surface", "bn-values"],
    "bn-play": ["bn-surface", "bn-values"],
    "net-method": ["net-forward", "net-backward"],
    "net-rate": ["net-forward", "net-backward"],
    "net-sample": ["net-forward", "net-backward"],
    "mean-w": ["mean-plot"],
    "mean-keep": ["mean-plot"],
    "mean-sample": ["mean-plot"],
    "rescale-p": ["rescale-mean", "rescale-variance"],
    "rescale-r": ["rescale-mean", "rescale-variance"],
    "gaaf-activation": ["gaaf-value", "gaaf-slope"],
    "gaaf-width": ["gaaf-value", "gaaf-slope"],
    "gaaf-x": ["gaaf-value", "gaaf-slope", "gaaf-tooth"],
}


def test_control_and_effect_together_on_a_telephone(page):
    page.open(width=390, height=844)
    boxes = page.script(
        "const at = (id) => document.getElementById(id)"
        "  .getBoundingClientRect();"
        "return Object.entries(arguments[0]).map(([id, effects]) => {"
        "  const boxes = [id, ...effects].map(at);"
        "  return [id, Math.min(...boxes.map((box) => box.top)),"
        "    Math.max(...boxes.map((box) => box.bottom)),"
        "    Math.min(...boxes.map((box) => box.height))]; })",
        EFFECTS,
    )
    bottoms = {}
    for name, top, bottom, height in boxes:
        assert height > 0, name
        assert bottom - top < 844, (name, bottom - top)
        bottoms[name] = bottom
    # Both surfaces as soon as the page is open.
    assert bottoms["live-data"] <= 844


def test_surfaces_follow_the_scheme(page):
    corner = (
        "const canvas = document.getElementById('a-surface');"
        "const { data } = canvas.getContext('2d').getImageData(3, 3, 1, 1);"
        "return data[0] + data[1] + data[2]"
    )
    lights = []
    for scheme in ("light", "dark"):
        page.open(scheme=scheme)
        page.settle("live")
        lights.append(page.script(corner))
    assert lights[0] > lights[1] + 100
