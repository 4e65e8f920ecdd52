"""Headless Chromium on the pages of a Prefect server: log in, read a run form, fill it in, take screenshots."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
SWITCHES = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--window-size=1400,1300",
]
SECONDS = 90
"""Until something is on the page; it takes seconds on a quiet machine."""
CSS, XPATH = "css selector", "xpath"
AXE = """
const done = arguments[0];
const shown = (each) => each.id + ": " + each.help + ": " + each.nodes.map((node) => node.html).slice(0, 3).join(" ");
axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]})
  .then((found) => done(found.violations.map(shown)), (error) => done([String(error)]));
"""
HAS_ALL_PICTURES = "return [...document.images].every(each => each.complete)"


@contextmanager
def chromium(address: str, screenshots: Path) -> Iterator["Browser"]:
    """Open a browser for the server at an address; the pictures of it go to a folder."""
    from selenium.webdriver import Chrome
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = str(CHROMIUM)
    for switch in SWITCHES:
        options.add_argument(switch)
    driver = Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield Browser(driver, address, screenshots)
    finally:
        driver.quit()


def violations(driver: "Chrome") -> list[str]:
    """Return what axe-core has against the page: WCAG 2.1 A and AA, and what it calls best practice."""
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    driver.set_script_timeout(2 * SECONDS)
    driver.execute_script((Path(axe.__file__).parent / "axe.min.js").read_text())
    return driver.execute_async_script(AXE)


class Browser:
    def __init__(self, driver: "Chrome", address: str, screenshots: Path) -> None:
        self.driver, self.address, self.screenshots = driver, address, screenshots
        self.n_taken = 0

    def open(self, path: str) -> None:
        """Open a page of the UI that a browser is sent to; Prefect has an older one beside it, without the prefix."""
        self.driver.get(f"{self.address}/v2{path}")

    def log_in(self, password: str, *, take: str) -> None:
        self.driver.get(self.address)
        field = self.wait(lambda: self.driver.find_elements(CSS, "input[type=password]"))[0]
        self.take(take)
        field.send_keys(password)
        self.button("Login").click()
        self.wait(lambda: "/v2/dashboard" in self.driver.current_url and "/login" not in self.driver.current_url)

    def links(self) -> dict[str, str]:
        """Return the addresses of the deployments on the page by name: the first of a name."""
        script = "return [...document.querySelectorAll('a[href*=\"/deployments/deployment/\"]')].map(e => [e.innerText, e.href])"
        found = self.wait(lambda: self.driver.execute_script(script))
        return {name.strip(): address for name, address in reversed(found) if name.strip()}

    def field(self, *path: str) -> "WebElement":
        """Return what surrounds a field of the form: named by the titles of the groups around it and its own."""
        found: Any = self.driver
        for title in path:
            is_named = " or ".join(f"normalize-space(.)='{each}'" for each in (title, f"{title} (Optional)"))
            (found,) = found.find_elements(
                XPATH, f".//div[contains(concat(' ', @class, ' '), ' group ')][./div/div/label[{is_named}]]"
            )
        return found

    def inside(self, selector: str, *path: str) -> "WebElement":
        """Return the first element of a kind in a field of the form."""
        return self.field(*path).find_elements(CSS, selector)[0]

    def says(self, *path: str) -> str:
        """Return the description of a field."""
        return self.field(*path).find_element(XPATH, "./div/div/p").text

    def choose(self, value: str, *path: str) -> list[str]:
        """Choose in a dropdown and return what it offered."""
        button = self.inside("button[aria-haspopup=listbox]", *path)
        self.show(button)
        button.click()
        options = {each.text: each for each in self.wait(lambda: self.driver.find_elements(CSS, "[role=option]"))}
        offered = list(options)
        options[value].click()
        self.wait(lambda: self.inside("button[aria-haspopup=listbox]", *path).text == value)
        return offered

    def fill(self, element: "WebElement", value: object) -> None:
        """Replace what a text or number field holds."""
        self.show(element)
        element.send_keys("\ue009a\ue000")  # Control and a, both released
        element.send_keys(str(value))
        assert element.get_attribute("value") == str(value)

    def add_item(self, value: str, *path: str) -> None:
        """Add a line to a list."""
        group = self.field(*path)
        before = len(group.find_elements(CSS, "textarea"))
        group.find_element(XPATH, ".//button[normalize-space(.)='Add item']").click()
        lines = self.wait(lambda: (found := group.find_elements(CSS, "textarea")) and found[before:])
        self.fill(lines[0], value)

    def submit(self) -> None:
        self.show(self.button("Submit"))
        self.button("Submit").click()

    def button(self, text: str) -> "WebElement":
        return self.wait(lambda: self.driver.find_elements(XPATH, f"//button[normalize-space(.)='{text}']"))[0]

    def text(self) -> str:
        return self.driver.find_element(CSS, "body").text

    def wait_for_text(self, text: str) -> None:
        self.wait(lambda: text in self.text())

    def pictures(self) -> list[dict[str, Any]]:
        """Return source and natural width of the pictures on the page, all of them loaded."""
        self.wait(lambda: self.driver.execute_script(HAS_ALL_PICTURES))
        script = "return [...document.images].map(each => ({source: each.src, width: each.naturalWidth}))"
        return self.driver.execute_script(script)

    def show(self, element: "WebElement") -> None:
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)

    def take(self, name: str, *, height: int | None = None) -> None:
        """Take a screenshot; of a page of that height, which shows more than the window."""
        self.n_taken += 1
        if height:
            self.driver.set_window_size(1400, height)
        self.driver.save_screenshot(str(self.screenshots / f"{self.n_taken:02}_{name}.png"))
        if height:
            self.driver.set_window_size(1400, 1300)

    def wait(self, found: Callable[[], Any]) -> Any:
        """Return what is found once there is something; pages come and go by themselves meanwhile."""
        from selenium.common.exceptions import StaleElementReferenceException

        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            try:
                if result := found():
                    return result
            except StaleElementReferenceException:
                pass
            time.sleep(0.5)
        self.take("not_found")
        raise AssertionError(f"not on the page after {SECONDS} s: {self.driver.current_url}")
