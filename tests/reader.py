"""A reader of static pages: headless Chromium on files, and all that it has against a page."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import CHROMIUM, DRIVER, SWITCHES, violations

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

SCREENS = [(360, "dark"), (768, "light"), (1400, "light"), (1400, "dark")]
"""Widths in pixels, with the colours that are asked for."""
OPENED = """
const done = arguments[0];
document.querySelectorAll("details").forEach((each) => { each.open = true; });
const all = Array.from(document.images);
all.forEach((each) => { each.loading = "eager"; });
Promise.allSettled(all.map((each) => each.decode())).then(() => done(all.filter((each) => !each.naturalWidth)
  .map((each) => each.src)));
"""


@contextmanager
def reading() -> "Iterator[Chrome]":
    """Open a browser that keeps what its console says; tests are skipped where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    for program in (CHROMIUM, DRIVER):
        if not program.exists():
            pytest.skip(f"{program} is not there (Debian: apt install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for switch in (*SWITCHES, "--disable-dev-shm-usage", f"--user-data-dir={profile}"):
            options.add_argument(switch)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
        try:
            yield driver
        finally:
            driver.quit()


def visit(driver: "Chrome", page: Path, width: int = 1400, scheme: str = "light") -> list[str]:
    """Open a page with all that is folded open, and return the addresses of pictures that do not load."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    driver.set_script_timeout(120)
    driver.get(page.as_uri())
    return driver.execute_async_script(OPENED)


def faults(driver: "Chrome", page: Path, width: int, scheme: str) -> list[str]:
    """Return all that is wrong with a page: pictures, width, what the console and axe-core say."""
    driver.get_log("browser")  # of the page before
    found = [f"picture {address}" for address in visit(driver, page, width, scheme)]
    scrolled = driver.execute_script("return document.documentElement.scrollWidth")
    if scrolled > width:
        found.append(f"{scrolled} px wide on a screen of {width} px")
    found += [json.dumps(each) for each in driver.get_log("browser") if each["level"] in {"SEVERE", "WARNING"}]
    return found + violations(driver)
