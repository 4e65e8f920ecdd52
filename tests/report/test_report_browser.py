"""The pages in a browser: headless Chromium, from the file system."""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bird_store import HOSTILE_MODEL, WIDE, picture_of, record, run_row
from browser import violations
from method_store import BARE, LOCAL, PROJECTED, ROBINS, write_evidence, write_units

from xvcore.report import build, index_page
from xvcore.report.names import page_name
from xvcore.store import Store

pytestmark = pytest.mark.slow

BROWSER, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
PAGES = {
    "index": "index.html",
    "about": "about.html",
    "class": f"{WIDE}/robin/index.html",
    "hostile network": f"{page_name(HOSTILE_MODEL)}/robin/index.html",
    "failed": f"{WIDE}/broken/index.html",
    "empty": f"{WIDE}/{page_name('empty class')}/index.html",
    "image": f"{WIDE}/robin/robin_01.jpg.html",
    "misclassified": f"{WIDE}/robin/robin_05.jpg.html",
    "comparison": "compare/robin.html",
}


METHOD_PAGES = {
    "index": "index.html",
    "evidence": f"evidence/{LOCAL}/robin/index.html",
    "evidence failed": f"evidence/{LOCAL}/broken/index.html",
    "evidence image": f"evidence/{LOCAL}/robin/{ROBINS[0]}.html",
    "units": f"units/{PROJECTED}/index.html",
    "layer": f"units/{PROJECTED}/conv.2/index.html",
    "bare layer": f"units/{page_name(BARE)}/conv.10/index.html",
    "table": f"units/{PROJECTED}/conv.2/table.html",
}


@pytest.fixture(scope="module")
def method_site(tmp_path_factory) -> Path:
    """The report of a store of evidence and units."""
    store = Store(tmp_path_factory.mktemp("store"))
    write_evidence(store, LOCAL)
    write_units(store, PROJECTED)
    write_units(store, BARE, minute=1, has_projections=False)
    return build(store, tmp_path_factory.mktemp("site"), picture_of=picture_of).parent


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """A driver; the tests are skipped where there is no browser."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    for program in (BROWSER, DRIVER):
        if not Path(program).exists():
            pytest.skip(f"{program} is not there (Debian: apt install chromium chromium-driver)")
    profile = tempfile.mkdtemp()
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()
    shutil.rmtree(profile, ignore_errors=True)


def set_screen(browser, width: int, *, scheme: str = "light") -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def background(browser) -> str:
    return browser.execute_script("return getComputedStyle(document.body).backgroundColor")


def wait_for(browser, script: str, seconds: float = 20.0):
    """Return the script's value as soon as it is true."""
    end = time.monotonic() + seconds
    while not (value := browser.execute_script(f"return {script}")):
        assert time.monotonic() < end, f"still false after {seconds} s: {script}"
        time.sleep(0.05)
    return value


def visit(browser, site: Path, page: str) -> None:
    """Open a page and wait until its scripts have run: on a busy machine the driver may come back before."""
    address = (site / page).as_uri()
    browser.get(address)
    wait_for(browser, f"location.href === {json.dumps(address)} && document.readyState === 'complete'")


def check_width(browser, site: Path, page: str, width: int) -> None:
    """Check that a page fits the screen with all its folds open, and that the browser has nothing to complain of."""
    set_screen(browser, width)
    visit(browser, site, page)
    browser.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    root = "document.documentElement"
    scrolled, client, inner = browser.execute_script(
        f"return [{root}.scrollWidth, {root}.clientWidth, window.innerWidth]"
    )
    assert (scrolled, inner) == (client, width)
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


