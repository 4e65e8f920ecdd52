"""Ten questions of a reader, each answered from the pages alone, by clicks from the first page that are counted."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bird_store import picture_of, record, run_row
from comparison_store import NARROW, ROBIN, WIDE, summaries_run, write_store
from method_store import LOCAL, ROBINS, evidence_map, write_evidence, write_units
from reader import reading

from xvcore.query import table
from xvcore.report import build
from xvcore.store import Store

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.slow

MOST_CLICKS = 3
FOLLOW = """
const all = Array.from(document.querySelectorAll("main a")).filter((each) =>
  (each.textContent.replace(/\\s+/g, " ") + " " + each.href).includes(arguments[0]));
const found = all.find((each) => !each.closest("details:not([open])")) || all[0];
if (!found) return 0;
let clicks = 1;
for (let fold = found.closest("details:not([open])"); fold; fold = found.closest("details:not([open])")) {
  fold.open = true;
  clicks += 1;
}
found.click();
return clicks;
"""
"""Follows the first link whose words or address hold the argument, one in sight if there is; to unfold is a click too."""
TEXT = "return arguments[0] ? document.getElementById(arguments[0]).textContent : document.querySelector('main').textContent"
ERRORS = "narrow+wide-error_consistency"


@dataclasses.dataclass
class Visit:
    """A reader who begins on the first page and counts the clicks."""

    driver: "Chrome"
    clicks: int = 0

    def follow(self, text: str) -> None:
        clicks = self.driver.execute_script(FOLLOW, text)
        assert clicks, f"no link with {text!r} on {self.driver.current_url}"
        self.clicks += clicks

    def reads(self, name: str = "") -> str:
        """Return the words of the page, or of what has this id."""
        return " ".join(self.driver.execute_script(TEXT, name).split())

    @property
    def page(self) -> str:
        return str(self.driver.current_url)


def write_errors(store: Store) -> None:
    """Write what an analysis of the errors of two networks leaves."""
    of_runs = [f"{model}-errors" for model in (NARROW, WIDE)]
    for place, (run_id, model) in enumerate(zip(of_runs, (NARROW, WIDE), strict=True)):
        row = run_row(run_id, model, [ROBIN], minute=10 + place)
        store.write_run({**row, "method": "error_consistency", "status": "complete"})
        store.write("class_runs", run_id, ROBIN, [record(ROBIN, n_images=40)])
    members = [
        {"run_id": ERRORS, "position": place, "of_run": run_id, "model": model, "n_classes": 1, "classes_digest": "0"}
        for place, (run_id, model) in enumerate(zip(of_runs, (NARROW, WIDE), strict=True))
    ]
    store.write("comparisons", ERRORS, "runs", members)
    sentence = (
        f"{NARROW} and {WIDE} fail on the same images more often than by chance: κ = 0.51 (0.22 to 0.80), 40 images."
    )
    finding = {"run_id": ERRORS, "model": f"{NARROW} + {WIDE}", "position": 0, "sentence": sentence, "holds": True}
    numbers = {
        "measure": "Cohen's kappa of their errors",
        "value": 0.51,
        "low": 0.22,
        "high": 0.8,
        "null_value": 0.0,
        "n": 40,
    }
    store.write("findings", ERRORS, "runs", [{**finding, **numbers}])
    pair = {"run_id": ERRORS, "model_a": NARROW, "model_b": WIDE, "n_images": 40, "kappa": 0.51, "observed": 0.85}
    store.write("error_consistency", ERRORS, NARROW, [{**pair, "expected": 0.69, "n_classes": 1}])


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """Summaries of three networks and their comparison, evidence, units, and whether errors are alike."""
    store = write_store(tmp_path_factory.mktemp("store"))
    run_id = summaries_run(NARROW)
    parts = table(store, "summary_parts", run_id=run_id, class_id=ROBIN)
    rows = parts.assign(random_purity=0.25).drop(columns=["run_id", "class_id"]).to_dict("records")
    store.write("summary_parts", run_id, ROBIN, rows)
    write_evidence(store, LOCAL, minute=20)
    write_units(store, LOCAL, minute=21)
    write_errors(store)
    return store


@pytest.fixture(scope="module")
def site(store, tmp_path_factory) -> Path:
    return build(store, tmp_path_factory.mktemp("site"), picture_of=picture_of).parent


@pytest.fixture(scope="module")
def browser() -> "Iterator[Chrome]":
    with reading() as driver:
        yield driver


@pytest.fixture
def reader(browser, site) -> Iterator[Visit]:
    browser.get((site / "index.html").as_uri())
    visit = Visit(browser)
    yield visit
    assert visit.clicks <= MOST_CLICKS


def test_which_part_does_one_network_need_that_another_does_not(reader):
    assert "hardly: " in reader.reads()
    reader.follow("hardly: ")
    assert (reader.clicks, f"/comparison/{NARROW}/{ROBIN}/" in reader.page) == (1, True)
    assert "beyond random regions" in reader.reads(reader.page.rpartition("#")[2])


def test_which_parts_do_two_networks_share(reader):
    reader.follow(f"/comparison/{NARROW}/{ROBIN}/")
    assert "Shared" in reader.reads()
    assert "by chance" in reader.reads(), "how alike they are stands beside chance"
    assert reader.clicks == 1


def test_what_does_a_network_lose_without_what_it_looks_at(reader):
    assert "summaries together" in reader.reads()
    assert "random regions as large take" in reader.reads()
    reader.follow(f"{NARROW}/{ROBIN}/index.html")
    assert (reader.clicks, "by random regions" in reader.reads("summary-0")) == (1, True)


def test_where_is_the_evidence_for_a_class_and_in_how_little(reader):
    assert "Half of the evidence of" in reader.reads()
    reader.follow(f"evidence/{LOCAL}/{ROBIN}/index.html")
    assert (reader.clicks, "Mean evidence" in reader.reads()) == (1, True)


def test_which_units_respond_to_a_class(reader):
    reader.follow(f"units/{LOCAL}/index.html")
    reader.follow(f"~classes/{ROBIN}")
    assert (reader.clicks, reader.page.endswith(f"units/{LOCAL}/~classes/{ROBIN}/index.html")) == (2, True)
    assert "equal shares" in reader.reads() or "chance" in reader.reads()


def test_what_does_a_unit_respond_to(reader):
    reader.follow(f"units/{LOCAL}/index.html")
    reader.follow(f"units/{LOCAL}/conv.2/index.html")
    assert reader.clicks == 2
    assert reader.driver.execute_script("return document.querySelectorAll('.unit img').length") > 0


def test_which_image_contradicts_a_part(store, reader):
    rows = table(store, "regions", run_id=summaries_run(NARROW), class_id=ROBIN, filters={"cluster_id": 0})
    (image,) = rows["image_id"][rows["prob_drop"] <= rows["random_drop"]]
    reader.follow(f"{NARROW}/{ROBIN}/index.html")
    assert f"Contradicted by 1 of 3 images, 1.5 by chance: {image}" in reader.reads("summary-0")
    reader.follow(f"{image}.html")
    assert reader.clicks == 2
    assert "contradicts the summary" in reader.reads()


def test_on_which_annotated_part_does_a_summary_lie(reader):
    reader.follow(f"{NARROW}/{ROBIN}/index.html")
    text = reader.reads("summary-0")
    assert "head in 90 % of its regions, 20 % by chance" in text
    assert "shows the head: in " in reader.reads()
    assert "would show one and the same part by chance (p" in reader.reads()
    assert reader.clicks == 1


def test_are_the_errors_of_two_networks_alike(reader):
    said = "fail on the same images more often than by chance: κ = 0.51 (0.22 to 0.80), 40 images"
    assert said in reader.reads()
    reader.follow("fail on the same images")
    assert reader.clicks == 1
    assert said in reader.reads("finding-0")


def test_which_patch_speaks_most_against_a_class(reader):
    lowest = min((float(evidence_map(image, 3).min()), image) for image in ROBINS)
    said = f"says {lowest[0]:.1f} logits, in {lowest[1]}".replace("-", "−")
    assert said in reader.reads()
    assert "50 % if they were as loud" in reader.reads()
    reader.follow(said)
    assert (reader.clicks, reader.page.endswith("#against")) == (1, True)
    reader.follow(f"{lowest[1]}.html#map-3")
    assert (reader.clicks, lowest[1] in reader.page) == (2, True)
