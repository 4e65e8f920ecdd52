"""Pictures of units: reduced, resumed by layer, told; nothing but their size depends on how they are stored."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xvcore.data import open_dataset
from xvcore.parameters import replaced
from xvcore.runs import pipeline
from xvcore.runs.joining import told
from xvcore.runs.run import Run, RunSpec, announce, open_run
from xvcore.store.encode import picture_array
from xvcore.units.method import deconvnet
from xvcore.units.settings import TopUnits
from xvcore.units.stages import project
from xvcore.units.stages.project import reduced

DATASET = "partbirds?classes=2&images=2"
CLASSES = [info.class_id for info in open_dataset(DATASET).classes][:2]
PX = 24


@given(st.integers(1, 60), st.integers(1, 60), st.one_of(st.none(), st.integers(1, 70)), st.integers(0, 255))
def test_a_picture_is_reduced_to_its_means_and_never_enlarged(
    height: int, width: int, most: int | None, grey: int
) -> None:
    array = np.random.default_rng(height * width).integers(0, 256, (height, width, 3)).astype(np.uint8)
    found = reduced(array, most)
    if most is None or max(height, width) <= most:
        assert found is array
        return
    assert max(found.shape[:2]) == most
    assert found.shape[2] == 3
    assert (reduced(np.full_like(array, grey), most) == grey).all()
    if height % found.shape[0] == 0 and width % found.shape[1] == 0:
        tiles = array.reshape(found.shape[0], height // found.shape[0], found.shape[1], width // found.shape[1], 3)
        assert np.abs(tiles.mean((1, 3)) - found).max() <= 1


def scanned(store: Path, picture_px: int | None) -> Run[TopUnits]:
    settings = replaced(
        TopUnits(),
        {"units_shown": "3", "top.kept": "4", "top.shown": "2", "deconvnet.rule.degenerate": "allow",
         "picture_px": "none" if picture_px is None else str(picture_px)},
    )  # fmt: skip
    class_map = tuple((each, str(index)) for index, each in enumerate(CLASSES))
    run = open_run(RunSpec(DATASET, "partbirds_narrow@random?classes=3", str(store), settings, class_map))
    announce(run, CLASSES)
    for class_id in CLASSES:
        pipeline.complete_class(run, class_id)
    return run


def top_of(run: Run[TopUnits]) -> pd.DataFrame:
    layers = run.store.classes_of("unit_top", run.run_id)
    return pd.concat([run.store.read("unit_top", run.run_id, layer) for layer in layers], ignore_index=True)


def test_pictures_are_those_of_full_size_reduced_and_numbers_do_not_move(tmp_path: Path) -> None:
    large, small = (scanned(tmp_path / str(px), px) for px in (None, PX))
    for run in (large, small):
        pipeline.gather(run)
    full, less = top_of(large), top_of(small)
    pictures = ["crop", "projection"]
    pd.testing.assert_frame_equal(full.drop(columns=[*pictures, "run_id"]), less.drop(columns=[*pictures, "run_id"]))
    shown = full["crop"].notna()
    assert shown.sum() > 20
    assert (shown == less["crop"].notna()).all()
    assert (full["projection"].notna() == less["projection"].notna()).all()
    for one, other in zip(full[shown].itertuples(), less[shown].itertuples(), strict=True):
        expected = reduced(picture_array(one.projection), PX)
        assert max(expected.shape) <= PX
        assert np.abs(expected.astype(int) - picture_array(other.projection)).max() <= 1
        crops = reduced(picture_array(one.crop), PX).astype(float), picture_array(other.crop).astype(float)
        assert np.abs(crops[0] - crops[1]).mean() < 6  # JPEG, twice


def test_how_much_is_in_memory_at_once_moves_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = scanned(tmp_path, None)
    pipeline.gather(run)
    together = top_of(run)
    for layer in run.store.classes_of("unit_top", run.run_id):
        run.store.remove("unit_top", run.run_id, layer)
    monkeypatch.setattr(deconvnet, "SIGNAL_BYTES", {"cpu": 1})
    monkeypatch.setattr(deconvnet, "PASSES_UP", 1)
    monkeypatch.setattr(project, "PIXEL_BYTES", 0)
    pipeline.gather(replace(run, spec=replace(run.spec, batch_size=1)))
    alone = top_of(run)
    pd.testing.assert_frame_equal(together.drop(columns="projection"), alone.drop(columns="projection"))
    shown = together["projection"].notna()
    assert shown.sum() > 20
    for one, other in zip(together["projection"][shown], alone["projection"][shown], strict=True):
        assert np.abs(picture_array(one).astype(int) - picture_array(other)).max() <= 1  # by the order of sums


@pytest.mark.parametrize("most", [1, 2, 5, 100])
def test_rows_are_made_together_in_their_order_of_few_images(most: int) -> None:
    images = [0, 0, 0, 1, 2, 2, 3, 4, *[5] * 13]
    rows = [{"image_class_id": "a", "image_id": str(image)} for image in images]
    chunks = [*project._chunks(rows, most, 2)]
    assert [row for chunk in chunks for row in chunk] == rows
    assert 0 < min(map(len, chunks)) <= max(map(len, chunks)) <= most
    assert max(len({row["image_id"] for row in chunk}) for chunk in chunks) == min(most, 2)
    assert not [*project._chunks([], most, 2)]


@pytest.mark.parametrize("batch_size", [1, 7])
def test_a_run_goes_on_with_the_layer_that_lacks_and_tells_how_far_it_is(tmp_path: Path, batch_size: int) -> None:
    run = scanned(tmp_path, PX)
    pipeline.gather(run)
    before = top_of(run)
    first, *_, last = run.store.classes_of("unit_top", run.run_id)
    run.store.remove("unit_top", run.run_id, last)
    parts = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("parts/unit_top/**/*.parquet")}
    said: list[tuple[int, int]] = []
    again = replace(run, spec=replace(run.spec, batch_size=batch_size))
    with told(lambda done, total: said.append((done, total))):
        pipeline.gather(again)
    assert (
        parts.items()
        <= {path: path.stat().st_mtime_ns for path in tmp_path.rglob("parts/unit_top/**/*.parquet")}.items()
    )
    pd.testing.assert_frame_equal(
        top_of(run).drop(columns=["crop", "projection"]), before.drop(columns=["crop", "projection"])
    )
    assert first != last
    assert said == sorted(said)
    assert {total for _, total in said} == {int(before["crop"].notna().sum())}
    assert said[-1][0] == said[-1][1]
