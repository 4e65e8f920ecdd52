"""Pages of comparisons in a browser: no page wider than its screen, every picture there, text that can be read."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from bird_store import HOSTILE_MODEL, WIDE, picture_of
from browser import violations
from comparison_store import NARROW, ROBIN, write_store
from reader import reading

from xvcore.report import build
from xvcore.report.names import page_name

pytestmark = pytest.mark.slow

RUN = f"comparison/{NARROW}"
PAGES = {
    "comparison": f"{RUN}/index.html",
    "class of three": f"{RUN}/{ROBIN}/index.html",
    "pair": f"{RUN}/{ROBIN}/{page_name(f'{NARROW}+{WIDE}')}.html",
    "undecided": f"{RUN}/{ROBIN}/{page_name(f'{WIDE}+{HOSTILE_MODEL}')}.html",
    "failed": f"{RUN}/broken/index.html",
}
CONTRAST = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const light = (c) => c.slice(0, 3).map((v) => v / 255)
  .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
return Array.from(document.querySelectorAll(arguments[0])).map((each) => {
  const ink = light(parse(getComputedStyle(each).color));
  let ground = each;
  while (parse(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
  const behind = light(parse(getComputedStyle(ground).backgroundColor));
  return (Math.max(ink, behind) + 0.05) / (Math.min(ink, behind) + 0.05);
});
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    return build(
        write_store(tmp_path_factory.mktemp("store")), tmp_path_factory.mktemp("site"), picture_of=picture_of
    ).parent


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with reading() as driver:
        yield driver


def visit(browser, address: Path, width: int, scheme: str = "light") -> None:
    """Open a page at a width, all that is folded open and all pictures asked for, and wait for these."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(address.as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    browser.execute_async_script(
        "const done = arguments[0]; const all = Array.from(document.images);"
        "all.forEach((each) => { each.loading = 'eager'; });"
        "Promise.allSettled(all.map((each) => each.decode())).then(done);"
    )


@pytest.mark.parametrize("width", [360, 768, 1400])
@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_no_page_is_wider_than_the_screen_lacks_a_picture_or_has_an_error(browser, site, page, width):
    visit(browser, site / page, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script("return Array.from(document.images).every((each) => each.naturalWidth > 0)")
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_on_a_desk_the_first_picture_of_a_part_is_large_and_the_columns_stand_side_by_side(browser, site):
    visit(browser, site / PAGES["pair"], 1400)
    places = "return Array.from(document.querySelectorAll(arguments[0])).map((each) => each.getBoundingClientRect())"
    assert min(each["width"] for each in browser.execute_script(places, ".regions .first")) >= 220
    columns = browser.execute_script(places, ".third")
    assert len({round(each["top"]) for each in columns}) == 1
    assert [each["left"] for each in columns] == sorted({each["left"] for each in columns})


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1400, "light")])
@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_a_reader_of_screens_and_a_keyboard_get_everywhere(browser, site, page, width, scheme):
    visit(browser, site / page, width, scheme)
    assert violations(browser) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", ["comparison", "pair"])
def test_text_can_be_read_on_its_ground(browser, site, page, scheme):
    visit(browser, site / PAGES[page], 1400, scheme)
    for selector in ("main a", "main small", "main p", "main li", "main dt", "main td", "main th", "figcaption"):
        assert min(browser.execute_script(CONTRAST, selector), default=21) >= 4.5, selector
