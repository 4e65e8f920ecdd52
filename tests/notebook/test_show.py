"""Laws of a class in a cell: what the report has of it is there, published or not, and names are told."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from analysis_runs import complete, spec
from bird_store import HOSTILE, HOSTILE_MODEL, WIDE, picture_of, run_row, write_store
from method_store import (
    BARE,
    IMAGES,
    LOCAL,
    NOMINAL,
    PROJECTED,
    evidence_store,
    units_store,
    write_classes,
    write_units,
)

import xvcore
from xvcore.errors import StoreError, UnknownNameError
from xvcore.notebook.figure import Figure
from xvcore.store import Store
from xvcore.store.encode import picture

MOST_BYTES = 700_000


@pytest.fixture(scope="module")
def birds(tmp_path_factory) -> Store:
    return write_store(tmp_path_factory.mktemp("birds"))


@pytest.fixture(scope="module")
def evidence(tmp_path_factory) -> Store:
    return evidence_store(tmp_path_factory.mktemp("evidence"), LOCAL, NOMINAL)


@pytest.fixture(scope="module")
def units(tmp_path_factory) -> Store:
    return units_store(tmp_path_factory.mktemp("units"))


def texts(figure: Figure) -> str:
    return re.sub(r"<style>.*?</style>|<[^>]+>", " ", figure.html, flags=re.DOTALL)


def panels(figure: Figure) -> list:
    return [*figure.panels, *(each for part in figure.parts for each in panels(part))]


def test_a_class_shows_its_summaries_with_outlines_in_its_images(birds) -> None:
    figure = xvcore.show(birds, "robin", network=WIDE, picture_of=picture_of)
    assert figure.title == "American robin"
    (part,) = figure.parts
    assert part.title == f"2 visual summaries on 2 distinct parts, {WIDE}"
    assert [each.title for each in part.parts] == ["Summary 1: body", "Summary 2: head", "5 masks"]
    assert all(panel.outlines for summary in part.parts[:2] for panel in summary.panels)
    assert all(panel.over for panel in part.parts[2].panels)
    assert len(figure.html) < MOST_BYTES
    assert not re.search(r"https?://|url\(|<script", figure.html)


def test_where_pictures_are_lost_the_kept_crops_are_shown(birds) -> None:
    figure = xvcore.show(birds, "robin", network=WIDE, picture_of=lambda *_: None)
    members = figure.parts[0].parts[0].panels
    assert members
    assert all("not there any more" in panel.caption and max(panel.size) < 96 for panel in members)


def test_all_networks_are_shown_unless_one_is_named(birds, evidence) -> None:
    assert len(xvcore.show(birds, "robin", picture_of=picture_of).parts) == 2
    assert len(xvcore.show(birds, "robin", run="narrow-run", picture_of=picture_of).parts) == 1
    titles = [part.title for part in xvcore.show(evidence, "robin", picture_of=picture_of).parts]
    assert titles == [f"Evidence, {LOCAL}", f"Evidence, {NOMINAL}"]


def test_names_that_a_store_lacks_are_told_with_those_it_has(birds, tmp_path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown class in .* 'robbin'; did you mean robin or"):
        xvcore.show(birds, "robbin")
    with pytest.raises(UnknownNameError, match=f"unknown network .* 'vgg16' .known: {WIDE}"):
        xvcore.show(birds, "robin", network="vgg16")
    with pytest.raises(StoreError, match=r"unknown run .* 'none' .known: narrow-run, wide-run"):
        xvcore.show(birds, "robin", run="none")
    with pytest.raises(StoreError, match="nothing was ever written"):
        xvcore.show(tmp_path / "nowhere", "robin")


def test_classes_without_results_say_why(birds) -> None:
    assert "has not begun" in texts(xvcore.show(birds, "pending"))
    assert "failed" in texts(xvcore.show(birds, "broken"))
    assert "0 visual summaries" in texts(xvcore.show(birds, "no.clusters here", network=WIDE, picture_of=picture_of))


def test_names_with_markup_stay_text(birds) -> None:
    html = xvcore.show(birds, HOSTILE, picture_of=picture_of).html
    assert "<script" not in html
    html = xvcore.show(birds, "robin", network=HOSTILE_MODEL, picture_of=picture_of).html
    assert "<b>narrow" not in html


def test_a_published_store_shows_the_same(evidence, units, tmp_path) -> None:
    for store, class_id in ((evidence, "robin"), (units, "robin")):
        copied = Store(shutil.copytree(store.url, tmp_path / Path(store.url).name))
        for run_id in copied.runs()["run_id"]:
            copied.publish(run_id)
        shutil.rmtree(Path(copied.url) / "parts")
        shown, before = (xvcore.show(each, class_id, picture_of=picture_of) for each in (copied, store))
        assert [part.title for part in shown.parts] == [part.title for part in before.parts]
        assert [panel.caption for panel in panels(shown)] == [panel.caption for panel in panels(before)]
        assert len(panels(shown)) > 4


def test_evidence_has_patches_means_and_maps_on_one_scale(evidence) -> None:
    (part,) = xvcore.show(str(evidence.url), "robin", network=LOCAL, first=3, picture_of=picture_of).parts
    own, others, means, maps = part.parts
    assert own.title == "Strongest patches, images of the class, the first 3 of 4 shown"
    assert [panel.caption for panel in own.panels] == ["39.00 logits", "38.00 logits", "37.00 logits"]
    assert all("wren" in panel.caption for panel in others.panels)
    assert len(means.panels) == 2
    assert len(maps.panels) == 3
    assert maps.limit > 0
    assert all(np.ptp(panel.pixels, axis=2).max() == 0 for panel in maps.panels), "grey beneath, so that colours tell"


def test_units_are_those_whose_strongest_images_are_of_the_class(units) -> None:
    (part,) = xvcore.show(units, "robin", network=PROJECTED, first=4, picture_of=picture_of).parts
    assert part.title == f"108 units, {PROJECTED}"
    for layer in part.parts:
        assert [row[0] for row in layer.rows] == ["0", "1", "2", "3"]
        assert [panel.title for panel in layer.panels][:2] == ["unit 0", "unit 0: projection"]
    (part,) = xvcore.show(units, "wren", network=BARE, picture_of=picture_of).parts
    assert "nothing to show of this class" in part.words


def test_prototypes_and_decisions_sum_to_the_logit(tmp_path) -> None:
    store = prototype_store(tmp_path)
    (part,) = xvcore.show(store, "robin", picture_of=picture_of).parts
    weights, decisions = part.parts
    assert [row[0] for row in weights.rows] == ["4", "1"]
    assert [panel.title for panel in weights.panels] == ["prototype 4"]
    (decision,) = decisions.parts
    assert sum(value for _, value in decision.bars.rows) == pytest.approx(3.0)


def prototype_store(folder: Path) -> Store:
    store = Store(folder)
    image = {"image_id": "robin_0.png", "target_idx": 3}
    store.write_run({**run_row("p", "net", ["robin"]), "method": "prototypes", "status": "complete"})
    known = {"pred_idx": 3, "prob_target": 0.8, "prob_pred": 0.8, "rank_target": 1, "correct": True}
    store.write("predictions", "p", "robin", [{**image, "width": 200, "height": 150, **known}])
    taken = {"target_kind": "label", "logit": 3.0, "bias": 0.0, "n_active": 2, "n_active_share": 1, "n_needed": 2}
    taken |= {"sum_error": 0.0, "rest": 0.25, "contributions": [0, 0.25, 0, 0, 2.5, 0.25]}
    store.write("prototype_decisions", "p", "robin", [{**image, **taken}])
    cells = {f"{sign}_{name}": 8 for sign in ("positive", "negative") for name in "xywh"}
    places = {"target_kind": "label", "value": 1.0, "positive": 1.0, "negative": 0.0, **cells}
    rows = [
        {**image, "prototype": number, "position": place, "contribution": value, "weight": value, **places}
        for place, (number, value) in enumerate([(4, 2.5), (1, 0.25)], 1)
    ]
    store.write("prototype_contributions", "p", "robin", rows)
    weights = [
        {"target_idx": 3, "prototype": n, "position": p, "weight": 1.0, "mean_contribution": m, "n_images": 1}
        for n, p, m in ((1, 1, 0.25), (4, 2, 2.5))
    ]
    store.write("prototype_weights", "p", "robin", weights)
    box = dict.fromkeys(("x", "y", "w", "h", "field_x", "field_y", "field_w", "field_h"), 8)
    crop = picture(np.full((8, 8, 3), 99, np.uint8))
    patch = {"side": "positive", "prototype": 4, "position": 1, "image_id": "robin_0.png", "image_class_id": "robin"}
    store.write("prototypes", "p", "positive", [{**patch, "value": 2.0, **box, "crop": crop}])
    store.write("class_runs", "p", "robin", [{"class_id": "robin", "status": "complete", "n_images": 1}])
    return store


@pytest.mark.slow
def test_findings_of_analyses_and_maps_are_shown(tmp_path) -> None:
    run = complete(spec(tmp_path, "occlusion"))
    class_id = run.dataset.classes[0].class_id
    (part,) = xvcore.show(tmp_path, class_id).parts
    assert part.title == "Occlusion, partbirds_narrow"
    assert len(panels(part)) >= 3
    assert any(np.ptp(panel.pixels) > 0 for panel in panels(part)), "pictures are drawn again from the data set"
    known = {"measure": "drop", "value": 0.5, "low": 0.4, "high": 0.6, "null_value": 0.0, "n": 3}
    rows = [
        {**known, "model": "partbirds_narrow", "position": 0, "sentence": "It needs the bill.", "holds": True},
        {**known, "model": "partbirds_narrow", "position": 1, "sentence": "It needs the sky.", "holds": False},
    ]
    run.store.write("findings", run.run_id, "runs", rows)
    run.store.publish(run.run_id)
    (part,) = xvcore.show(tmp_path, class_id).parts
    assert [row[0] for row in part.rows] == ["It needs the bill."], "nothing is said that does not hold"
    assert part.rows[0][2] == "0.50 (0.40 to 0.60)"


def test_every_family_of_a_store_is_a_part(tmp_path) -> None:
    store = evidence_store(tmp_path, LOCAL)
    write_units(store, LOCAL, minute=1)
    write_classes(store)
    titles = [part.title for part in xvcore.show(store, "robin", picture_of=picture_of).parts]
    assert titles == [f"Evidence, {LOCAL}", f"108 units, {LOCAL}"]


def test_a_damaged_table_does_not_hide_the_other_families(tmp_path) -> None:
    store = evidence_store(tmp_path, LOCAL)
    write_units(store, LOCAL, minute=1)
    next(Path(store.url).rglob("parts/patches/*/robin.parquet")).write_bytes(b"PAR1 torn")
    evidence, units = xvcore.show(store, "robin", picture_of=picture_of).parts
    assert "cannot be read" in evidence.words
    assert units.title.startswith("108 units")
    assert len(IMAGES) == 2
