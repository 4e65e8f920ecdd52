"""Pages of comparisons: linked, of the tables' numbers, each part in the column of its verdict, rewritten only if needed."""

import csv
import html
import io
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from bird_store import HOSTILE_MODEL, WIDE, picture_of
from comparison_store import (
    ALL,
    IMAGES,
    N_PARTS,
    NARROW,
    ROBIN,
    THREE_RUN,
    TWO_RUN,
    VERDICT_OF,
    as_told,
    summaries_run,
    write_store,
)
from read_pages import Page, crawl, pages_of, reached, state

from xvcore.comparison.method.verdict import CANNOT, COULD, SHARED, UNDECIDED, UNUSED
from xvcore.comparison.pages import wording
from xvcore.comparison.pages.figures import Bar, count_chart, coverage_chart
from xvcore.query import table
from xvcore.report import addresses, build
from xvcore.report.downloads import csv_of
from xvcore.report.names import page_name
from xvcore.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return write_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def made(store, tmp_path_factory) -> Path:
    return build(store, tmp_path_factory.mktemp("site"), picture_of=picture_of).parent


@pytest.fixture(scope="module")
def folders(store) -> dict[str, str]:
    """The folder of each comparison."""
    return {run: address.rsplit("/", 1)[0] for (run, class_id), address in addresses(store, list(store.runs()["run_id"])).items() if class_id is None and run in (TWO_RUN, THREE_RUN)}  # fmt: skip


@pytest.fixture(scope="module")
def pages(made) -> dict[Path, Page]:
    return pages_of(made)


def words(markup: str) -> str:
    """Return the words of a page or a piece of one."""
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split())
    return re.sub(r" ([.,;:)])", r"\1", text)


def part_of(markup: str, anchor: str) -> str:
    """Return the words of a part's card."""
    (found,) = re.findall(rf'<article class="part[^"]*" id="{anchor}".*?</article>', markup, re.DOTALL)
    return words(found)


def test_pages_are_whole_linked_reached_and_take_nothing_from_elsewhere(made, pages):
    crawl(made, pages)
    assert reached(made, pages) == set(pages)
    for path, page in pages.items():
        assert len(page.ids) == len(set(page.ids)), path
        assert (page.tags.count("h1"), page.tags.count("main"), page.tags.count("script")) == (1, 1, 2), path
        assert not "".join(page.scripts).strip(), path
        assert all("alt" in image for image in page.images), path
        assert path.stat().st_size < 1_000_000
        assert not re.search(r"(?:https?:)?//[a-z]+\.", path.read_text().replace("http://www.w3.org/2000/svg", "")), (
            path
        )


def test_two_networks_are_side_by_side_on_the_class_and_more_on_a_page_a_pair(made, folders):
    assert {path.name for path in (made / folders[TWO_RUN] / ROBIN).glob("*.html")} == {"index.html"}
    names = {
        f"{page_name(f'{a}+{b}')}.html" for a, b in ((NARROW, WIDE), (NARROW, HOSTILE_MODEL), (WIDE, HOSTILE_MODEL))
    }
    assert {path.name for path in (made / folders[THREE_RUN] / ROBIN).glob("*.html")} == {"index.html", *names}
    assert f"{NARROW} and {WIDE}" in words((made / "index.html").read_text())
    assert f"{NARROW}, {WIDE} and {HOSTILE_MODEL}" in words((made / "index.html").read_text())


def test_each_part_stands_in_the_column_of_its_verdict(made, folders):
    markup = (made / folders[TWO_RUN] / ROBIN / "index.html").read_text()
    columns = re.findall(r'<section class="third".*?</section>', markup, re.DOTALL)
    assert len(columns) == 3
    found = [set(re.findall(r'<article class="part[^"]*" id="network-(\d)-part-(\d)"', column)) for column in columns]
    number = {NARROW: "1", WIDE: "2"}
    told = {(number[model], str(part)): verdict for (model, part, _), verdict in VERDICT_OF.items()}
    missed = {key for key, verdict in told.items() if verdict in (COULD, CANNOT)}
    assert found[0] == {key for key in missed if key[0] == "1"}
    assert found[1] == {key for key, verdict in told.items() if verdict == SHARED}
    assert found[2] == {key for key in missed if key[0] == "2"}
    (couple,) = re.findall(r'<div class="couple two">.*?</article>.*?</article>', markup, re.DOTALL)
    assert set(re.findall(r'<article class="part[^"]*" id="([^"]*)"', couple)) == {
        "network-1-part-2",
        "network-2-part-1",
    }


