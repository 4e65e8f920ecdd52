"""Laws of the pictures of what a run found: the most telling first, few, and no more read than these need."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from xvcore.analyses.analysis import analyses
from xvcore.analyses.compare import compare
from xvcore.data import open_dataset
from xvcore.evidence.settings import PatchEvidence
from xvcore.parameters import replaced
from xvcore.runs import pipeline
from xvcore.runs.images import frozen_manifest
from xvcore.runs.run import Run, RunSpec, announce, conclude, open_run
from xvcore.runs.settings import Settings
from xvcore.runs.stage import pipelines
from xvcore.runs.thumbnails import FINE_PX, beside, sheet, spread
from xvcore.store.encode import picture
from xvcore.units.query.layers import scanned_layers
from xvcore.units.settings import TopUnits
from xvcore.visual_summaries.settings import VisualSummaries

DATASET = "partbirds?classes=2&images=3"
NAMES = [info.class_id for info in open_dataset(DATASET).classes]


def opened(store: Path, settings: Settings, model: str = "partbirds_narrow", dataset: str = DATASET) -> Run:
    class_map = tuple((each, str(index)) for index, each in enumerate(NAMES))
    return open_run(RunSpec(dataset, f"{model}@random?classes=3", str(store), settings, class_map, batch_size=4))


def computed(run: Run, n_classes: int = 2) -> pd.DataFrame:
    announce(run, NAMES[:n_classes])
    for class_id in NAMES[:n_classes]:
        pipeline.complete_class(run, class_id)
    pipeline.gather(run)
    conclude(run)
    return done(run, n_classes)


def done(run: Run, n_classes: int = 2) -> pd.DataFrame:
    return pd.concat([run.store.read("class_runs", run.run_id, each) for each in NAMES[:n_classes]])


def size(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as image:
        return image.size


def tile(value: int, side: int) -> bytes:
    return picture(np.full((side, side, 3), value, np.uint8), "png")["bytes"]


def with_summaries(run: Run, drops: dict[str, list[float | None]]) -> None:
    """Write accepted summaries, best by score first, with these drops; a rejected cluster before each."""
    announce(run, list(drops))
    for class_id, of_class in drops.items():
        image_ids = [row.image_id for row in frozen_manifest(run, class_id)]
        clusters = [
            {"cluster_id": 2 * index + is_accepted, "position": 2 * index + is_accepted + 1, "n_regions": 3, "n_images": 3,
             "accepted": bool(is_accepted), "prob_drop": drop if is_accepted else 0.99}
            for index, drop in enumerate(of_class) for is_accepted in (0, 1)
        ]  # fmt: skip
        regions = [
            {"region_id": 3 * cluster["cluster_id"] + index, "image_id": image_id, "x": 10, "y": 20, "w": 30, "h": 20,
             "cluster_id": cluster["cluster_id"], "is_exemplar": index == 1, "sim_exemplar": 1.0, "kept": True,
             "crop": picture(np.full((20, 30, 3), 99, np.uint8))}
            for cluster in clusters for index, image_id in enumerate(image_ids)
        ]  # fmt: skip
        run.store.write("clusters", run.run_id, class_id, clusters)
        run.store.write("regions", run.run_id, class_id, regions)
        record = {"class_name": class_id, "status": "complete", "n_summaries": len(of_class)}
        run.store.write("class_runs", run.run_id, class_id, [record])


def test_every_method_shows_what_it_found() -> None:
    assert all(pipelines[name].pictures for name in pipelines)


def test_the_summary_of_the_largest_drop_of_each_class_comes_first_and_the_largest_of_all_before(
    tmp_path: Path,
) -> None:
    run = opened(tmp_path, VisualSummaries())
    with_summaries(run, {NAMES[0]: [0.2, 0.9], NAMES[1]: [0.5], NAMES[2]: []})
    shown = list(pipelines["visual-summaries"].pictures(run, done(run, 3)))
    assert [(each.class_id, each.title.split(" · ")[1]) for each in shown] == [
        (NAMES[0], "summary 1"),
        (NAMES[1], "summary 1"),
        (NAMES[0], "summary 2"),
    ]
    assert [each.title.split("drop ")[1] for each in shown] == ["90 %", "50 %", "20 %"]
    assert all(each.media_type == "image/jpeg" and size(each.data) == (3 * 96, 96) for each in shown)


def test_regions_are_shown_with_what_is_around_them_while_the_images_are_there(tmp_path: Path) -> None:
    run = opened(tmp_path, VisualSummaries())
    with_summaries(run, {NAMES[0]: [0.5]})
    (shown,) = pipelines["visual-summaries"].pictures(run, done(run, 1))
    with Image.open(io.BytesIO(shown.data)) as image:
        assert np.asarray(image).std() > 5
    rows = run.store.read("manifest", run.run_id, NAMES[0]).to_dict("records")
    run.store.write("manifest", run.run_id, NAMES[0], [{**row, "sha256": "0" * 64} for row in rows])
    (shown,) = pipelines["visual-summaries"].pictures(run, done(run, 1))
    with Image.open(io.BytesIO(shown.data)) as image:
        assert np.abs(np.asarray(image).astype(int) - 99).max() <= 2, "the crops of the store"


def test_classes_without_a_summary_are_not_read(tmp_path: Path) -> None:
    run = opened(tmp_path, VisualSummaries())
    with_summaries(run, {NAMES[0]: [], NAMES[1]: []})
    for class_id in NAMES[:2]:
        run.store.remove("clusters", run.run_id, class_id)
    assert list(pipelines["visual-summaries"].pictures(run, done(run))) == []


def test_patches_come_in_the_order_of_their_evidence(tmp_path: Path) -> None:
    run = opened(tmp_path, PatchEvidence(), "partbirds_bagnet17")
    shown = list(pipelines["evidence"].pictures(run, computed(run)))
    strongest = {
        each: run.store.read("patches", run.run_id, each).query("origin == 'class'")["evidence"].max()
        for each in NAMES[:2]
    }
    assert [each.class_id for each in shown] == sorted(strongest, key=lambda each: -strongest[each])
    assert f"{strongest[shown[0].class_id]:.1f}" in shown[0].title


def test_the_strongest_unit_of_each_layer_is_shown_deepest_layer_first(tmp_path: Path) -> None:
    run = opened(tmp_path, replaced(TopUnits(), {"units_shown": "4"}))
    shown = list(pipelines["top-activations"].pictures(run, computed(run)))
    layers = scanned_layers(run.store, run.run_id)
    assert [each.title.split(" · ")[0] for each in shown] == list(reversed(layers))
    for each in shown:
        layer, unit = each.title.split(" · ")[:2]
        units = run.store.read("units", run.run_id, layer).query("unit < 4")
        assert unit == f"unit {units.loc[units['act_max'].idxmax(), 'unit']}"


def test_figures_of_one_network_and_of_all_stand_on_their_own_ground(tmp_path: Path) -> None:
    settings = analyses["error_consistency"].settings()
    runs = [opened(tmp_path, settings, model) for model in ("partbirds_narrow", "partbirds_wide")]
    for run in runs:
        computed(run)
    compare(runs)
    method = pipelines["error_consistency"]
    shown = [*method.pictures_of_all(runs), *method.pictures(runs[0], done(runs[0]))]
    assert shown
    for each in shown:
        assert each.media_type == "image/svg+xml"
        assert each.data.count(b'fill="#fff"/>') >= 1


@pytest.mark.parametrize(("length", "number"), [(0, 3), (2, 3), (3, 3), (7, 3), (1000, 16)])
def test_what_is_picked_is_spread_over_all_and_starts_with_the_first(length: int, number: int) -> None:
    items = list(range(length))
    found = spread(items, number)
    assert len(found) == min(length, number)
    assert found == sorted(set(found))
    assert found[:1] == items[:1]
    assert len(set(np.diff(found))) <= 2


@pytest.mark.parametrize("side", [7, FINE_PX, 40, 300])
def test_an_enlarged_sheet_has_the_asked_size_whatever_the_pictures(side: int) -> None:
    data = sheet([tile(10, side), tile(20, side)], columns=2, rows=1, tile_px=80, is_enlarged=True)
    assert size(data) == (160, 80)
    assert size(beside([data, data], gap_px=8)) == (328, 80)
