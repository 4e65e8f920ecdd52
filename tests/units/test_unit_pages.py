"""Units pages: grids of projections beside crops, a table of all units, an index of the layers."""

import io
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from bird_store import picture_of, record, run_row
from method_store import (
    BARE,
    ERROR,
    N_SHOWN,
    N_UNITS,
    PROJECTED,
    ROBINS,
    is_dead,
    top_rows,
    units_store,
    write_evidence,
    write_units,
)
from PIL import Image
from read_pages import Page, crawl, pages_of, reached, state

from xvcore.report import build
from xvcore.report.names import page_name
from xvcore.store import Store
from xvcore.units.pages.unit_data import PER_PAGE

LIVING = [unit for unit in range(N_SHOWN) if not is_dead(unit)]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return units_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def units_site(store, tmp_path_factory) -> Path:
    return build(store, tmp_path_factory.mktemp("site"), picture_of=picture_of).parent


@pytest.fixture
def changing(store, units_site, tmp_path) -> tuple[Store, Path]:
    """Copies that a test may change."""
    copy = Store(shutil.copytree(store.url, tmp_path / "store"))
    return copy, shutil.copytree(units_site, tmp_path / "site")


def page(site: Path, model: str, layer: str | None = None, name: str = "index") -> Page:
    folder = site / "units" / page_name(model)
    return Page((folder / (layer or "") / f"{name}.html").read_text())


def weight(path: Path) -> int:
    """Bytes of a page with all its pictures."""
    images = {path.parent / image["src"] for image in Page(path.read_text()).images}
    return path.stat().st_size + sum(each.stat().st_size for each in images)


def test_pages_are_whole_linked_reached_and_light(units_site):
    pages = pages_of(units_site)
    crawl(units_site, pages)
    assert reached(units_site, pages) == set(pages)
    for path, each in pages.items():
        assert len(each.ids) == len(set(each.ids)), path
        assert each.tags.count("h1") == 1, path
        assert all("alt" in image for image in each.images), path
        assert weight(path) < 2_000_000


def test_a_store_of_units_alone_has_no_other_section(units_site):
    text = Page((units_site / "index.html").read_text()).text
    assert f"{2 * N_UNITS}units in 2 layers" in text
    assert "Evidence" not in text
    assert "visual summary" not in text
    assert "Filter" not in text
    assert not (units_site / "compare").exists()


def test_each_pictured_unit_has_an_address_that_follows_from_its_number(units_site):
    for unit in LIVING:
        first = unit // PER_PAGE * PER_PAGE
        name = f"from-{first}" if first else "index"
        assert f"unit-{unit}" in page(units_site, PROJECTED, "conv.2", name).ids
    assert len(list((units_site / "units" / PROJECTED / "conv.2").glob("*.html"))) == 3  # two pages and the table


def test_each_pictured_unit_has_projections_beside_crops_and_its_numbers(units_site):
    text = (units_site / "units" / PROJECTED / "conv.2" / "index.html").read_text()
    cards = dict(re.findall(r'<article class="unit" id="unit-(\d+)".*?>(.*?)</article>', text, re.DOTALL))
    assert sorted(map(int, cards)) == [unit for unit in LIVING if unit < PER_PAGE]
    for unit, card in cards.items():
        sources = [image["src"] for image in Page(card).images]
        assert [re.sub(r".*-(\w+)\..*", r"\1", each) for each in sources] == ["projections", "crops"]
        assert f"{100 - int(unit)}" in Page(card).text
        for expected in ("robin & co", "75\u202f%", "0.81", "1.5"):
            assert expected in Page(card).text


def test_dead_units_are_named_and_have_no_pictures(units_site):
    dead = [unit for unit in range(PER_PAGE) if is_dead(unit)]
    first = page(units_site, PROJECTED, "conv.2")
    assert f"Dead, so without pictures: {', '.join(map(str, dead))}." in " ".join(first.text.split())
    assert not {f"unit-{unit}" for unit in dead} & set(first.ids)
    assert not list((units_site / "units" / PROJECTED / "conv.2" / "pictures").glob(f"{dead[0]}-*"))