def test_what_is_not_decided_is_in_no_column_and_says_why(made, folders):
    markup = (made / folders[THREE_RUN] / ROBIN / f"{page_name(f'{WIDE}+{HOSTILE_MODEL}')}.html").read_text()
    assert "<article" not in "".join(re.findall(r'<section class="third".*?</section>', markup, re.DOTALL))
    text = words(markup)
    assert text.count("4 images with the part: 8 are needed") == 3
    assert f"Between {WIDE} and {HOSTILE_MODEL} no part is known that one needs and the other hardly." in text


def test_the_numbers_of_a_part_are_those_of_the_tables(made, folders, store):
    markup = (made / folders[TWO_RUN] / ROBIN / "index.html").read_text()
    deletions = store.read("cross_deletions", TWO_RUN, ROBIN).set_index(["model", "part_id", "other"])
    for (model, part, other), verdict in VERDICT_OF.items():
        text = part_of(markup, f"network-{1 if model == NARROW else 2}-part-{part}")
        for asked in (model, other):
            row = deletions.loc[(model, part, asked)]
            low, high = as_told(row["low"]), as_told(row["high"])
            assert f"{asked} loses {as_told(row['difference'])} ({low} to {high}) beyond random regions" in text
            assert f"{as_told(row['loss'])} without it, {as_told(row['loss_random'])} without these" in text
        asked = deletions.loc[(model, part, other)]
        if verdict in (COULD, CANNOT):
            told = as_told(asked["probe_accuracy"])
            assert f"a probe on {other} tells it {told} ({as_told(asked['probe_low'])} to" in text
            assert f"{as_told(asked['probe_baseline'])} with labels traded" in text
        else:
            assert "not asked: too few images" in text


def test_a_class_page_says_by_how_much_and_how_surely_one_shows_more_parts(made, folders, store):
    text = words((made / folders[TWO_RUN] / ROBIN / "index.html").read_text())
    row = table(store, "comparison_wins", run_id=TWO_RUN).set_index(["model", "other"]).loc[(NARROW, WIDE)]
    more = f"{as_told(row['difference'])} ({as_told(row['low'])} to {as_told(row['high'])}) more parts an image"
    assert f"{NARROW} shows {more} than {WIDE}; p = {row['p_holm']:.3f} for all classes together." in text
    assert f"The store has no units of {NARROW} and {WIDE} on this class" in text


def test_a_class_page_names_the_annotated_parts_that_the_masks_cover_most_first(made, folders):
    markup = (made / folders[TWO_RUN] / ROBIN / "index.html").read_text()
    text = words(markup)
    assert "tail 75 % (12 % by chance, of 4; 61 % of the part) 75 % (12 % by chance, of 4; 61 % of the part)" in text
    assert "bill 25 % (12 % by chance, of 4)" in text, "older comparisons do not tell the share"
    assert "<b>75&#8239;%</b>" in markup or "<b>75\u202f%</b>" in markup, "above chance by its interval"
    assert "<b>25" not in markup, "not told apart from chance"


def test_pictures_and_summaries_lead_to_the_pages_of_the_network(made, folders):
    page = Page((made / folders[TWO_RUN] / ROBIN / "index.html").read_text())
    for model in (NARROW, WIDE):
        for part in range(N_PARTS[model]):
            assert f"../../../{model}/{ROBIN}/index.html#summary-{part}" in page.links
        assert {link for link in page.links if link.startswith(f"../../../{model}/{ROBIN}/robin_")}
    shown = [image for image in page.images if image["alt"].split(",")[0] in IMAGES]
    assert len(shown) >= sum(N_PARTS[model] for model in (NARROW, WIDE))


@pytest.mark.parametrize(
    ("name", "file", "of"),
    [("part_verdicts", "verdicts", ROBIN), ("cross_deletions", "deletions", ROBIN), ("part_matches", "matches", ROBIN),
     ("part_deletions", "deletions-by-image", ROBIN), ("part_coverage", "parts", ROBIN), ("network_likeness", "likeness", ROBIN),
     ("comparison_classes", "classes", None), ("comparison_networks", "networks", None), ("comparison_wins", "wins", None)],
)  # fmt: skip
def test_what_can_be_downloaded_is_the_table(name, file, of, made, folders, store):
    folder = made / folders[THREE_RUN]
    found = pd.read_csv(folder / of / f"{file}.csv" if of else folder / f"{file}.csv")
    expected = store.read(name, THREE_RUN, of) if of else table(store, name, run_id=THREE_RUN)
    assert list(found) == list(expected)
    assert len(found) == len(expected)
    for column in expected.select_dtypes("number"):
        np.testing.assert_allclose(found[column].to_numpy(float), expected[column].to_numpy(float, na_value=np.nan), rtol=1e-6)  # fmt: skip


