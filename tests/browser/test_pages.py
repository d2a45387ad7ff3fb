"""No page of the site is wider than the window, on a desk and on a phone.

`make test-browser` builds the site and runs it, with headless Chromium; as a
program it saves a picture of each page: test_pages.py folder.
"""

import contextlib
import shutil
import sys
import time
from pathlib import Path

import pytest
from selenium import webdriver

SITE = Path(__file__).parents[2] / "build" / "site"
# Its own test looks at the playground.
PAGES = sorted(
    str(path.relative_to(SITE))
    for path in SITE.rglob("*.html")
    if path.name not in ("404.html", "playground.html")
)
SIZES = {1400: 900, 390: 844}
SCHEMES = {"light": "default", "dark": "slate"}
# References are as long as what they list. Of others this is the most.
LONG = ("api/", "reproductions/")
SCREENS = 15
# What scrolls sideways inside itself, as wide code does, is no fault; what
# hangs out of the window is.
LOOK = """
// What the switch in the head of each page does.
document.body.dataset.mdColorScheme = arguments[0];
const whole = document.documentElement;
const scrolls = (node) => node && node !== document.body && (
  ["auto", "scroll", "hidden"].includes(getComputedStyle(node).overflowX)
  || scrolls(node.parentElement));
return {
  paper: getComputedStyle(document.body).getPropertyValue(
    "--md-default-bg-color"),
  wide: whole.scrollWidth,
  high: whole.scrollHeight,
  outside: [...document.querySelectorAll("main *, header *")]
    .filter((node) => node.getBoundingClientRect().width > 0
      && node.getBoundingClientRect().right > whole.clientWidth + 1
      && !scrolls(node))
    .map((node) => node.tagName + " " + node.textContent.trim().slice(0, 60)),
};
"""


@contextlib.contextmanager
def chromium():
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for name in ("headless=new", "no-sandbox", "hide-scrollbars"):
        options.add_argument(f"--{name}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # With the path given, Selenium downloads nothing.
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with webdriver.Chrome(options, service) as driver:
        yield driver


@pytest.fixture(scope="module")
def driver():
    with chromium() as driver:
        yield driver


def look(driver, width, scheme):
    """Sets the window and the colours and measures the page."""
    size = {"width": width, "height": SIZES[width]}
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {**size, "deviceScaleFactor": 1, "mobile": False},
    )
    return driver.execute_script(LOOK, SCHEMES[scheme])


def test_the_site_is_built():
    assert len(PAGES) > 30, "make docs builds it"


@pytest.mark.parametrize("page", PAGES)
def test_page_fits_the_window(driver, page):
    driver.get((SITE / page).as_uri())
    papers = []
    for scheme in SCHEMES:
        for width in SIZES:
            seen = look(driver, width, scheme)
            assert seen["wide"] <= width
            assert seen["outside"] == []
            papers.append(seen["paper"])
            if width == 1400 and not page.startswith(LONG):
                assert seen["high"] <= SCREENS * SIZES[width]
    assert len(set(papers)) == 2
    assert driver.get_log("browser") == []


if __name__ == "__main__":
    with chromium() as browser:
        for page in PAGES:
            browser.get((SITE / page).as_uri())
            name = page.replace("/", "-").removesuffix(".html")
            for scheme in SCHEMES:
                for width in SIZES:
                    high = look(browser, width, scheme)["high"]
                    time.sleep(0.5)  # The colours fade into each other.
                    path = Path(sys.argv[1], f"{name}-{width}-{scheme}.png")
                    browser.save_screenshot(str(path))
                    print(f"{path.name}: {high / SIZES[width]:.1f} screens")
