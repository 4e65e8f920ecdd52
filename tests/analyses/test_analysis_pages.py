"""Pages of analyses: reached, linked, with the findings and numbers of the tables, and none that are not there."""

import csv
import io
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from analysis_runs import NARROW, WIDE, complete, spec
from read_pages import Page, crawl, pages_of, reached, state

from xvcore.analyses.compare import compare
from xvcore.analyses.pages.class_page import ClassPage
from xvcore.analyses.pages.owner_page import OwnerPage
from xvcore.analyses.runs.occlusion import maps
from xvcore.query import table
from xvcore.report import build
from xvcore.report.site import STAMP
from xvcore.runs import pipeline
from xvcore.runs.run import announce, open_run
from xvcore.store import Store

NAMES = ("accuracy", "error_consistency", "scrambling")
MODELS = ("partbirds_narrow", "partbirds_wide")


@pytest.fixture(scope="module")
def owners(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """Return a store of three analyses of two networks, and the comparison of each."""
    store = tmp_path_factory.mktemp("store")
    return store, {name: compare([complete(spec(store, name, model)) for model in (NARROW, WIDE)]) for name in NAMES}


@pytest.fixture(scope="module")
def site(owners, tmp_path_factory) -> Path:
    return build(Store(owners[0]), tmp_path_factory.mktemp("site")).parent


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return pages_of(site)


def page_of(site: Path, name: str, owner: str) -> Path:
    return next((site / "analyses" / name / "compare").glob(f"{owner}*.html"))


def test_every_address_leads_somewhere_and_every_page_is_reached(site, pages):
    crawl(site, pages)
    assert reached(site, pages) == set(pages)
    found = {path.relative_to(site).as_posix() for path in pages}
    for name in NAMES:
        assert {f"analyses/{name}/{model}/index.html" for model in MODELS} <= found
        assert len(list((site / "analyses" / name / "compare").glob("*.html"))) == 1


def test_pages_are_well_formed_with_unique_ids_and_one_heading(pages):
    for path, page in pages.items():
        assert len(page.ids) == len(set(page.ids)), path
        assert page.tags.count("h1") == 1, path


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_what_was_found_and_shows_its_figures(name, owners, site, pages):
    store, of_name = Store(owners[0]), owners[1]
    page, text = page_of(site, name, of_name[name]), page_of(site, name, of_name[name]).read_text()
    found = table(store, "findings", run_id=of_name[name])
    assert len(found)
    for sentence in found["sentence"]:
        assert sentence in unescape(text)
    assert pages[page].text.count("could be chance") == int((found["holds"] == False).sum()) + 1  # noqa: E712
    for svg in table(store, "figures", run_id=of_name[name])["svg"]:
        assert svg in text


def test_the_first_page_has_findings_of_all_networks_with_links_to_them(owners, site, pages):
    for name, owner in owners[1].items():
        addresses = pages[site / "index.html"].links
        assert any(each.startswith(f"analyses/{name}/compare/") and "#finding-" in each for each in addresses)
        told = table(Store(owners[0]), "findings", run_id=owner)["sentence"]
        assert any(sentence in pages[site / "index.html"].text for sentence in told)


def test_a_file_holds_all_rows_of_its_table(owners, site):
    store = Store(owners[0])
    run_id = next(run for run in store.runs()["run_id"] if "narrow-scrambling" in run)
    rows = table(store, "scrambling", run_id=run_id)
    (file,) = (site / "analyses" / "scrambling" / "partbirds_narrow").glob("~index/scrambling.csv")
    read = list(csv.DictReader(io.StringIO(file.read_text())))
    assert [row["image_id"] for row in read] == list(rows["image_id"])
    assert [float(row["prob_target"]) for row in read] == pytest.approx(list(rows["prob_target"]))


def test_tables_call_classes_by_their_names(owners, site):
    names = table(Store(owners[0]), "classes")
    text = unescape((site / "analyses" / "accuracy" / "partbirds_narrow" / "index.html").read_text())
    names = names[names["class_name"] != names["class_id"]]
    assert len(names) == 2
    for row in names.itertuples():
        assert f">{row.class_name} <small>{row.class_id}</small></td>" in text


def test_one_network_is_told_how_many_the_question_takes(site):
    text = (site / "analyses" / "error_consistency" / "partbirds_wide" / "index.html").read_text()
    assert "It takes 2 networks to answer this question." in text


def picture_of(run, _image_id, _class_id):
    side = int(run["input_px"])
    return np.full((side, side, 3), 200, np.uint8)


def test_maps_lie_over_their_images_at_the_places_that_were_hidden(tmp_path):
    run = complete(spec(tmp_path / "store", "occlusion"))
    folder = build(run.store, tmp_path / "site", picture_of=picture_of).parent
    pages = pages_of(folder)
    crawl(folder, pages)
    assert reached(folder, pages) == set(pages)
    side = run.size[0]
    for info in run.dataset.classes:
        rows = table(run.store, "occlusion", run_id=run.run_id, class_id=info.class_id)
        page = folder / "analyses" / "occlusion" / "partbirds_narrow" / info.class_id / "index.html"
        layers = [image for image in pages[page].images if image.get("class") == "signed"]
        assert len(layers) == len(list(maps(rows))) >= len(rows)
        grounds = [image for image in pages[page].images if image.get("class") == "ground"]
        assert len(grounds) == len(layers)
        place = dict(part.split(":") for part in layers[0]["style"].split(";"))
        first, step, n = (float(rows[name].iloc[0]) for name in ("first_x", "step_px", "map_w"))
        assert float(place["left"][:-1]) == pytest.approx(100 * (first - step / 2) / side, abs=0.01)
        assert float(place["width"][:-1]) == pytest.approx(100 * step * n / side, abs=0.01)
    before = state(folder)
    (folder / STAMP).unlink()
    build(run.store, folder, picture_of=picture_of)
    assert state(folder) == before


def test_a_picture_that_comes_back_is_shown_though_nothing_was_written(tmp_path):
    run = complete(spec(tmp_path / "store", "occlusion"))
    folder = build(run.store, tmp_path / "site", picture_of=lambda *_: None).parent
    assert not list(folder.glob("images/**/*.jpg"))
    build(run.store, folder, picture_of=picture_of)
    assert list(folder.glob("images/**/*.jpg"))


def test_a_map_of_what_is_lost_is_red_there():
    row = {
        "image_id": "a",
        "map_h": 1,
        "map_w": 2,
        "step_px": 8,
        "first_x": 4.0,
        "first_y": 12.0,
        "prob_target": 0.75,
        "prob_min": 0.25,
        "prob_map": [0.25, 1.0],
        "activation": 4.0,
        "activation_map": [1.0, 6.0],
        "layer": "last",
        "unit": 3,
    }
    lost, share = maps(pd.DataFrame([row]))
    assert lost.values.tolist() == [[0.5, -0.25]]
    assert share.values.tolist() == [[0.75, -0.5]]
    assert lost.box == share.box == (0.0, 8.0, 16.0, 8.0)


def test_what_is_unchanged_is_not_made_again(tmp_path, monkeypatch):
    run = complete(spec(tmp_path / "store", "occlusion"))
    folder = build(run.store, tmp_path / "site", picture_of=picture_of).parent
    before, read = state(folder), []
    (folder / STAMP).unlink()  # else nothing is looked at
    monkeypatch.setattr(OwnerPage, "_written", lambda self, _inputs: read.append(self.owner.page))
    monkeypatch.setattr(ClassPage, "_written", lambda self, _inputs: read.append(self.entry.page))
    build(run.store, folder, picture_of=picture_of)
    assert (state(folder), read) == (before, [])


def test_what_is_gone_is_made_again_and_what_is_no_more_goes(tmp_path):
    run = complete(spec(tmp_path / "store", "occlusion"))
    folder = build(run.store, tmp_path / "site", picture_of=picture_of).parent
    before = {path: content for path, (_, content) in state(folder).items()}
    network = folder / "analyses" / "occlusion" / "partbirds_narrow"
    (network / "index.html").unlink()
    (network / "~index" / "occlusion.csv").unlink()
    for picture in [*network.glob("*/pictures/*"), *folder.glob("pictures/**/*.jpg")]:
        picture.unlink()
    build(run.store, folder, picture_of=picture_of)
    assert {path: content for path, (_, content) in state(folder).items()} == before


def test_another_network_changes_the_pages_that_name_it(tmp_path):
    store = tmp_path / "store"
    first = complete(spec(store, "scrambling"))
    folder = build(Store(store), tmp_path / "site").parent
    page = folder / "analyses" / "scrambling" / "partbirds_narrow" / "index.html"
    assert "partbirds_wide" not in page.read_text()
    compare([first, complete(spec(store, "scrambling", WIDE))])
    build(Store(store), folder)
    assert "partbirds_wide" in page.read_text()
    assert state(folder) == state(build(Store(store), folder).parent)
    fresh = build(Store(store), tmp_path / "fresh").parent
    files = {path.relative_to(folder): content for path, (_, content) in state(folder).items()}
    assert files == {path.relative_to(fresh): content for path, (_, content) in state(fresh).items()}


def test_building_again_changes_nothing(owners, site):
    before = state(site)
    build(Store(owners[0]), site)
    assert state(site) == before


def test_a_run_that_has_only_begun_says_so(tmp_path):
    run = open_run(spec(tmp_path / "store", "scrambling"))
    class_ids = [info.class_id for info in run.dataset.classes]
    announce(run, class_ids)
    pipeline.complete_class(run, class_ids[0])
    folder = build(run.store, tmp_path / "site").parent
    crawl(folder, pages_of(folder))
    text = (folder / "analyses" / "scrambling" / "partbirds_narrow" / "index.html").read_text()
    assert "is not complete: classes may be missing" in text
    assert "No class has ended yet." in text
    assert "not begun" in text


def test_a_damaged_table_is_told_on_its_page(owners, tmp_path):
    source = Store(owners[0])
    run_id = next(run for run in source.runs()["run_id"] if "narrow-scrambling" in run)
    copied = tmp_path / "store"
    for path in owners[0].rglob("*"):
        if path.is_file():
            target = copied / path.relative_to(owners[0])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (copied / "tables" / "findings" / f"{run_id}.parquet").write_bytes(b"no table")
    folder = build(Store(copied), tmp_path / "site").parent
    text = (folder / "analyses" / "scrambling" / "partbirds_narrow" / "index.html").read_text()
    assert "Some tables cannot be read." in text
    assert "damaged" in text
