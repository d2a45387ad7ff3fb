"""The page docs/playground.html in headless Chromium."""

import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

PAGE = Path(__file__).parents[2] / "docs" / "playground.html"


def number(text):
    """Returns the number that a text is, or the text."""
    try:
        return float(text)
    except ValueError:
        return text


class Page:
    """The page in Chromium."""

    path = PAGE

    def __init__(self, driver):
        self.driver = driver
        self.script = driver.execute_script

    def open(
        self, width=1100, scheme="light", motion="reduce", state="", height=800
    ):
        wanted = {
            "prefers-color-scheme": scheme,
            "prefers-reduced-motion": motion,
        }
        features = [{"name": n, "value": v} for n, v in wanted.items()]
        command = self.driver.execute_cdp_cmd
        command("Emulation.setEmulatedMedia", {"features": features})
        size = {"width": width, "height": height, "deviceScaleFactor": 1}
        command(
            "Emulation.setDeviceMetricsOverride",
            {**size, "mobile": width < 500},
        )
        self.driver.get("about:blank")  # else another state reloads nothing
        self.driver.get(self.path.as_uri() + state)
        return self

    def find(self, name):
        return self.driver.find_element(By.ID, name)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def click(self, name, times=1):
        for _ in range(times):
            self.find(name).click()

    def choose(self, name, value):
        """Chooses by keyboard: Selenium's own way sends no input event."""
        element = self.find(name)
        values = [o.get_property("value") for o in Select(element).options]
        element.send_keys(Keys.HOME, Keys.ARROW_DOWN * values.index(str(value)))
        assert element.get_property("value") == str(value)

    def move(self, name, value):
        """Moves a slider as the mouse would, and checks that it is there."""
        self.script(
            "const slider = document.getElementById(arguments[0]);"
            "slider.value = arguments[1];"
            "slider.dispatchEvent(new Event('input', { bubbles: true }));",
            name,
            value,
        )
        assert float(self.find(name).get_property("value")) == value

    def sow(self, seed):
        self.script("document.getElementById('more').open = true")
        field = self.find("seed")
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(str(seed))

    def settle(self, name):
        """Waits until a network is trained as far as asked, and drawn."""
        done = f"return !playground.{name}.dirty"
        WebDriverWait(self, 60, 0.05).until(lambda page: page.script(done))

    def text(self, name):
        return self.find(name).text.replace("−", "-")

    def number(self, name):
        return float(self.text(name).replace(",", ""))

    def table(self, name):
        """Returns the numbers (or words) of a table, by the heads of rows."""
        rows = self.script(
            "const body = document.getElementById(arguments[0]).tBodies[0];"
            "return [...body.rows].map((row) =>"
            "  [...row.cells].map((cell) => cell.textContent))",
            name,
        )
        return {
            head: [number(cell.replace("−", "-")) for cell in cells]
            for head, *cells in rows
        }


@pytest.fixture(scope="module")
def driver():
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for name in ("headless=new", "no-sandbox", "hide-scrollbars"):
        options.add_argument(f"--{name}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # With the path given, Selenium downloads nothing.
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with webdriver.Chrome(options, service) as driver:
        yield driver


@pytest.fixture
def page(driver):
    yield Page(driver).open()
    assert driver.get_log("browser") == []
