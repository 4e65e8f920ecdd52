"""Pages of units and evidence in a browser: no fault, large pictures, and a unit that is found by its number."""

from pathlib import Path

import pytest
from bird_store import picture_of
from method_store import LOCAL, NOMINAL, PROJECTED, ROBINS, write_evidence, write_units
from reader import SCREENS, faults, reading, visit

from xvcore.report import build
from xvcore.store import Store

pytestmark = pytest.mark.slow

PAGES = (
    "index.html",
    f"evidence/{LOCAL}/robin/index.html",
    f"evidence/{LOCAL}/robin/{ROBINS[0]}.html",
    "evidence/compare/robin.html",
    "units/compare/robin.html",
    f"units/{LOCAL}/index.html",
    f"units/{LOCAL}/~classes/robin/index.html",
    f"units/{LOCAL}/conv.2/index.html",
    f"units/{LOCAL}/conv.2/table.html",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    store = Store(tmp_path_factory.mktemp("store"))
    write_evidence(store, LOCAL)
    write_evidence(store, NOMINAL, minute=1)
    write_units(store, LOCAL)
    write_units(store, PROJECTED, minute=1)
    return build(store, tmp_path_factory.mktemp("site"), picture_of=picture_of).parent


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_pages_of_units_and_evidence_side_by_side_have_no_fault(site, width, scheme):
    with reading() as driver:
        assert {page: faults(driver, site / page, width, scheme) for page in PAGES} == {page: [] for page in PAGES}


def test_a_region_and_an_image_are_large_on_a_desk(site):
    widths = "return Array.from(document.querySelectorAll(arguments[0])).map((e) => e.getBoundingClientRect().width)"
    with reading() as driver:
        visit(driver, site / f"evidence/{LOCAL}/robin/index.html", 1400)
        assert min(driver.execute_script(widths, ".gallery .stage")) >= 220


def test_images_side_by_side_are_large_on_a_desk_and_leave_no_half_empty_page(site):
    with reading() as driver:
        visit(driver, site / "evidence/compare/robin.html", 1280)
        widths = "return Array.from(document.querySelectorAll('.evidence-duels .stage')).map((e) => e.clientWidth)"
        assert min(driver.execute_script(widths)) >= 220
        right = "return Math.max(...Array.from(document.querySelectorAll('.evidence-duels .stage'), (e) => e.getBoundingClientRect().right))"
        assert driver.execute_script(right) > 1100


def test_a_table_that_goes_on_beyond_a_phone_says_so(site):
    shown = (
        "return Array.from(document.querySelectorAll('.sideways')).filter((e) => !e.hidden).map((e) => e.textContent)"
    )
    with reading() as driver:
        visit(driver, site / f"units/{LOCAL}/conv.2/table.html", 360)
        assert driver.execute_script(shown) == ["Goes on to the right →"]
        visit(driver, site / f"units/{LOCAL}/conv.2/table.html", 1400)
        assert driver.execute_script(shown) == []


def test_a_unit_is_found_by_its_number(site):
    script = (
        "const field = document.querySelector('.controls[data-filter] input'); field.value = arguments[0];"
        "field.dispatchEvent(new Event('input'));"
        "return Array.from(document.querySelectorAll('tbody tr:not([hidden]) th')).map((e) => e.textContent.trim())"
    )
    with reading() as driver:
        visit(driver, site / f"units/{LOCAL}/conv.2/table.html")
        assert driver.execute_script(script, "robin 42") == ["42", "58"]  # number 42, and the one of maximum 42
        assert driver.execute_script(script, "nothing like it") == []
