"""The classes that the first page has not at once: each in one piece, as a script and as a page."""

import json
import re
from pathlib import Path

import pytest
from bird_store import WIDE, record, run_row
from read_pages import crawl, pages_of, reached

from xvcore.report import build, index_page
from xvcore.report.site import STAMP
from xvcore.store import Store

ROW = re.compile(r'<tr role="row" data-name.*?</tr>', re.DOTALL)
N_CLASSES = 7


@pytest.fixture
def many(tmp_path: Path) -> Store:
    return with_run(Store(tmp_path / "store"), WIDE, "partbirds")


def with_run(store: Store, run_id: str, dataset: str) -> Store:
    classes = [f"class {number}" for number in range(N_CLASSES)]
    store.write_run({**run_row(run_id, WIDE, classes), "dataset": dataset})
    for class_id in classes:
        store.write("class_runs", run_id, class_id, [record(class_id, "failed", error="no memory")])
    return store


def rows_in(site: Path) -> dict[str, list[str]]:
    """Return the rows of the first page and of each piece, in their order."""
    scripts = sorted((site / "static/classes").glob("*.js"))
    told = {path.name: json.loads(re.fullmatch(r"xvRows\((.*)\);\n", path.read_text(), re.DOTALL)[1].partition(", ")[2])
            for path in scripts}  # fmt: skip
    return {name: ROW.findall(text) for name, text in {"first": (site / "index.html").read_text(), **told}.items()}


def test_each_class_is_in_one_piece_as_it_would_be_on_the_first_page(many, tmp_path, monkeypatch):
    whole = rows_in(build(many, tmp_path / "whole").parent)
    assert set(whole) == {"first"}
    monkeypatch.setattr(index_page, "SHOWN", 3)
    site = build(many, tmp_path / "site").parent
    found = rows_in(site)
    assert [len(rows) for rows in found.values()] == [3, 3, 1]
    assert [row for rows in found.values() for row in rows] == whole["first"]
    first = (site / "index.html").read_text()
    assert re.findall(r'data-pieces="([^"]*)"', first)[0].split() == [f"static/classes/{name}" for name in [*found][1:]]
    assert f'data-total="{N_CLASSES}"' in first


def test_without_scripts_all_classes_can_be_reached_and_links_are_whole(many, tmp_path, monkeypatch):
    monkeypatch.setattr(index_page, "SHOWN", 3)
    site = build(many, tmp_path / "site").parent
    pages = pages_of(site)
    crawl(site, pages)
    assert reached(site, pages) == set(pages)
    shown = [row for path in sorted((site / "static/classes").glob("*.html")) for row in ROW.findall(path.read_text())]
    assert len(shown) == N_CLASSES - 3


def test_pieces_go_that_are_no_more_needed_and_others_stay_as_they_are(many, tmp_path, monkeypatch):
    monkeypatch.setattr(index_page, "SHOWN", 3)
    site = build(many, tmp_path / "site").parent
    before = {path: path.stat().st_mtime_ns for path in (site / "static/classes").iterdir()}
    (site / STAMP).unlink()  # else nothing is looked at
    build(many, site)
    assert {path: path.stat().st_mtime_ns for path in (site / "static/classes").iterdir()} == before
    monkeypatch.setattr(index_page, "SHOWN", 100)
    (site / STAMP).unlink()
    build(many, site)
    assert not list((site / "static/classes").iterdir())


def test_several_long_lists_share_the_first_page(many, tmp_path, monkeypatch):
    monkeypatch.setattr(index_page, "SHOWN", 4)
    with_run(many, "another", "other birds")
    found = rows_in(build(many, tmp_path / "site").parent)
    assert [len(rows) for rows in found.values()] == [4, 4, 1, 4, 1], "two of each, then what is left of each"
