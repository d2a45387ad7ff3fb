"""Looks for the callbacks' values in TensorBoard, with headless Chromium.

`make test-browser` runs it. The picture in the docs is made by

    python tests/browser/test_tensorboard.py docs/images/tensorboard.png
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib import error, request

import keras
import numpy as np
from selenium import webdriver
from selenium.common import StaleElementReferenceException, TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait
from sklearn.datasets import load_digits

from keras_dropx.callbacks import GradientInformation, NetDistribution
from keras_dropx.layers import AugmentedDropout

HIDDEN = ("hidden_1", "hidden_2")
FORMS = ("gradient_information", "gradient_information_normalized")
CARDS = [f"{form}/{layer}" for form in FORMS for layer in (*HIDDEN, "logits")]
TAGS = [*CARDS, *(f"saturation/{layer}" for layer in HIDDEN)]
EPOCHS = 10
SIZE = "window-size=1280,1323"  # with all cards: others are not drawn
SECONDS = 60  # that anything here may take
# Without WebGL the lines are elements of the page.
PAGE = "?tagFilter=^gradient_information&forceSVG=true&darkMode=false"
# What has no parameter is kept by TensorBoard where the browser stores things.
SETTINGS = {
    "scalarSmoothing": 0,
    "ignoreOutliers": False,
    "stepSelectorEnabled": False,
    "timeSeriesSettingsPaneOpened": False,
    "timeSeriesCardMinWidth": 450,  # for two columns and whole tags
    "sideBarWidthInPercent": 15,
}


def train(log_dir):
    """Trains on the digits; returns the callbacks' results by their tags."""
    keras.utils.set_random_seed(0)
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    model = keras.Sequential([keras.Input((64,))])
    for name in HIDDEN:
        model.add(keras.layers.Dense(64, activation="relu", name=name))
        model.add(AugmentedDropout(0.5))
    model.add(keras.layers.Dense(10, name="logits"))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    gradients = GradientInformation(log_dir=log_dir)
    nets = NetDistribution(x[:100], log_dir=log_dir)
    # Keras' first: it would log again what ours have put in the logs.
    loggers = [keras.callbacks.TensorBoard(log_dir), gradients, nets]
    model.fit(
        x, y, epochs=EPOCHS, validation_split=0.2, verbose=0, callbacks=loggers
    )
    return gradients.results | nets.results


def read(url, tag):
    """Returns the steps and values of a scalar in TensorBoard."""
    address = f"{url}data/plugin/scalars/scalars?run=train&tag={tag}"
    with request.urlopen(address, timeout=SECONDS) as answer:
        return [(step, value) for _, step, value in json.load(answer)]


@contextlib.contextmanager
def tensorboard():
    """Trains and serves the logs; yields the address and the results."""
    with tempfile.TemporaryDirectory() as folder:
        results = train(folder)
        command = [sys.executable, "-m", "tensorboard.main", "--port=0"]
        command += ["--host=127.0.0.1", f"--logdir={folder}"]
        log = Path(folder, "tensorboard.txt")
        with log.open("w") as file:
            process = subprocess.Popen(command, stderr=file, process_group=0)
        try:
            url = WebDriverWait(log, SECONDS).until(
                lambda log: re.search(r"http://.+:\d+/", log.read_text()),
                "no address of TensorBoard",
            )[0]
            # What it has not read yet, it does not find.
            wait = WebDriverWait(url, SECONDS, 0.5, [error.HTTPError])
            wait.until(
                lambda url: all(len(read(url, tag)) == EPOCHS for tag in TAGS),
                "not all values in TensorBoard",
            )
            yield url, results
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def lines(driver):
    """Returns by the titles displayed how many points each line has."""
    return {
        card.find_element(By.CLASS_NAME, "tag").text.replace("\n", ""): [
            len(re.findall("[ML]", path.get_attribute("d")))
            for path in card.find_elements(By.CSS_SELECTOR, ".series-view path")
            if path.is_displayed()
        ]
        for card in driver.find_elements(By.TAG_NAME, "scalar-card")
    }


def look(url, path):
    """Checks the charts in Chromium and saves a picture of the page."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for name in ("headless=new", "no-sandbox", "hide-scrollbars", SIZE):
        options.add_argument(f"--{name}")
    # With the path given, Selenium downloads nothing.
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with webdriver.Chrome(options, service) as driver:
        driver.get(f"{url}data/environment")  # small, from the same place
        store = "localStorage.setItem('_tb_global_settings', arguments[0])"
        driver.execute_script(store, json.dumps(SETTINGS))
        driver.get(url + PAGE)
        stale = [StaleElementReferenceException]
        wait = WebDriverWait(driver, SECONDS, 0.5, stale)
        expected = {tag: [EPOCHS] for tag in CARDS}
        with contextlib.suppress(TimeoutException):
            wait.until(lambda driver: lines(driver) == expected)
        assert lines(driver) == expected
        shot = driver.get_screenshot_as_png
        wait.until(lambda _: shot() == shot(), "the page does not keep still")
        Path(path).write_bytes(shot())


def test_values_and_charts_of_the_callbacks(tmp_path):
    with tensorboard() as (url, results):
        for tag in TAGS:
            values = np.float32(results[tag])  # as in the files
            assert read(url, tag) == list(enumerate(values.tolist()))
        look(url, tmp_path / "page.png")


if __name__ == "__main__":
    with tensorboard() as (url, _):
        look(url, sys.argv[1])