def test_the_table_holds_every_unit(units_site):
    table = page(units_site, PROJECTED, "conv.2", "table")
    assert {f"unit-{unit}" for unit in range(N_UNITS)} <= set(table.ids)
    assert table.text.count("dead") >= sum(map(is_dead, range(N_UNITS)))
    assert f"index.html#unit-{LIVING[0]}" in table.links
    assert f"from-{PER_PAGE}.html#unit-{LIVING[-1]}" in table.links


def test_layers_are_listed_by_what_they_see_with_units_dead_field_and_share(units_site):
    text = " ".join(page(units_site, PROJECTED).text.split())
    row = r"conv\.%d ?60 ?6 10 %% ?%s px ?75 %%"
    assert re.search(row % (2, "8 × 8") + ".*" + row % (10, "40 × 40"), text), text


def test_why_there_are_no_projections_is_told_once(units_site):
    for each in (page(units_site, BARE), page(units_site, BARE, "conv.2"), page(units_site, BARE, "conv.10")):
        assert each.text.count(ERROR) == 1
    assert ERROR not in page(units_site, PROJECTED).text
    text = (units_site / "units" / page_name(BARE) / "conv.2" / "index.html").read_text()
    assert "crops" in text
    assert "-projections." not in text


@pytest.mark.parametrize(("layer", "side"), [("conv.2", 8), ("conv.10", 40)])
def test_a_sheet_has_each_picture_in_its_place(units_site, layer, side):
    unit = LIVING[3]
    (path,) = (units_site / "units" / PROJECTED / layer / "pictures").glob(f"{unit}-crops.*")
    found = np.array(Image.open(path).convert("RGB")).astype(float)
    tile = len(found) // 3
    for row in top_rows(layer, unit, side, has_projections=False):
        y, x = divmod(row["position"] - 1, 3)
        shown = Image.fromarray(found[y * tile : (y + 1) * tile, x * tile : (x + 1) * tile].astype(np.uint8))
        expected = np.array(Image.open(io.BytesIO(row["crop"]["bytes"]))).astype(float)
        assert np.abs(np.array(shown.resize((side, side), Image.Resampling.BOX)) - expected).mean() < 6
    assert np.abs(found[2 * tile :, 2 * tile :] - 128).max() < 6  # the ninth place is empty


def test_building_again_writes_nothing(changing):
    store, site = changing
    before = state(site)
    build(store, site, picture_of=picture_of)
    assert state(site) == before


def test_a_changed_ranking_rewrites_its_layer_alone(changing):
    store, site = changing
    before = state(site)
    rows = [row for unit in range(4) for row in top_rows("conv.2", unit, 8, has_projections=True)]
    store.write("unit_top", f"{PROJECTED}-units", "conv.2", rows)
    build(store, site, picture_of=picture_of)
    now = state(site)
    changed = {path.relative_to(site).as_posix() for path in now | before if before.get(path) != now.get(path)}
    folder = f"units/{PROJECTED}"
    assert changed
    of_class = (f"{folder}/~classes/", "units/compare/")
    assert {each for each in changed if not each.startswith((f"{folder}/conv.2/", *of_class))} <= {
        "index.html",
        f"{folder}/index.html",
    }
    assert not (site / folder / "conv.2" / f"from-{PER_PAGE}.html").exists()
    crawl(site, pages_of(site))


def test_a_published_store_gives_the_same_pages(changing, units_site, tmp_path):
    store, _ = changing
    for model in (PROJECTED, BARE):
        store.publish(f"{model}-units")
    shutil.rmtree(Path(store.url) / "parts")
    after = build(Store(store.url), tmp_path / "after", picture_of=picture_of).parent
    for path in units_site.rglob("*.html"):
        if path.name != "about.html":
            assert path.read_text() == (after / path.relative_to(units_site)).read_text(), path


def test_a_damaged_layer_is_told_and_the_others_are_shown(changing):
    store, site = changing
    part = Path(store.url) / "parts" / "unit_top" / f"{PROJECTED}-units" / "conv.10.parquet"
    part.write_bytes(part.read_bytes()[:60])
    build(store, site, picture_of=picture_of)
    text = page(site, PROJECTED).text
    assert "cannot be read" in text
    assert "conv.2" in text


def test_classes_that_are_not_ranked_are_named(changing):
    store, site = changing
    row = record("wren", "failed", error="disk <full>")
    store.write("class_runs", f"{PROJECTED}-units", "wren", [row])
    build(store, site, picture_of=picture_of)
    assert "disk <full>" in page(site, PROJECTED).text
    assert "disk <full>" not in page(site, BARE).text


