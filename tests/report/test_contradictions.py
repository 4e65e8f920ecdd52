"""Images that contradict a summary: without it alone no more is lost there than without random regions."""

from html import unescape
from pathlib import Path

import pytest
from bird_store import HOSTILE, HOSTILE_MODEL, WIDE

from xvcore.query import table
from xvcore.report.names import page_name
from xvcore.store import Store

SENTENCE = "1 of 4 images contradicts it, 2.0 by chance"


def words_of(path: Path) -> str:
    return unescape(path.read_text())


@pytest.fixture(scope="module")
def expected(drawn_store: Store) -> list[str]:
    """The images of the class that contradict its first summary, by its table."""
    rows = table(drawn_store, "regions", run_id="wide-run", class_id="robin", filters={"cluster_id": 0})
    rows = rows[rows["prob_drop"].notna()]
    assert len(rows) == 4
    return list(rows["image_id"][rows["prob_drop"] <= rows["random_drop"]])


def test_the_page_of_a_class_names_the_images_that_contradict_each_summary(site, expected):
    assert len(expected) == 1
    text = words_of(site / WIDE / "robin" / "index.html")
    assert text.count(SENTENCE) == 2, "both summaries, in what was found"
    assert (
        f'{expected[0]}.html">{expected[0]}</a> (−3\u202f% lost without it alone, 1\u202f% without random regions)'
        in text
    )
    assert text.count('<span class="warn">contradicts</span>') == 2, "the picture of the image in both summaries"


def test_the_page_of_an_image_says_what_it_contradicts(site, expected):
    assert words_of(site / WIDE / "robin" / f"{expected[0]}.html").count("contradicts the summary") == 2
    assert "contradicts" not in words_of(site / WIDE / "robin" / "robin_01.jpg.html")


def test_runs_that_did_not_ask_say_nothing_of_single_images(drawn_store, site):
    rows = table(drawn_store, "regions", run_id="narrow-run", class_id=HOSTILE)
    assert len(rows)
    assert rows["prob_drop"].isna().all()
    for path in (site / page_name(HOSTILE_MODEL) / page_name(HOSTILE)).glob("*.html"):
        assert "contradict" not in words_of(path)