def test_the_page_of_a_comparison_tells_networks_classes_and_figures(made, folders, store):
    markup = (made / folders[THREE_RUN] / "index.html").read_text()
    text = words(markup)
    assert f"{NARROW} needs 1 of 3 parts that {WIDE} hardly needs: {WIDE} could tell it, but does not use it." in text
    assert f"{WIDE} needs 1 of 2 parts that {NARROW} hardly needs: {NARROW} cannot tell it." in text
    assert f"{NARROW} shows more parts an image than {WIDE} in 1 of 1 class." in text
    assert "cannot be told from 3 networks: a correlation takes at least 4" in text
    assert "3 parts (2 to 4) 3 summaries, 71 % right" in text
    row = table(store, "comparison_wins", run_id=THREE_RUN).set_index(["model", "other"]).loc[(NARROW, WIDE)]
    shown = f"{as_told(row['difference'])} ({as_told(row['low'])} to {as_told(row['high'])}) an image, p = {row['p_holm']:.3f}"
    assert f"{NARROW} than {WIDE}: {shown}" in text
    for row in table(store, "comparison_classes", run_id=THREE_RUN).to_dict("records"):
        covered = f"{row['model']}: {100 * row['part_coverage']:.0f} %, 11 % by chance"
        assert covered in text
    likeness = table(store, "network_likeness", run_id=THREE_RUN)
    for column in ("cka", "cka_null", "bsr", "rsvc_self", "mask_overlap"):
        assert as_told(likeness[column].dropna().iloc[0]) in text
    assert "failed broken: no <summaries>" in text
    anchors = [link for link in Page(markup).links if "#network-" in link]
    hostile = f"{HOSTILE_MODEL} needs 1 of 1 part that {NARROW} hardly needs: {NARROW} does not use it, and whether"
    assert f"{hostile} it could tell it is not known." in text
    assert f"{NARROW} does not use it, whether it could is open: 0.62 (" in text
    assert len(anchors) == 3, "each missed part, with its pictures and tests one click away"


def test_building_again_writes_nothing_and_a_tag_given_later_only_the_pages_that_show_it(
    made, store, tmp_path, folders
):
    store, site = Store(shutil.copytree(store.url, tmp_path / "store")), shutil.copytree(made, tmp_path / "site")
    before = state(site)
    build(store, site, picture_of=lambda *_: pytest.fail("a picture was read again"))
    assert state(site) == before
    run_id = summaries_run(HOSTILE_MODEL)
    clusters = store.read_arrow("clusters", run_id, ROBIN).to_pylist()
    store.write("clusters", run_id, ROBIN, [{**row, "tag": "a tag of mine"} for row in clusters])
    build(store, site, picture_of=picture_of)
    changed = {path.relative_to(site).as_posix() for path, value in state(site).items() if before.get(path) != value}
    of_comparisons = {each for each in changed if each.startswith("comparison/")}
    assert of_comparisons
    assert not {each for each in of_comparisons if each.startswith(f"{folders[TWO_RUN]}/")}, "it has not that network"
    pair = site / folders[THREE_RUN] / ROBIN / f"{page_name(f'{WIDE}+{HOSTILE_MODEL}')}.html"
    assert "a tag of mine" in pair.read_text()
    crawl(site, pages_of(site))


def test_without_the_summaries_pages_crops_remain_and_a_damaged_table_is_told_and_mended(store, tmp_path, folders):
    store = Store(shutil.copytree(store.url, tmp_path / "store"))
    part = Path(store.url) / "parts" / "cross_deletions" / TWO_RUN / f"{ROBIN}.parquet"
    whole = part.read_bytes()
    part.write_bytes(whole[:80])
    site = build(store, tmp_path / "site", run_ids=[TWO_RUN]).parent
    page = site / folders[TWO_RUN] / ROBIN / "index.html"
    assert "cannot be read" in page.read_text()
    assert "Some tables cannot be read" in (site / folders[TWO_RUN] / "index.html").read_text()
    crawl(site, pages_of(site))
    part.write_bytes(whole)
    build(store, site, run_ids=[TWO_RUN])
    assert "cannot be read" not in page.read_text()
    assert len(list(page.parent.glob("pictures/*-region-*.jpg"))) >= 5
    assert f"Only {NARROW}" in words(page.read_text())
    crawl(site, pages_of(site))


# Words and figures


def correlated(n: int, r: float | None, low: float | None, high: float | None) -> str:
    return wording.told_of_correlation(
        {"n_networks": n, "correlation": r, "correlation_low": low, "correlation_high": high}
    )