def check_pictures(browser, site: Path, page: str) -> None:
    """Check that every picture of a page loads."""
    set_screen(browser, 1280)
    visit(browser, site, page)
    browser.execute_script(
        "document.querySelectorAll('details').forEach((each) => { each.open = true; });"
        "document.querySelectorAll('img').forEach((each) => { each.loading = 'eager'; });"
    )
    assert wait_for(browser, "Array.from(document.images).every((each) => each.complete && each.naturalWidth > 0)")


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_no_page_is_wider_than_the_screen_or_has_an_error(browser, site, page, width):
    check_width(browser, site, page, width)


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("page", METHOD_PAGES.values(), ids=METHOD_PAGES)
def test_no_page_of_other_methods_is_wider_than_the_screen_or_has_an_error(browser, method_site, page, width):
    check_width(browser, method_site, page, width)


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1400, "light")])
@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_a_reader_of_screens_and_a_keyboard_get_everywhere(browser, site, page, width, scheme):
    set_screen(browser, width, scheme=scheme)
    visit(browser, site, page)
    assert violations(browser) == []


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1400, "dark")])
@pytest.mark.parametrize("page", METHOD_PAGES.values(), ids=METHOD_PAGES)
def test_a_reader_of_screens_and_a_keyboard_get_everywhere_in_other_methods(browser, method_site, page, width, scheme):
    set_screen(browser, width, scheme=scheme)
    visit(browser, method_site, page)
    assert violations(browser) == []


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_every_picture_loads(browser, site, page):
    check_pictures(browser, site, page)


@pytest.mark.parametrize("page", METHOD_PAGES.values(), ids=METHOD_PAGES)
def test_every_picture_of_other_methods_loads(browser, method_site, page):
    check_pictures(browser, method_site, page)


def test_the_map_lies_where_its_patches_are(browser, method_site):
    set_screen(browser, 1280)
    visit(browser, method_site, METHOD_PAGES["evidence image"])
    stage, ground, layer = browser.execute_script(
        "const stage = document.querySelector('.with-signed:not(.alone)');"
        "return [stage, stage.querySelector('.ground'), stage.querySelector('.signed')].map((each) => {"
        " const b = each.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })"
    )
    assert ground == pytest.approx(stage, abs=1)
    margin = 8 * stage[2] / 96  # half a patch (24 px) less half a step (8 px), of an input of 96 px
    assert layer[0] - stage[0] == pytest.approx(margin, abs=1)
    assert stage[0] + stage[2] - layer[0] - layer[2] == pytest.approx(margin, abs=1)
    assert layer[1] - stage[1] == pytest.approx(margin, abs=1)


def test_the_table_of_units_sorts_and_dead_ones_come_last(browser, method_site):
    set_screen(browser, 1280)
    visit(browser, method_site, METHOD_PAGES["table"])
    browser.find_element("css selector", "th:nth-child(5) button").click()
    shares = browser.execute_script(
        "return Array.from(document.querySelectorAll('tbody tr')).map((row) => row.cells[4].textContent)"
    )
    assert shares == sorted(shares, key=lambda each: each == "–")
    browser.find_element("css selector", "th:nth-child(1) button").click()
    browser.find_element("css selector", "th:nth-child(1) button").click()
    numbers = browser.execute_script(
        "return Array.from(document.querySelectorAll('tbody tr')).map((row) => Number(row.cells[0].textContent))"
    )
    assert sorted(numbers) in (numbers, numbers[::-1])


def test_veil_and_outline_lie_on_their_picture(browser, site):
    set_screen(browser, 360)
    visit(browser, site, PAGES["class"])
    boxes = browser.execute_script(
        "return Array.from(document.querySelectorAll('.cells .stage')).map((stage) =>"
        " Array.from(stage.children).map((each) => { const b = each.getBoundingClientRect();"
        " return [b.left, b.top, b.width, b.height].map(Math.round); }))"
    )
    assert boxes
    for layers in boxes:
        assert len(layers) == 3
        assert layers[0][2] > 50
        assert layers[0] == layers[1] == layers[2]


def test_dark_and_light_follow_the_system_until_one_is_chosen(browser, site):
    set_screen(browser, 1280, scheme="light")
    visit(browser, site, "index.html")
    light = background(browser)
    set_screen(browser, 1280, scheme="dark")
    dark = background(browser)
    assert light != dark
    browser.find_element("id", "theme").click()
    assert background(browser) == light
    visit(browser, site, PAGES["class"])  # remembered on other pages too
    assert background(browser) == light
    browser.find_element("id", "theme").click()
    assert background(browser) == dark
    browser.execute_script("localStorage.clear()")


def names(browser) -> list[str]:
    script = (
        "return Array.from(document.querySelectorAll('tbody tr:not([hidden]) th b')).map((each) => each.textContent)"
    )
    return browser.execute_script(script)


