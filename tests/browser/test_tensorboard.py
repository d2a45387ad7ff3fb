"""Looks for the callbacks' values in TensorBoard, with headless Chromium.

`make test-browser` runs it. The picture in the docs is made by

    python tests/browser/test_tensorboard.py docs/images/tensorboard.png
"""

import base64
import contextlib
import io
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import keras
import numpy as np
import pytest
from matplotlib import image
from sklearn.datasets import load_digits

from keras_dropx.callbacks import GradientInformation, NetDistribution
from keras_dropx.layers import AugmentedDropout

HIDDEN = ("hidden_1", "hidden_2")
LAYERS = (*HIDDEN, "logits")
FORMS = ("gradient_information", "gradient_information_normalized")
CARDS = [f"{form}/{layer}" for form in FORMS for layer in LAYERS]
EPOCHS = 3
SECONDS = 90  # that anything here may take
SIZE = (1280, 1180)
# Without WebGL the lines are elements of the page. What has no parameter is
# kept by TensorBoard where the browser stores things.
QUERY = {"tagFilter": "^gradient_information", "forceSVG": "true"}
SETTINGS = {
    "scalarSmoothing": 0,
    "ignoreOutliers": False,
    "stepSelectorEnabled": False,
    "timeSeriesSettingsPaneOpened": False,
    "timeSeriesCardMinWidth": 450,  # for two columns and whole tags
    "sideBarWidthInPercent": 15,
}
BROWSER = (
    "chromium",
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-pipe",
)
# A card counts as seen if nothing lies over the middle of its heading.
READ_CARDS = """
[...document.querySelectorAll("scalar-card")].map(card => {
  const tag = card.querySelector(".tag");
  const box = tag.getBoundingClientRect();
  const top = document.elementFromPoint(
    (box.left + box.right) / 2, (box.top + box.bottom) / 2);
  const chart = card.querySelector(".series-view");
  const area = chart && chart.getBoundingClientRect();
  return {
    tag: tag.innerText.replaceAll("\\n", ""),
    seen: tag.contains(top),
    area: area && [area.left, area.top, area.right, area.bottom],
    lines: [...card.querySelectorAll(".series-view path")].map(path => ({
      points: path.getAttribute("d").match(/[ML]/g).length,
      color: getComputedStyle(path).stroke,
    })),
  };
})
"""


def until(found, what):
    """Calls `found` until it returns something true, and returns that."""
    end = time.monotonic() + SECONDS
    while not (value := found()):
        assert time.monotonic() < end, f"after {SECONDS} s no {what}"
        time.sleep(0.1)
    return value


@contextlib.contextmanager
def started(command, log, **kwargs):
    """Starts a process group and ends all of it with the block."""
    with open(log, "wb") as file:
        process = subprocess.Popen(
            command, stderr=file, start_new_session=True, **kwargs
        )
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if stream is not None:
                    stream.close()


def train(log_dir, epochs):
    """Trains on the digits; returns the scalars by their tags."""
    keras.utils.set_random_seed(0)
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    model = keras.Sequential([keras.Input((64,))])
    for name in HIDDEN:
        model.add(keras.layers.Dense(64, activation="relu", name=name))
        model.add(AugmentedDropout(0.5))
    model.add(keras.layers.Dense(10, name=LAYERS[-1]))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    ours = [
        GradientInformation(log_dir=log_dir),
        NetDistribution(x[:100], log_dir=log_dir),
    ]
    model.fit(
        x,
        y,
        epochs=epochs,
        validation_split=0.2,
        verbose=0,
        # Keras' first: it would log again what ours have put in the logs.
        callbacks=[keras.callbacks.TensorBoard(log_dir), *ours],
    )
    saturation = [f"saturation/{layer}" for layer in HIDDEN]
    results = ours[0].results | ours[1].results
    return {tag: results[tag] for tag in (*CARDS, *saturation)}


@contextlib.contextmanager
def tensorboard(log_dir, folder):
    """Serves `log_dir` and yields the address."""
    log = folder / "tensorboard.txt"
    command = [sys.executable, "-m", "tensorboard.main"]
    command += ["--logdir", log_dir, "--host", "127.0.0.1", "--port", "0"]
    with started(command, log, stdin=subprocess.DEVNULL) as process:

        def address():
            written = log.read_text()
            assert process.poll() is None, written[-3000:]
            return re.search(r"http://127\.0\.0\.1:\d+/", written)

        url = until(address, "address of TensorBoard").group()
        until(lambda: fetch(url, "plugins_listing"), "answer of TensorBoard")
        yield url


def fetch(url, plugin, **query):
    """Asks TensorBoard for JSON; None if it has no such thing."""
    # Not by a proxy that the environment may name.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    address = f"{url}data/{plugin}?{urllib.parse.urlencode(query)}"
    try:
        with opener.open(address, timeout=SECONDS) as answer:
            return json.load(answer)
    except urllib.error.URLError:
        return None