def test_a_correlation_is_said_only_as_strong_as_its_interval():
    assert "more parts are right more often: r = 0.90 (0.40 to 0.99) over 6 networks" in correlated(6, 0.9, 0.4, 0.99)
    assert "right less often" in correlated(6, -0.9, -0.99, -0.4)
    assert "do not demonstrably go together: r = 0.50 (−0.20 to 0.90)" in correlated(6, 0.5, -0.2, 0.9)
    assert "no interval" in correlated(4, 0.5, None, None)
    assert "one of the two is equal" in correlated(5, None, None, None)
    assert "cannot be told from 2 networks" in correlated(2, None, None, None)
    assert "No class is complete" in wording.told_of_correlation(None)


def tally(*numbers: int) -> dict[str, int]:
    return dict(zip((SHARED, COULD, CANNOT, UNUSED, UNDECIDED), numbers, strict=True))


@pytest.mark.parametrize(
    "one",
    [
        (0, 0, 0, 0, 0),
        (2, 0, 0, 0, 0),
        (1, 1, 0, 0, 0),
        (0, 2, 1, 0, 3),
        (0, 0, 2, 0, 1),
        (0, 3, 0, 0, 0),
        (0, 0, 0, 1, 0),
        (0, 1, 1, 2, 0),
        (0, 0, 1, 1, 1),
    ],
)
@pytest.mark.parametrize("other", [(0, 0, 0, 0, 0), (1, 0, 1, 0, 2), (3, 1, 4, 0, 0), (0, 1, 0, 1, 0)])
def test_sentences_hold_the_numbers_of_the_verdicts(one, other):
    one, other = tally(*one), tally(*other)
    tallies = {("a", "b"): one, ("b", "a"): other}
    said = " ".join(wording.told_of_pairs(tallies, [("a", "b")]))
    for pair, counts in tallies.items():
        n, of = counts[COULD] + counts[CANNOT] + counts[UNUSED], sum(counts.values())
        assert (f"{pair[0]} needs {n} of {of} part" in said) == (n > 0)
    is_nothing = not any(counts[COULD] + counts[CANNOT] + counts[UNUSED] for counts in tallies.values())
    assert ("no part is known" in said) == is_nothing
    shared = wording.told_of_shared(tallies, "a", "b")
    if any(map(sum, (one.values(), other.values()))):
        assert f"{one[SHARED]} of {sum(one.values())} part" in shared
        assert ("Not decided" in shared) == bool(one[UNDECIDED] + other[UNDECIDED])


def test_figures_are_well_formed_whatever_the_names_and_keep_the_colours_of_the_networks():
    names = [*ALL, "x" * 60]
    bars = [Bar(name, place + 1, 0.5, 0.1) for place, name in enumerate(names)] + [Bar("none", 0, None, None)]
    svg = coverage_chart("<title>", [("<class>", bars)])
    ElementTree.fromstring(svg)
    assert re.findall(r"fill:var\(--n(\d)", svg) == ["1", "2", "3", "4"]
    assert "none: not known" in svg
    rows = [
        {"model": name, "accuracy": 0.5, "mean_parts": 2.0, "mean_parts_low": 1.0, "mean_parts_high": None}
        for name in names
    ]
    svg = count_chart(rows, {name: place + 2 for place, name in enumerate(names)})
    ElementTree.fromstring(svg)
    assert set(re.findall(r"fill:var\(--n(\d)", svg)) | set(re.findall(r"stroke:var\(--n(\d)", svg)) == {
        "2",
        "3",
        "4",
        "5",
    }
    assert count_chart([{**rows[0], "accuracy": None}], {}) is None


def test_a_file_gives_back_every_number_and_text():
    numbers = np.array([0.1, -1e-30, 3e38, np.nan, 1 / 3], np.float32)
    names = ["plain", 'quo"te, comma', "two\nlines", "", "\x1e"]
    frame = pd.DataFrame(
        {"x": numbers, "y": names, "z": [[1, 2], [], None, [3], None], "n": pd.array([1, None, 3, 4, 5])}
    )
    found = list(csv.reader(io.StringIO(csv_of(frame), newline="")))
    assert found[0] == ["x", "y", "z", "n"]
    assert [np.float32(row[0] or "nan") for row in found[1:]] == pytest.approx(numbers.tolist(), rel=0, nan_ok=True)
    assert [row[1] for row in found[1:]] == names
    assert [row[2] for row in found[1:]] == ["1 2", "", "", "3", ""]
    assert [row[3] for row in found[1:]] == ["1", "", "3", "4", "5"]
    assert csv_of(frame, ["y"]).startswith("y\n")
