"""Evidence pages: strongest patches, mean maps, signed maps of images."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from bird_store import SIDE, drawn, picture_of, run_row, write_class, write_store
from hypothesis import given
from hypothesis import strategies as st
from method_store import (
    DENSE,
    IMAGES,
    LOCAL,
    NOMINAL,
    PATCH,
    ROBINS,
    STRIDE,
    WRENS,
    N,
    evidence_map,
    evidence_store,
    write_evidence,
    write_patches,
    write_units,
)
from read_pages import Page, crawl, pages_of, reached, state

from xvcore.evidence.pages.class_data import Grid, extremes
from xvcore.report import build
from xvcore.store import Store

GRIDS = st.builds(
    lambda rows, columns, step, size, start: Grid(rows, columns, -start, -start, step, step, size, size, is_local=True),
    st.integers(1, 7),
    st.integers(1, 7),
    st.integers(1, 9),
    st.integers(1, 33),
    st.integers(0, 16),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return evidence_store(tmp_path_factory.mktemp("store"), LOCAL, NOMINAL, DENSE)


@pytest.fixture(scope="module")
def evidence_site(store, tmp_path_factory) -> Path:
    return build(store, tmp_path_factory.mktemp("site"), picture_of=picture_of).parent


@pytest.fixture
def changing(store, evidence_site, tmp_path) -> tuple[Store, Path]:
    """Copies that a test may change."""
    copy = Store(shutil.copytree(store.url, tmp_path / "store"))
    return copy, shutil.copytree(evidence_site, tmp_path / "site")


def page(site: Path, model: str, class_id: str, name: str = "index") -> Page:
    return Page((site / "evidence" / model / class_id / f"{name}.html").read_text())


def values_of(grid: Grid, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-3, 4, (grid.rows, grid.columns)).astype(np.float32)


@given(GRIDS)
def test_each_element_is_drawn_over_the_middle_of_its_patch(grid):
    left, top, width, height = grid.area
    for row in range(grid.rows):
        for column in range(grid.columns):
            x, y, w, h = grid.box(row, column)
            assert x + w / 2 == pytest.approx(left + (column + 0.5) * width / grid.columns)
            assert y + h / 2 == pytest.approx(top + (row + 0.5) * height / grid.rows)


def test_without_patches_of_its_own_a_map_covers_the_image():
    grid = Grid.of({"map_h": 7, "map_w": 5, "patch_px": None}, (210, 200))
    assert grid.area == pytest.approx((0, 0, 200, 210))
    assert grid.box(6, 4) == pytest.approx((160, 180, 40, 30))
    assert not grid.is_local


def lies_on(one, other) -> bool:
    return abs(one[0] - other[0]) < one[2] / 2 and abs(one[1] - other[1]) < one[3] / 2


@given(GRIDS, st.sampled_from([1, -1]), st.integers(1, 6), st.integers(0, 9))
def test_the_strongest_patches_are_the_strongest_that_lie_on_no_stronger_one(grid, sign, number, seed):
    values = values_of(grid, seed)
    every = [(sign * values[r, c], r, c) for r in range(grid.rows) for c in range(grid.columns)]
    expected = []
    for value, row, column in sorted(every, key=lambda each: (-each[0], each[1], each[2])):
        box = grid.box(row, column)
        if value > 0 and len(expected) < number and not any(lies_on(box, other) for other, _ in expected):
            expected.append((box, sign * value))
    assert [(spot.box, spot.evidence) for spot in extremes(values, grid, sign, number)] == expected


def test_pages_are_whole_linked_and_reached(evidence_site):
    pages = pages_of(evidence_site)
    crawl(evidence_site, pages)
    assert reached(evidence_site, pages) == set(pages)
    for path, each in pages.items():
        assert len(each.ids) == len(set(each.ids)), path
        assert each.tags.count("h1") == 1, path
        assert all("alt" in image for image in each.images), path
        assert path.stat().st_size < 2_000_000


def test_a_store_of_evidence_alone_has_no_other_section(evidence_site):
    text = Page((evidence_site / "index.html").read_text()).text
    assert "Evidence of patches" in text
    assert "visual summary" not in text
    assert "Units" not in text
    assert not (evidence_site / LOCAL).exists()
    assert not (evidence_site / "compare").exists()


@pytest.mark.parametrize("model", [LOCAL, NOMINAL, DENSE])
def test_the_page_says_whether_the_map_adds_up_and_boxes_are_local(evidence_site, model):
    text = " ".join(page(evidence_site, model, "robin", ROBINS[1]).text.split())
    assert ("The map adds up to the logit" in text) == (model != DENSE)
    assert ("The map does not add up to the logit" in text) == (model == DENSE)
    assert ("Patches are local" in text) == (model != NOMINAL)
    assert ("Boxes are nominal" in text) == (model == NOMINAL)
    of_class = " ".join(page(evidence_site, model, "robin").text.split())
    assert ("saw nothing but the patch" in of_class) == (model != NOMINAL)


def test_logit_and_mean_of_the_map_are_shown(evidence_site):
    values = evidence_map(ROBINS[1], 3)
    text = page(evidence_site, LOCAL, "robin", ROBINS[1]).text
    assert text.count(f"{values.mean():.3f}") == 2  # one is the logit, the other the mean
    assert f"{values.max():.2f}" in text


def test_the_scale_has_equal_ends_and_nothing_in_the_middle(evidence_site):
    text = (evidence_site / "evidence" / LOCAL / "robin" / f"{ROBINS[1]}.html").read_text()
    scale = re.search(r'<div class="scale".*?<ol[^>]*>(.*?)</ol>', text, re.DOTALL)[1]
    ends = [float(each.replace("−", "-")) for each in re.findall(r"<li>([^<]*)</li>", scale)]
    assert ends == sorted(ends)
    assert [-each for each in reversed(ends)] == ends
    drawn = [evidence_map(ROBINS[0], 7), *(evidence_map(each, 3) for each in ROBINS)]  # one scale for the class
    assert ends[-1] == pytest.approx(max(np.abs(each).max() for each in drawn), abs=0.5)


def test_the_boxes_are_drawn_at_true_size_on_the_strongest_patch(evidence_site):
    text = (evidence_site / "evidence" / LOCAL / "robin" / f"{ROBINS[1]}.html").read_text()
    boxes = re.findall(r'<rect x="([^"]*)" y="([^"]*)" width="([^"]*)" height="([^"]*)"><title>(\w+)', text)
    assert {tuple(map(float, box[2:4])) for box in boxes} == {(PATCH, PATCH)}
    strongest = [float(each) for each in [box for box in boxes if box[4] == "for"][-1][:2]]
    assert strongest == [N // 3 * STRIDE, N // 2 * STRIDE]
    assert 'viewBox="0 0 96 96"' in text


def test_a_misclassified_image_has_the_map_of_the_prediction_too_and_others_do_not(evidence_site):
    assert {"map-3", "map-7"} <= set(page(evidence_site, LOCAL, "robin", ROBINS[0]).ids)
    assert "map-7" not in page(evidence_site, LOCAL, "robin", ROBINS[1]).ids
    assert "Not recognised" in page(evidence_site, LOCAL, "robin", ROBINS[0]).text


def test_patches_lead_to_their_images_whatever_the_class(evidence_site):
    links = page(evidence_site, LOCAL, "robin").links
    assert {f"{name}.html" for name in ROBINS} <= set(links)
    assert {f"../wren/{name}.html" for name in WRENS} <= set(links)


@pytest.mark.parametrize(("model", "side"), [(LOCAL, PATCH), (NOMINAL, round(SIDE / N))])
def test_crops_are_enlarged_by_one_factor(evidence_site, model, side):
    crops = [each for each in page(evidence_site, model, "robin").images if each["alt"].startswith("patch ")]
    assert len(crops) == len(ROBINS) + len(WRENS)
    assert {(each["width"], each["height"]) for each in crops} == {(str(4 * side), str(4 * side))}


def test_failures_are_told(evidence_site):
    assert "CUDA <out> of memory" in page(evidence_site, LOCAL, "broken").text
    assert "asked for and has not begun" in page(evidence_site, LOCAL, "waiting").text
    assert "ImageError: <b>torn</b>" in page(evidence_site, LOCAL, "robin").text


def test_building_again_writes_nothing(changing):
    store, site = changing
    before = state(site)
    build(store, site, picture_of=picture_of)
    assert state(site) == before


def test_patches_gathered_anew_are_shown_and_only_their_class_is_rewritten(changing):
    store, site = changing
    before = state(site)
    write_patches(store, f"{LOCAL}-evidence", "robin", LOCAL, bonus=100.0)
    build(store, site, picture_of=picture_of)
    changed = {path.relative_to(site).as_posix() for path, value in state(site).items() if before.get(path) != value}
    folder = f"evidence/{LOCAL}/robin"
    assert changed == {f"{folder}/index.html", f"{folder}/.stamp.json", "evidence/compare/robin.html", "index.html"}
    assert "139.0" in page(site, LOCAL, "robin").text


def test_a_published_store_gives_the_same_pages(changing, evidence_site, tmp_path):
    store, _ = changing
    for model in (LOCAL, NOMINAL, DENSE):
        store.publish(f"{model}-evidence")
    shutil.rmtree(Path(store.url) / "parts")
    after = build(Store(store.url), tmp_path / "after", picture_of=picture_of).parent
    for path in evidence_site.rglob("*.html"):
        if path.name != "about.html":
            assert path.read_text() == (after / path.relative_to(evidence_site)).read_text(), path


def test_without_the_data_set_crops_and_maps_remain(store, tmp_path):
    site = build(store, tmp_path / "site").parent
    crawl(site, pages_of(site))
    assert "original picture is not available" in page(site, LOCAL, "robin", ROBINS[1]).text
    assert list((site / "evidence" / LOCAL / "robin" / "pictures").glob("class-*.jpg"))


def test_a_damaged_table_is_told_and_mended(changing):
    store, site = changing
    part = Path(store.url) / "parts" / "evidence" / f"{LOCAL}-evidence" / "robin.parquet"
    whole = part.read_bytes()
    part.write_bytes(whole[:50])
    record = store.read_arrow("class_runs", f"{LOCAL}-evidence", "robin").to_pylist()
    store.write("class_runs", f"{LOCAL}-evidence", "robin", [{**record[0], "attempt": 2}])
    build(store, site, picture_of=picture_of)
    assert "cannot be read" in page(site, LOCAL, "robin").text
    crawl(site, pages_of(site))
    part.write_bytes(whole)
    build(store, site, picture_of=picture_of)
    assert "Mean evidence" in page(site, LOCAL, "robin").text


def test_other_methods_leave_the_addresses_of_the_summaries_and_come_after_them(site, tmp_path):
    store = write_store(tmp_path / "store")
    write_units(store, "partbirds_wide", minute=-2)  # older than the summaries
    write_evidence(store, "partbirds_wide", minute=-1)
    after = build(store, tmp_path / "site", picture_of=picture_of).parent
    crawl(after, pages_of(after))
    assert reached(after, pages_of(after)) == set(pages_of(after))
    assert {path.relative_to(site) for path in site.rglob("*.html")} <= {
        path.relative_to(after) for path in after.rglob("*.html")
    }
    text = (after / "index.html").read_text()
    heads = [text.index(f"<h3>{each}</h3>") for each in ("Visual summaries", "Evidence of patches", "Units")]
    assert heads == sorted(heads)
    assert "evidence of partbirds_wide" in Page((after / "partbirds_wide" / "robin" / "index.html").read_text()).text


def test_a_class_of_two_methods_keeps_the_pictures_of_both(tmp_path):
    store = Store(tmp_path / "store")
    store.write_run(run_row("one", "net", ["robin"]))
    write_class(store, "one", "robin", ["a.png", "b.png", "c.png"])
    write_evidence(store, "net", minute=1)
    site = build(store, tmp_path / "site", picture_of=lambda *_: drawn(1)).parent
    names = {path.name.split("-")[0] for path in site.glob("images/*/robin/*")}
    assert names == {"a.png", "b.png", "c.png", *IMAGES["robin"]}
