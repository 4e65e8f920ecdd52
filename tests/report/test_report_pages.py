"""The folder of pages: whole, escaped, linked, and rewritten only where something changed."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from bird_store import CLASSES, HOSTILE, HOSTILE_MODEL, WIDE, drawn, record, run_row, seed_of, write_class
from read_pages import Page, crawl, pages_of, reached, state

from xvcore.errors import StoreError
from xvcore.report import build
from xvcore.report.names import page_name
from xvcore.store import Store


def page_of(site: Path, model: str, class_id: str, name: str = "index") -> Page:
    return Page((site / page_name(model) / page_name(class_id) / f"{name}.html").read_text())


@pytest.fixture(scope="module")
def pages(site):
    return pages_of(site)


def test_every_link_and_picture_is_there(site, pages):
    crawl(site, pages)


def test_every_page_can_be_reached_from_the_first(site, pages):
    assert reached(site, pages) == set(pages)


def test_pages_are_well_formed_with_unique_ids_one_heading_and_a_text_for_each_picture(pages):
    for path, page in pages.items():
        assert len(page.ids) == len(set(page.ids)), path
        assert (page.tags.count("h1"), page.tags.count("main")) == (1, 1), path
        assert all("alt" in image for image in page.images), path


def test_nothing_comes_from_elsewhere(site):
    for path in [*site.rglob("*.html"), *site.rglob("*.css"), *site.rglob("*.js")]:
        assert not re.search(r"(?:https?:)?//[a-z]+\.", path.read_text().replace("http://www.w3.org/2000/svg", "")), (
            path
        )


def test_names_are_shown_and_never_run(site, pages):
    for path, page in pages.items():
        assert not "".join(page.scripts).strip(), path
        assert page.tags.count("script") == 2, path
        assert not {"onerror"} & {name for image in page.images for name in image}, path
    first = pages[site / "index.html"]
    assert HOSTILE in first.text
    assert HOSTILE_MODEL in first.text
    assert "ImageError: <i>truncated</i> file" in page_of(site, WIDE, HOSTILE).text


def test_each_class_of_each_network_has_its_page(site):
    for model in (WIDE, HOSTILE_MODEL):
        for class_id in CLASSES:
            assert CLASSES[class_id] in page_of(site, model, class_id).text


def test_each_readable_image_has_its_page_at_a_stable_address(site):
    folder = site / WIDE / "robin"
    assert {path.name for path in folder.glob("*.html")} == {
        "index.html",
        *(f"robin_{i:02d}.jpg.html" for i in range(6)),
    }


def test_the_first_page_counts_accepted_summaries_and_names_failures(site):
    text = (site / "index.html").read_text()
    rows = {
        name: re.findall(r'class="n">([^<]*)<', row)
        for name, row in re.findall(r'<tr role="row" data-name="([^"]*)".*?>(.*?)</tr>', text, re.DOTALL)
    }
    assert rows["american robin"] == ["2", "1"]
    assert rows["no clusters"] == rows["empty class"] == ["0", "0"]
    assert rows["broken"] == ["!", "!"]
    assert "CUDA error: &lt;device&gt; lost" in text


def test_a_class_page_says_what_became_of_the_class(site):
    assert "CUDA error: <device> lost" in page_of(site, WIDE, "broken").text
    assert "asked for and has not begun" in page_of(site, WIDE, "pending").text
    assert "No image of this class was read" in page_of(site, WIDE, "empty class").text
    assert "nothing to compare" in page_of(site, WIDE, "no.clusters here").text
    robin = page_of(site, WIDE, "robin")
    assert "2 summaries" in robin.text
    assert "1 rejected cluster" in robin.text
    assert "1 image left out" in robin.text
    assert "head" in robin.text
    assert "20\u202f% by chance" in robin.text


def test_pages_tell_parts_beside_summaries_with_their_interval(site, pages):
    robin = page_of(site, WIDE, "robin").text
    assert "2 summaries on 2 distinct parts" in robin
    assert "number of parts: 1 to 3, of summaries: 1 to 4, from halves" in robin
    assert "2 parts (1–3)" in pages[site / "index.html"].text
    side_by_side = Page((site / "compare" / "robin.html").read_text()).text
    assert re.search(r"2\s*distinct parts, 1 to 3 at", side_by_side)
    assert re.search(r"1\s*distinct part, 0 to 2 at", side_by_side)


def test_a_class_page_says_what_is_needed_together_and_shows_that_last_which_costs_no_more_than_chance(site):
    text = page_of(site, WIDE, "robin").text
    assert "without all summaries 93\u202f% of the probability is lost, 2\u202f% without as many random" in text
    assert text.index("body") < text.index("head")
    assert text.count("no more is lost than by random regions") == 1
    assert "What is lost step by step" in text
    assert "against the number of images" in text


def test_where_parts_were_not_looked_for_none_are_shown(site, pages):
    text = page_of(site, HOSTILE_MODEL, HOSTILE).text
    assert "2 summaries" in text
    for words in ("distinct part", "eeded together", "step by step", "number of images"):
        assert words not in text


def test_an_image_page_shows_probabilities_masks_and_regions(site):
    text = page_of(site, WIDE, "robin", "robin_01.jpg").text
    for expected in ("0.900", "0.020", "0.050", "98\u202f%", "Summary 1", "exemplar"):
        assert expected in text
    text = page_of(site, WIDE, "robin", "robin_05.jpg").text
    assert "Not recognised" in text
    assert "misclassified" in text


def test_the_comparison_holds_overlap_and_both_networks(site):
    page = Page((site / "compare" / "robin.html").read_text())
    assert "100\u202f%" in page.text
    assert WIDE in page.text
    assert HOSTILE_MODEL in page.text


def test_building_again_writes_nothing_and_reads_no_picture(new_store, new_site, originals):
    before = state(new_site)

    def refuse(*_):
        raise AssertionError("a picture was read again")

    build(new_store, new_site, picture_of=refuse)
    assert state(new_site) == before


def test_a_changed_class_is_written_anew_and_the_others_are_left(new_store, new_site, originals):
    before = state(new_site)
    row = record("broken", "complete", n_images=0, n_correct=0, n_masks=0, n_regions=0, n_clusters=0, n_summaries=0)
    new_store.write("class_runs", "wide-run", "broken", [row])
    build(new_store, new_site, picture_of=originals)
    changed = {
        path.relative_to(new_site).as_posix() for path, value in state(new_site).items() if before.get(path) != value
    }
    assert changed == {
        f"{WIDE}/broken/index.html",
        f"{WIDE}/broken/.stamp.json",
        "compare/broken.html",
        "index.html",
    }


def test_a_tag_given_later_is_shown(new_store, new_site, originals):
    clusters = new_store.read_arrow("clusters", "wide-run", "robin").to_pylist()
    new_store.write("clusters", "wide-run", "robin", [{**row, "tag": "a tag of mine"} for row in clusters])
    build(new_store, new_site, picture_of=originals)
    assert "a tag of mine" in page_of(new_site, WIDE, "robin").text


def test_a_page_that_was_removed_comes_back(new_store, new_site, originals):
    build(new_store, new_site, picture_of=originals)
    before = {path: data for path, (_, data) in state(new_site).items()}
    (new_site / WIDE / "robin" / "robin_02.jpg.html").unlink()
    shutil.rmtree(new_site / "images")
    build(new_store, new_site, picture_of=originals)
    assert {path: data for path, (_, data) in state(new_site).items()} == before


def test_pages_of_images_that_are_no_more_are_removed(new_store, new_site, originals):
    write_class(new_store, "wide-run", "robin", ["robin_00.jpg", "robin_01.jpg", "robin_09.jpg"])
    build(new_store, new_site, picture_of=originals)
    names = {path.name for path in (new_site / WIDE / "robin").glob("*.html")}
    assert names == {"index.html", "robin_00.jpg.html", "robin_01.jpg.html", "robin_09.jpg.html"}
    pictures = {path.name.split(".")[0] for path in new_site.glob("images/*/robin/*")}
    assert pictures == {*(f"robin_{i:02d}" for i in range(6)), "robin_09"}  # the other network still shows six
    crawl(new_site, pages_of(new_site))


def test_no_temporary_file_is_left(site):
    assert not list(site.rglob("*.tmp"))


def test_without_the_data_set_masks_crops_and_montages_remain(drawn_store, tmp_path):
    site = build(drawn_store, tmp_path / "site").parent
    pages = pages_of(site)
    crawl(site, pages)
    assert not (site / "images").exists()
    assert list((site / WIDE / "robin" / "pictures").glob("summary-*.jpg"))
    assert "original pictures are available" in page_of(site, WIDE, "robin").text
    assert "original picture is not available" in page_of(site, WIDE, "robin", "robin_01.jpg").text


def test_pictures_that_come_back_are_shown(drawn_store, tmp_path, originals, site):
    folder = build(drawn_store, tmp_path / "site", picture_of=lambda *_: None).parent
    build(drawn_store, folder, picture_of=originals)
    one, other = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*.html")} for root in (folder, site)
    )
    assert one == other


def test_a_picture_is_shared_by_networks_that_see_the_same_pixels(site):
    assert len(list(site.glob("images/*/robin/robin_01*"))) == 1


def test_a_damaged_table_is_told_on_its_page_and_mended_later(new_store, tmp_path, originals):
    part = Path(new_store.url) / "parts" / "masks" / "wide-run" / "robin.parquet"
    whole = part.read_bytes()
    part.write_bytes(whole[:100])
    site = build(new_store, tmp_path / "site", picture_of=originals).parent
    assert "cannot be read" in page_of(site, WIDE, "robin").text
    assert "2 summaries" in page_of(site, WIDE, HOSTILE).text
    crawl(site, pages_of(site))
    part.write_bytes(whole)
    build(new_store, site, picture_of=originals)
    assert "2 summaries" in page_of(site, WIDE, "robin").text


def test_a_published_store_gives_the_same_pages(new_store, tmp_path, originals, site):
    for run_id in ("wide-run", "narrow-run"):
        new_store.publish(run_id)
    shutil.rmtree(Path(new_store.url) / "parts")
    after = build(Store(new_store.url), tmp_path / "site", picture_of=originals).parent
    for path in site.rglob("*.html"):
        if path.name != "about.html":
            text = path.read_text()
            assert text == (after / path.relative_to(site)).read_text(), path


def test_some_runs_can_be_chosen_and_keep_their_addresses(drawn_store, tmp_path):
    site = build(drawn_store, tmp_path / "site", run_ids=["narrow-run"]).parent
    assert not (site / WIDE).exists()
    assert "1 summary" in page_of(site, HOSTILE_MODEL, "robin").text
    crawl(site, pages_of(site))


def test_a_second_run_of_a_network_has_its_own_folder_and_says_what_differs(new_store, new_site, originals):
    row = run_row("second-run", WIDE, ["robin"], minute=9)
    new_store.write_run({**row, "params": {"mask": {"smooth_steps": 50}, "max_images": 100}})
    write_class(new_store, "second-run", "robin", [f"robin_{i:02d}.jpg" for i in range(6)])
    site = build(new_store, new_site, picture_of=originals).parent
    assert len(list(site.glob(f"{WIDE}~*"))) == 1
    text = Page((site / "index.html").read_text()).text
    assert "mask.smooth_steps=50" in text
    assert "mask.smooth_steps=300" in text
    crawl(site, pages_of(site))


def test_two_data_sets_with_a_class_of_one_name_do_not_meet(new_store, new_site, originals):
    new_store.write_run({**run_row("cub-run", WIDE, ["robin"], minute=9), "dataset": "cub:/data"})
    write_class(new_store, "cub-run", "robin", ["x.jpg", "y.jpg", "z.jpg"])
    site = build(new_store, new_site, picture_of=originals).parent
    assert "cub:/data" in Page((site / "index.html").read_text()).text
    crawl(site, pages_of(site))


def test_an_empty_store_is_refused_and_one_without_runs_has_a_first_page(tmp_path):
    with pytest.raises(StoreError, match="nothing was ever written"):
        build(Store(tmp_path / "none"), tmp_path / "site")
    store = Store(tmp_path / "store")
    store.write("classes", "d", "c", [{"class_idx": 0, "class_name": "c"}])
    assert "no runs yet" in build(store, tmp_path / "site").read_text()


def test_an_unknown_run_is_refused_with_the_known_ones(drawn_store, tmp_path):
    with pytest.raises(StoreError, match="wide-run"):
        build(drawn_store, tmp_path / "site", run_ids=["wide-ran"])


def test_about_holds_parameters_weights_and_every_column(site):
    page = Page((site / "about.html").read_text())
    assert '"smooth_steps": 300' in page.text
    assert "ab" * 32 in page.text
    for expected in ("prob_drop", "area_frac", "px of the model input", "mask_overlap"):
        assert expected in page.text


def test_pictures_are_those_the_data_set_gives(site):
    from PIL import Image

    for path in site.glob("images/*/robin/robin_01*"):
        with Image.open(path) as image:
            difference = np.abs(np.array(image).astype(int) - drawn(seed_of("robin_01.jpg")))
        assert difference.mean() < 6