def test_the_first_page_sorts_by_name_and_number(browser, site):
    set_screen(browser, 1280)
    visit(browser, site, "index.html")
    before = names(browser)
    assert before == sorted(before, key=str.lower)
    browser.find_element("css selector", "th[data-key=name] button").click()
    assert names(browser) == before[::-1]
    browser.find_element("css selector", "th[data-key=n1] button").click()
    counts = browser.execute_script(
        "return Array.from(document.querySelectorAll('tbody tr')).map((row) => row.dataset.n1 ?? null)"
    )
    known = [int(value) for value in counts if value is not None]
    assert known == sorted(known, reverse=True)
    assert counts[len(known) :] == [None] * (len(counts) - len(known))
    head = browser.find_element("css selector", "th[data-key=n1]")
    assert head.get_attribute("aria-sort") == "descending"


def test_classes_that_are_not_on_the_first_page_at_once_are_found_and_sorted(browser, tmp_path, monkeypatch):
    monkeypatch.setattr(index_page, "SHOWN", 3)
    store = Store(tmp_path / "store")
    classes = [f"class {number}" for number in range(11)]
    store.write_run(run_row(WIDE, WIDE, classes))
    for class_id in classes:
        store.write("class_runs", WIDE, class_id, [record(class_id, "failed", error="no memory")])
    site = build(store, tmp_path / "site").parent
    set_screen(browser, 1280)
    visit(browser, site, "index.html")
    assert len(names(browser)) == 3
    browser.find_element("css selector", ".more button").click()
    assert wait_for(browser, "document.querySelectorAll('tbody tr:not([hidden])').length === 11")
    visit(browser, site, "index.html")
    browser.find_element("css selector", "input[type=search]").send_keys("class 9")
    assert wait_for(browser, "document.querySelectorAll('tbody tr:not([hidden])').length === 1")
    assert names(browser) == ["class 9"]
    assert browser.execute_script("return document.querySelector('.controls output').textContent") == "1 of 11"
    visit(browser, site, "index.html")
    browser.find_element("css selector", "th[data-key=name] button").click()
    wait_for(browser, "document.querySelector('tbody tr th b').textContent === 'class 10'")
    assert names(browser) == [f"class {number}" for number in range(10, -1, -1)]


def test_the_first_page_filters_by_words_and_failure(browser, site):
    set_screen(browser, 1280)
    visit(browser, site, "index.html")
    search = browser.find_element("css selector", "input[type=search]")
    search.send_keys("ROBIN american")
    assert names(browser) == ["American robin"]
    search.send_keys(" nothing like it")
    assert names(browser) == []
    search.clear()
    browser.find_element("css selector", "input[type=checkbox]").click()
    assert names(browser) == ["broken"]


def test_the_veil_can_be_lifted(browser, site):
    set_screen(browser, 1280)
    visit(browser, site, PAGES["class"])
    opacity = "getComputedStyle(document.querySelector('.veil')).opacity"
    assert browser.execute_script(f"return {opacity}") == "1"
    browser.find_element("css selector", "button[data-view=whole]").click()
    assert wait_for(browser, f"{opacity} === '0'")


def test_arrow_keys_turn_the_pages(browser, site):
    set_screen(browser, 1280)
    visit(browser, site, PAGES["image"])
    browser.find_element("tag name", "body").send_keys("\ue014")  # right
    assert wait_for(browser, "location.pathname.endsWith('robin_02.jpg.html')")
    browser.find_element("tag name", "body").send_keys("\ue012")  # left
    assert wait_for(browser, "location.pathname.endsWith('robin_01.jpg.html')")


def contrast(browser, selector: str) -> float:
    """Return the contrast of an element's text and the nearest ground behind it, by WCAG 2."""
    return browser.execute_script(
        """
        const parse = (text) => text.match(/[\\d.]+/g).map(Number);
        const light = (c) => c.slice(0, 3).map((v) => v / 255)
          .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
          .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        let ground = document.querySelector(arguments[0]);
        const ink = parse(getComputedStyle(ground).color);
        const clear = (each) => parse(getComputedStyle(each).backgroundColor)[3] === 0;
        while (clear(ground)) ground = ground.parentElement;
        const [a, b] = [light(ink), light(parse(getComputedStyle(ground).backgroundColor))];
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        """,
        selector,
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("selector", ["body", ".lede", "main a", ".badge.failed", ".card dt", ".under", "thead button"])
def test_text_can_be_read_on_its_ground(browser, site, scheme, selector):
    set_screen(browser, 1280, scheme=scheme)
    visit(browser, site, "index.html")
    assert contrast(browser, selector) >= 4.5
