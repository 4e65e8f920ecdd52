"""Laws of the pages: every address leads somewhere, bars end at the logit, cell and field are both drawn."""

import itertools
import re
from pathlib import Path

import pytest
from read_pages import crawl, pages_of, reached, state

from xvcore.parameters import replaced
from xvcore.prototypes.pages.class_data import Taken
from xvcore.prototypes.settings import Disentangle, Prototypes
from xvcore.report import build
from xvcore.runs.originals import Originals
from xvcore.runs.pipeline import complete_run
from xvcore.runs.run import Run, RunSpec, open_run

DATASET = "partbirds?classes=2&images=3"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("store")
    below = "partbirds_narrow@random?classes=7"
    training = replaced(Disentangle(), {"recipe.epochs": 2, "recipe.learning_rate": 0.05, "recipe.rotation_rate": 0.05})
    assert complete_run(open_run(RunSpec(DATASET, below, str(folder), training))) == "complete"
    weights = next(folder.rglob("seed-0.pt"))
    settings = replaced(Prototypes(), {"n_patches": 2, "n_measured": 4})
    run = open_run(RunSpec(DATASET, f"infodisent@{weights}", str(folder), settings))
    assert complete_run(run) == "complete"
    return run


@pytest.fixture(scope="module")
def site(done: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(done.store, tmp_path_factory.mktemp("site"), picture_of=Originals()).parent


def test_every_address_leads_to_a_page_and_every_page_is_reached(site: Path) -> None:
    pages = pages_of(site)
    crawl(site, pages)
    assert reached(site, pages) == set(pages)


def test_a_bar_goes_from_zero_to_the_logit(done: Run) -> None:
    class_id = done.dataset.classes[0].class_id
    decisions = done.store.read("prototype_decisions", done.run_id, class_id).to_dict("records")
    rows = done.store.read("prototype_contributions", done.run_id, class_id).to_dict("records")
    for row in decisions:
        key = ("image_id", "target_idx")
        taken = Taken(row, [each for each in rows if all(each[name] == row[name] for name in key)])
        steps = taken.steps
        assert steps[0].start == 0
        assert all(one.end == other.start for one, other in itertools.pairwise(steps))
        assert steps[-1].end == pytest.approx(row["logit"])
        assert steps[-1].change == pytest.approx(row["rest"], abs=1e-4)
        assert all(-1e-9 <= taken.place(each.end) <= 100 + 1e-9 for each in steps)


def test_a_prototype_page_shows_cell_and_field_and_says_that_they_differ(site: Path) -> None:
    page = next(iter(sorted((site / "prototypes").rglob("prototypes/*.html")))).read_text()
    assert "receptive field" in page
    assert re.search(r"cell 8 × 8 px, sees \d\d × \d\d px", page)
    assert page.count('<rect class="field"') == page.count("<li>")


def test_building_again_writes_nothing(done: Run, site: Path) -> None:
    before = state(site)
    build(done.store, site, picture_of=Originals())
    assert state(site) == before


def test_what_was_found_is_said_first_and_leads_to_its_numbers(done: Run, site: Path) -> None:
    pages = [each for each in sorted((site / "prototypes").rglob("*.html")) if 'id="tested"' in each.read_text()]
    assert len(pages) == len(done.dataset.classes)
    leads_to = set()
    for page in pages:
        text = page.read_text()
        told = re.findall(r'<li( class=open)?><a href="([^"]*)" title="([^"]*)">', text[: text.index('id="by-weight"')])
        assert told
        assert all("if there were nothing to find" in title for _, _, title in told)
        leads_to |= {href.partition("#")[2] for _, href, _ in told}
        nothing = "Nothing stands out here" in text
        assert nothing == all(is_open for is_open, _, _ in told)
    assert leads_to >= {"images", "tested"}


def test_falls_of_images_are_those_of_the_measure(done: Run) -> None:
    import numpy as np

    classes = done.store.classes_of("prototype_removals", done.run_id)
    rows = [done.store.read("prototype_removals", done.run_id, each) for each in classes]
    measure = done.store.read("prototype_measures", done.run_id, "removal").iloc[0]
    assert sum(map(len, rows)) == measure["n"] == 4
    assert np.mean([value for each in rows for value in each["fall"]]) == pytest.approx(measure["value"])
    assert np.mean([value for each in rows for value in each["random_fall"]]) == pytest.approx(measure["control"])