class Page:
    """A page in Chromium, by its debugging protocol through two pipes."""

    def __init__(self, process, log):
        self.process = process
        self.log = log
        self.calls = 0
        self.session = {}
        self.received = b""
        target = self.call("Target.createTarget", url="about:blank")
        session = self.call("Target.attachToTarget", **target, flatten=True)
        self.session = session
        width, height = SIZE
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.call("Page.enable")

    def open(self, url, settings):
        """Goes to a page whose stored TensorBoard settings are `settings`."""
        pair = json.dumps("_tb_global_settings"), json.dumps(settings)
        self.call(
            "Page.addScriptToEvaluateOnNewDocument",
            source=f"localStorage[{pair[0]}] = JSON.stringify({pair[1]})",
        )
        self.call("Page.navigate", url=url)

    def evaluate(self, expression):
        """Returns the value of a JavaScript expression."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def screenshot(self):
        """Returns the page as it is now, a PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    def call(self, method, **params):
        """Calls a method of the protocol and returns its result."""
        self.calls += 1
        message = {"id": self.calls, "method": method, "params": params}
        sent = json.dumps(message | self.session).encode() + b"\0"
        self.process.stdin.write(sent)
        self.process.stdin.flush()
        end = time.monotonic() + SECONDS
        while True:
            answer = self._next(end)
            if answer.get("id") == self.calls:  # the others are events
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _next(self, end):
        output = self.process.stdout.fileno()
        while b"\0" not in self.received:
            left = max(0, end - time.monotonic())
            assert select.select([output], [], [], left)[0], "no answer"
            part = os.read(output, 1 << 16)
            assert part, f"it has ended:\n{self.log.read_text()[-3000:]}"
            self.received += part
        message, _, self.received = self.received.partition(b"\0")
        return json.loads(message)


@contextlib.contextmanager
def chromium(folder):
    """Starts Chromium and yields its page."""
    assert shutil.which(BROWSER[0]), f"{BROWSER[0]} is not on the PATH"
    # It reads from descriptor 3 and writes to 4.
    shell = 'exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null'
    profile = f"--user-data-dir={folder / 'profile'}"
    log = folder / "chromium.txt"
    with started(
        ["sh", "-c", shell, *BROWSER, profile],
        log,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        yield Page(process, log)


def look(url, epochs, folder):
    """Opens the charts of the gradients.

    Returns:
        What is read of each card, by its heading, and a PNG of the page.
    """
    query = urllib.parse.urlencode({**QUERY, "darkMode": "false"})
    with chromium(folder) as page:
        page.open(f"{url}?{query}#timeseries", SETTINGS)

        def drawn():
            cards = {card["tag"]: card for card in page.evaluate(READ_CARDS)}
            complete = cards.keys() >= set(CARDS) and all(
                [line["points"] for line in cards[tag]["lines"]] == [epochs]
                for tag in CARDS
            )
            return complete and cards

        pictures = [b""]

        def still():
            pictures.append(page.screenshot())
            return pictures[-1] == pictures[-2]

        try:
            cards = until(drawn, "chart of every layer")
            until(still, "picture that stays")
        except AssertionError as error:
            (folder / "page.png").write_bytes(page.screenshot())
            text = page.evaluate("document.body.innerText")
            raise AssertionError(f"{error}; in {folder}:\n{text}") from error
        return cards, pictures[-1]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Yields the address of TensorBoard and the scalars of a training."""
    folder = tmp_path_factory.mktemp("tensorboard")
    log_dir = str(folder / "logs")
    scalars = train(log_dir, EPOCHS)
    with tensorboard(log_dir, folder) as url:
        yield url, scalars


def test_values_are_those_of_the_callbacks(served):
    url, scalars = served
    for tag, expected in scalars.items():

        def values(tag=tag):
            rows = fetch(url, "plugin/scalars/scalars", run="train", tag=tag)
            return rows is not None and len(rows) == EPOCHS and rows

        rows = until(values, f"values of {tag}")
        assert [step for _, step, _ in rows] == list(range(EPOCHS))
        # Float32 in the files.
        np.testing.assert_allclose([row[2] for row in rows], expected, 1e-6)
        assert np.all(expected > 0)


def test_tags_of_the_time_series_page(served):
    url, scalars = served
    histograms = {f"net_value/{layer}" for layer in HIDDEN}

    keras_own = {"epoch_loss", "epoch_learning_rate"}

    def has_all():
        kinds = fetch(url, "plugin/timeseries/tags")
        found = {
            kind: set(kinds[kind]["runTagInfo"].get("train", []))
            for kind in ("scalars", "histograms")
        }
        return found == {
            "scalars": scalars.keys() | keras_own,
            "histograms": histograms,
        }

    until(has_all, "list of just these tags")
    for tag in histograms:

        def has_steps(tag=tag):
            query = {"run": "train", "tag": tag}
            rows = fetch(url, "plugin/histograms/histograms", **query)
            return [step for _, step, _ in rows or ()] == list(range(EPOCHS))

        until(has_steps, f"histograms of {tag}")


def test_charts_are_drawn_on_the_page(served, tmp_path):
    url, _ = served
    cards, picture = look(url, EPOCHS, tmp_path)
    (tmp_path / "page.png").write_bytes(picture)
    assert cards.keys() == set(CARDS)
    pixels = image.imread(io.BytesIO(picture))[..., :3] * 255
    assert pixels.shape == (SIZE[1], SIZE[0], 3)
    for tag in CARDS:
        card = cards[tag]
        assert card["seen"], tag
        left, top, right, bottom = map(round, card["area"])
        (line,) = card["lines"]
        color = [int(part) for part in re.findall(r"\d+", line["color"])]
        same = np.abs(pixels[top:bottom, left:right] - color).max(-1) < 8
        # From the first step to the last one, most of the chart's width.
        assert same.any(0).mean() > 0.5, tag


def main(path, epochs=10):
    """Makes the picture for the docs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train(f"{name}/logs", epochs)
        with tensorboard(f"{name}/logs", folder) as url:
            _, picture = look(url, epochs, folder)
    Path(path).write_bytes(picture)


if __name__ == "__main__":
    main(sys.argv[1])
