"""The file of a study in a browser: answered by keyboard alone on a desk and by touch on a phone, and scored."""

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, DRIVER, SWITCHES, violations
from study_store import data_of, picture_of, write_every_family

from xvcore.parameters import replaced
from xvcore.query import table
from xvcore.study.runs.build import build_study
from xvcore.study.runs.score import score_study
from xvcore.study.settings import Study

pytestmark = pytest.mark.slow

ENTER, TAB = "\ue007", "\ue004"
DESK, PHONE = (1280, 800), (360, 740)
CONTRAST = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const light = (c) => c.slice(0, 3).map((v) => v / 255)
  .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const own = (each) => Array.from(each.childNodes).some((n) => n.nodeType === 3 && n.textContent.trim());
return Array.from(document.querySelectorAll("body *")).filter((each) => own(each) && each.checkVisibility()
    && !["SCRIPT", "STYLE"].includes(each.tagName)).map((each) => {
  const ink = light(parse(getComputedStyle(each).color));
  let ground = each;
  while (ground.parentElement && parse(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
  const behind = light(parse(getComputedStyle(ground).backgroundColor));
  return [(Math.max(ink, behind) + 0.05) / (Math.min(ink, behind) + 0.05), each.textContent.slice(0, 40)];
});
"""
NAMELESS = """
return Array.from(document.querySelectorAll("button, input, textarea, img, progress")).filter((each) => each.checkVisibility()
  && !(each.labels && each.labels.length && each.labels[0].textContent.trim()) && !each.textContent.trim()
  && !each.getAttribute("aria-label") && !each.getAttribute("alt")).map((each) => each.outerHTML.slice(0, 80));
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store, and a study of sixty questions about every family."""
    folder = tmp_path_factory.mktemp("study")
    store = write_every_family(folder / "store")
    settings = replaced(Study(), {"least_seconds": "0"})  # a script reads at once
    return store, build_study(store, folder / "study.html", settings, picture_of=picture_of)


@pytest.fixture(scope="module")
def downloads() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def browser(downloads) -> Iterator:
    """A driver without a network; the tests are skipped where there is no browser."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    for program in (CHROMIUM, DRIVER):
        if not program.exists():
            pytest.skip(f"{program} is not there (Debian: apt install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for switch in (*SWITCHES, "--disable-dev-shm-usage", f"--user-data-dir={profile}"):
            options.add_argument(switch)
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
        driver.set_script_timeout(120)
        driver.execute_cdp_cmd("Network.enable", {})
        offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
        yield driver
        driver.quit()


def open_study(browser, path: Path, size: tuple[int, int], *, scheme: str = "light") -> None:
    width, height = size
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": width < 600})
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    browser.get(path.as_uri())
    browser.execute_script("localStorage.clear()")
    browser.get(path.as_uri())


def there(browser, name: str) -> bool:
    return browser.execute_script("return Boolean(document.getElementById(arguments[0]))", name)


def wait_for(browser, script: str, seconds: float = 60):
    end = time.monotonic() + seconds
    while not (value := browser.execute_script(f"return {script}")):
        assert time.monotonic() < end, f"still false after {seconds} s: {script}"
        time.sleep(0.05)
    return value


def press(browser, *keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    chain = ActionChains(browser)
    for key in keys:
        chain.send_keys(key)
    chain.perform()


def tab_to(browser, name: str) -> None:
    """Press the tabulator until an element has the focus."""
    for _ in range(40):
        if browser.execute_script("return document.activeElement.id") == name:
            return
        press(browser, TAB)
    raise AssertionError(f"the tabulator does not come to {name}")


def asked(browser) -> dict:
    """Return what is on the page: options, groups of choices, whether a name is to be written."""
    return browser.execute_script(
        "const n = (name) => document.querySelectorAll(`input[name=${name}]:not(:disabled)`).length;"
        "return {choice: n('choice'), confidence: n('confidence'), words: n('words'), h1: document.querySelector('h1').textContent}"
    )


def check_page(browser, width: int, seen: set[str]) -> None:
    """Check one page of each kind: it fits the screen, every text can be read, everything has a name."""
    kind = asked(browser)["h1"]
    if kind in seen:
        return
    seen.add(kind)
    client, scrolled = browser.execute_script(
        "const r = document.documentElement; return [r.clientWidth, r.scrollWidth]"
    )
    assert scrolled == client <= width  # a long page has a bar at its side
    assert [each for each in browser.execute_script(CONTRAST) if each[0] < 4.5] == []
    assert browser.execute_script(NAMELESS) == []
    words = browser.execute_script("return document.body.innerText.split(/\\s+/)")
    assert {"null", "undefined", "NaN"}.isdisjoint(words)
    assert violations(browser) == []
    assert browser.execute_script(
        "return Array.from(document.images).every((each) => each.complete && each.naturalWidth > 0)"
    )


def answer_all(browser, width: int, choose, *, most: int = 10_000) -> int:
    """Answer every question by a function that is given what is asked, and return their number."""
    seen: set[str] = set()
    number = 0
    while not there(browser, "finish") and number < most:
        check_page(browser, width, seen)
        if there(browser, "begin"):
            choose(browser, "begin")
        elif there(browser, "on"):
            choose(browser, "on")
        else:
            choose(browser, asked(browser))
            number += 1
    return number


def by_key(browser, what) -> None:
    if isinstance(what, str):
        tab_to(browser, what)
        press(browser, ENTER)
        return
    press(browser, "1", *(["3"] if what["confidence"] else []), ENTER)


def by_touch(browser, what) -> None:
    script = """
    const tap = (each) => { each.scrollIntoView({block: 'center'}); each.click(); };
    if (typeof arguments[0] === 'string') { tap(document.getElementById(arguments[0])); return; }
    tap(document.querySelector('input[name=choice]').closest('label'));
    const sure = document.querySelector('input[name=confidence]');
    if (sure) tap(sure.closest('label'));
    tap(document.getElementById('next'));
    """
    browser.execute_script(script, what)


def saved(browser, downloads: Path) -> Path:
    before = set(downloads.glob("*.json"))
    browser.execute_script("document.getElementById('finish').click()")
    end = time.monotonic() + 60
    while not (new := set(downloads.glob("*.json")) - before):
        assert time.monotonic() < end, "nothing was saved"
        time.sleep(0.1)
    return new.pop()


@pytest.mark.parametrize(("size", "way"), [(DESK, by_key), (PHONE, by_touch)], ids=["keyboard", "phone"])
def test_a_study_is_answered_saved_and_scored(browser, made, downloads, size, way) -> None:
    store, study = made
    open_study(browser, study.path, size)
    check_page(browser, size[0], set())
    way(browser, "start")
    n_questions = len(data_of(study.path)["questions"])
    assert answer_all(browser, size[0], way) == n_questions
    path = saved(browser, downloads)
    said = json.loads(path.read_text())
    assert said["complete"] is True
    assert len(said["answers"]) == n_questions
    assert all(each["milliseconds"] >= 0 for each in said["answers"])
    scored = score_study(store, [path])
    (row,) = scored.sessions.to_dict("records")
    assert "edited" not in row["marks"]  # the checksum of the page is that of the library
    assert "foreign" not in row["marks"]
    assert row["n_answered"] == row["n_questions"]
    assert row["screen"] == f"{size[0]}x{size[1]}"
    answers = table(store, "study_answers", run_id=study.study_id)
    # The first choice is right as often as places are balanced: not for free, and not never.
    of_two = answers[(answers["task"] == "two_afc") & (answers["role"] == "main")]
    assert of_two["is_right"].astype(float).mean() == pytest.approx(0.5, abs=0.1)
    assert [each for each in browser.get_log("browser") if each["level"] in ("SEVERE", "WARNING")] == []


def test_a_closed_window_loses_nothing_and_text_can_be_read_in_the_dark(browser, made) -> None:
    _, study = made
    open_study(browser, study.path, DESK, scheme="dark")
    by_touch(browser, "start")
    answer_all(browser, DESK[0], by_touch, most=7)
    order = browser.execute_script(
        "return JSON.parse(localStorage[Object.keys(localStorage)[0]]).answers.map((a) => a.question)"
    )
    browser.get(study.path.as_uri())
    wait_for(browser, "Boolean(document.getElementById('resume'))")
    by_touch(browser, "resume")
    answer_all(browser, DESK[0], by_touch, most=2)
    after = browser.execute_script(
        "return JSON.parse(localStorage[Object.keys(localStorage)[0]]).answers.map((a) => a.question)"
    )
    assert after[: len(order)] == order
    assert len(after) == len(order) + 2


def test_each_sitting_has_an_order_of_its_own_with_practice_first(browser, made) -> None:
    _, study = made
    practice = {each["id"] for each in data_of(study.path)["questions"] if "practice" in each}
    orders = []
    for _ in range(2):
        open_study(browser, study.path, PHONE)
        by_touch(browser, "start")
        answer_all(browser, PHONE[0], by_touch, most=12)
        script = "return JSON.parse(localStorage[Object.keys(localStorage)[0]]).answers.map((a) => a.question)"
        orders.append(browser.execute_script(script))
    assert orders[0] != orders[1]
    for order in orders:
        assert set(order[:2]) <= practice
        assert not set(order[2:]) & practice
