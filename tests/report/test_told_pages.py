"""Findings on pages: each on its class's page and on the first, with a link to its numbers; said where there is none."""

from html import unescape
from pathlib import Path

import numpy as np
import pytest
from bird_store import picture_of
from comparison_store import NARROW, ROBIN, write_store
from method_store import LOCAL, write_evidence
from read_pages import crawl, pages_of

from xvcore.comparison.pages.findings import counts_of
from xvcore.evidence.pages.findings import half_of, place_shares
from xvcore.query import table
from xvcore.report import build
from xvcore.report.findings import mean
from xvcore.report.names import page_name
from xvcore.store import Store


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> tuple[Store, Path]:
    store = write_store(tmp_path_factory.mktemp("store"))
    return store, build(store, tmp_path_factory.mktemp("site"), picture_of=picture_of).parent


def words_of(path: Path) -> str:
    return unescape(path.read_text())


def test_every_joint_deletion_is_told_with_its_random_regions(drawn_store, site):
    rows = table(drawn_store, "summary_drops", filters={"kind": "joint"})
    rows = rows[rows["p_value"].notna()]
    assert len(rows)
    for row in rows.itertuples():
        text = words_of(site / page_name(row.model) / page_name(row.class_id) / "index.html")
        assert "random regions as large take" in text
        assert ("could be chance" in text) or row.p_value <= 0.05


def test_parts_that_one_network_needs_are_told_on_the_first_page_with_links_to_their_tests(compared):
    store, site = compared
    crawl(site, pages_of(site))
    verdicts = table(store, "part_verdicts", class_id=ROBIN)
    missed = verdicts[verdicts["verdict"].isin(["could but does not use", "cannot", "does not use"])]
    assert len(missed)
    text = words_of(site / "index.html")
    assert "hardly: " in text
    assert f"comparison/{NARROW}" in text


def test_images_are_counted_in_which_a_network_loses_more_than_by_random_regions(compared):
    deletions = table(compared[0], "part_deletions", class_id=ROBIN)
    for (model, part, other), (n_lose, n) in counts_of(deletions).items():
        rows = deletions[(deletions["model"] == model) & (deletions["part_id"] == part) & (deletions["other"] == other)]
        assert (n_lose, n) == (int((rows["prob_deleted"] < rows["prob_random"]).sum()), len(rows))


def test_a_network_without_findings_says_that_nothing_stands_out(tmp_path):
    store = Store(tmp_path / "store")
    write_evidence(store, LOCAL)
    folder = build(store, tmp_path / "site", picture_of=picture_of).parent
    text = words_of(folder / "evidence" / LOCAL / "robin" / "index.html")
    assert "Half of the evidence" in text
    for path in (folder / "evidence" / LOCAL).glob("*/index.html"):
        told = words_of(path)
        has_tests = "if bagnet_drawn looked anywhere" in told
        assert has_tests or "Nothing" in told or "failed" in told or "not begun" in told


def test_half_of_the_evidence_is_counted_from_the_strongest():
    assert half_of(np.array([[1.0, 1.0], [1.0, 1.0]])) == 0.5
    assert half_of(np.array([[5.0, -9.0], [1.0, 1.0]])) == 0.25
    assert half_of(np.array([[-1.0, 0.0]])) is None


def test_maps_that_have_nothing_to_do_with_one_another_have_a_tenth_in_the_place_of_the_others():
    source = np.random.default_rng(0)
    found = [mean(place_shares(list(source.normal(size=(10, 13, 13))))) for _ in range(1000)]
    chance = round(16.9) / 169
    assert np.mean([each.value for each in found]) == pytest.approx(chance, abs=0.003)
    assert np.mean([each.low > chance for each in found]) == pytest.approx(0.025, abs=0.015)


def test_maps_that_are_alike_have_the_place_of_the_others():
    same = np.zeros((10, 10))
    same[3, 2:7] = 1.0
    assert place_shares([same, same, same, same]) == [1.0, 1.0]
