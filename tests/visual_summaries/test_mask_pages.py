"""What the pages of a class and of an image say of masks under several baselines."""

import pytest
from bird_store import CLASSES, WIDE, run_row, write_class
from read_pages import Page, crawl, pages_of

from xvcore.report import build
from xvcore.store import Store
from xvcore.visual_summaries.tables import JUDGED

DROPS = {"drop_blur_weak": 0.98, "drop_blur_strong": 0.71, "drop_mean": 0.41, "drop_noise": 0.88}


def judged(store: Store, run_id: str, class_id: str) -> None:
    """Write what a run writes that judges masks and summaries under every baseline."""
    masks = store.read_arrow("masks", run_id, class_id).to_pylist()
    first = next(row["image_id"] for row in masks)
    told = {"mask_method": "extremal_perturbation", "stopped": "steps"}
    store.write(
        "masks",
        run_id,
        class_id,
        [
            {**row, **told, "reached": row["image_id"] != first, **(DROPS if row["kind"] == "sharp" else {})}
            for row in masks
        ],
    )
    clusters = store.read_arrow("clusters", run_id, class_id).to_pylist()
    worst = {"worst_drop": 0.13, "worst_baseline": "noise"}
    store.write("clusters", run_id, class_id, [{**row, **(worst if row["accepted"] else {})} for row in clusters])


@pytest.fixture(scope="module")
def judged_site(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    names = {each: CLASSES[each] for each in ("robin", "broken")}
    store.write_run(run_row("wide-run", WIDE, names))
    for index, (class_id, name) in enumerate(names.items()):
        write_class(store, "wide-run", class_id, [f"{class_id}_{i:02d}.jpg" for i in range(4)], n_parts=1)
        store.write("classes", "partbirds", class_id, [{"class_idx": index, "class_name": name}])
    judged(store, "wide-run", "robin")
    return build(store, tmp_path_factory.mktemp("site")).parent


def text(site, *names):
    return Page((site.joinpath(*names[:-1]) / f"{names[-1]}").read_text()).text


def test_pages_show_what_is_lost_under_each_baseline(judged_site):
    crawl(judged_site, pages_of(judged_site))
    for page in ((WIDE, "robin", "index.html"), (WIDE, "robin", "robin_01.jpg.html")):
        shown = text(judged_site, *page)
        for words, drop in zip(JUDGED.values(), DROPS.values(), strict=True):
            assert words in shown
            assert f"{drop:.0%}".replace("%", "\u202f%") in shown
    assert "13\u202f% at worst, with noise around the mean colour" in text(judged_site, WIDE, "robin", "index.html")
    assert "under the worst baseline" in text(judged_site, WIDE, "robin", "index.html")


def test_an_image_says_whose_mask_it_is_and_where_it_does_not_do(judged_site):
    missed, reached = (text(judged_site, WIDE, "robin", f"robin_0{index}.jpg.html") for index in (0, 1))
    assert "feeds no summary" in missed
    assert "feeds no summary" not in reached
    assert "Made by extremal perturbations." in reached
    assert "extremal perturbations" in text(judged_site, WIDE, "robin", "index.html")
    assert "extremal" not in text(judged_site, WIDE, "broken", "index.html")


def test_runs_that_did_not_ask_say_nothing(judged_site):
    others = list((judged_site / WIDE / "broken").glob("*.html"))
    assert len(others) > 3
    for path in others:
        shown = Page(path.read_text()).text
        assert "worst baseline" not in shown
        assert "Lost without" not in shown