def test_a_run_without_rankings_yet_says_so(tmp_path):
    store = Store(tmp_path / "store")
    store.write_run({**run_row("new", "net", ["robin"]), "method": "top-activations"})
    site = build(store, tmp_path / "site").parent
    assert "not merged yet" in Page((site / "index.html").read_text()).text
    assert "there are none yet" in page(site, "net").text


def test_a_units_class_is_told_from_chance_by_the_tail_of_drawing_without_replacement(tmp_path):
    store = Store(tmp_path / "store")
    n_of_class, run_id = {"robin": 10, "wren": 30}, "net-units"
    run = {**run_row(run_id, "net", n_of_class), "method": "top-activations", "status": "complete"}
    store.write_run(run)
    for class_id, n_images in n_of_class.items():
        store.write("class_runs", run_id, class_id, [record(class_id, n_images=n_images)])
    alive = {"layer": "conv.2", "n_images": 40, "dead": False, "act_mean": 1.0, "act_max": 2.0, "class_entropy": 0.0}
    rows = [
        {**alive, "unit": unit, "top_class_id": name, "top_class_share": share}
        for unit, (name, share) in enumerate([("robin", 1.0), ("robin", 5 / 9), ("wren", 8 / 9), ("wren", 1.0)])
    ]
    store.write("units", run_id, "conv.2", rows)
    top = {"layer": "conv.2", "activation": 1.0, "map_y": 0, "map_x": 0, "x": 0, "y": 0, "w": 8, "h": 8}
    names = [["robin"] * 9, ["robin"] * 5 + ["wren"] * 4, ["wren"] * 8 + ["robin"], ["wren"] * 9]
    ranked = [
        {**top, "unit": unit, "position": position, "image_id": f"{name}-{position}", "image_class_id": name}
        for unit, of_unit in enumerate(names)
        for position, name in enumerate(of_unit, 1)
    ]
    store.write("unit_top", run_id, "conv.2", ranked)
    site = build(store, tmp_path / "site").parent
    crawl(site, pages_of(site))
    robin, wren = (page(site, "net", f"~classes/{name}") for name in n_of_class)
    drawn = math.comb(40, 9)
    assert math.comb(10, 9) / drawn * 4 * 2 < 0.001  # nine of ten robins: of four units and two classes
    assert sum(math.comb(30, n) * math.comb(10, 9 - n) for n in (8, 9)) / drawn * 8 > 0.05
    assert "1 of 4 living units of net respond to American robin" in " ".join(robin.text.split())
    assert "conv.2, unit 0 of net: 9 of its 9 strongest images are of American robin" in " ".join(robin.text.split())
    assert "0 of 4 living units of net respond to wren" in " ".join(wren.text.split())
    assert "could be chance" in wren.text


def test_from_a_class_to_its_units_to_their_images_and_back(tmp_path):
    store = Store(tmp_path / "store")
    write_evidence(store, PROJECTED)
    write_units(store, PROJECTED)
    site = build(store, tmp_path / "site", picture_of=picture_of).parent
    pages = pages_of(site)
    crawl(site, pages)
    assert reached(site, pages) == set(pages)
    of_class = page(site, PROJECTED, "~classes/robin")
    assert "../../conv.2/index.html#unit-0" in of_class.links
    assert f"../../../../evidence/{PROJECTED}/robin/{ROBINS[0]}.html" in of_class.links
    layer = page(site, PROJECTED, "conv.2")
    assert f"../../../evidence/{PROJECTED}/robin/{ROBINS[0]}.html" in layer.links
    assert "../~classes/robin/index.html" in layer.links
    evidence = site / "evidence" / PROJECTED / "robin"
    assert f"../../../units/{PROJECTED}/~classes/robin/index.html" in Page((evidence / "index.html").read_text()).links
    image = Page((evidence / f"{ROBINS[0]}.html").read_text())
    assert f"../../../units/{PROJECTED}/~classes/robin/index.html" in image.links


def test_layers_lead_to_those_around_them(units_site):
    assert "../conv.10/index.html" in page(units_site, PROJECTED, "conv.2", f"from-{PER_PAGE}").links
