"""An image that comes several times in a class counts once, and what is said of the class does not move."""

import io
import logging
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from xvcore.data import Batch, open_dataset
from xvcore.evidence.settings import PatchEvidence
from xvcore.parameters import replaced
from xvcore.runs import pipeline
from xvcore.runs.predict import Copies
from xvcore.runs.run import RunSpec, announce, conclude, open_run
from xvcore.runs.settings import Settings
from xvcore.runs.stage import pipelines
from xvcore.store import SCHEMAS, Store
from xvcore.units.settings import TopUnits
from xvcore.visual_summaries.settings import VisualSummaries

QUICK = {
    "skip_misclassified": "false",
    "mask.smooth_steps": "8",
    "mask.crisp_steps": "4",
    "least_drop": "none",
    "mask.smooth_area_weight": "0",
    "mask.crisp_area_weight": "0",
    "mask.crisp_variation_weight": "0",
    "proposals.n_boxes": "40",
    "pruning.coverage": "0.3",
    "coherence.min_images": "2",
}
FAMILIES = {
    "visual-summaries": (replaced(VisualSummaries(), QUICK), ("masks", "regions", "similarity", "clusters")),
    "evidence": (
        replaced(PatchEvidence(), {"skip_misclassified": "false"}),
        ("evidence", "patches", "evidence_means"),
    ),
    "top-activations": (
        replaced(TopUnits(), {"units_shown": "2", "deconvnet.rule.degenerate": "allow", "top.kept": "4"}),
        ("units", "unit_top"),
    ),
}
BIRDS = open_dataset("partbirds?classes=1&images=5")


def bird(index: int) -> Image.Image:
    record = BIRDS.images(BIRDS.classes[0].class_id)[index]
    return Image.open(io.BytesIO(BIRDS.read(record))).convert("RGB")


def folder_of(root: Path, *, copies: int) -> Path:
    """Return a folder of two classes of distinct pictures, and copies of one: the file, and its pixels."""
    for name, indices in {"finch": (0, 1, 2), "wren": (3, 4)}.items():
        (root / name).mkdir(parents=True)
        for index in indices:
            bird(index).save(root / name / f"{index}.png")
    for number in range(copies):
        shutil.copy(root / "finch" / "1.png", root / "finch" / f"copy-{number}.png")
    if copies:
        bird(1).save(root / "finch" / "pixels.bmp")
    return root


def run_through(folder: Path, store: Path, settings: Settings) -> str:
    spec = RunSpec(
        dataset=f"imagefolder:{folder}",
        model="partbirds_narrow@random?classes=3",
        store=str(store),
        settings=settings,
        class_map=(("finch", "0"), ("wren", "1")),
        batch_size=2,
    )
    run = open_run(spec)
    class_ids = [info.class_id for info in run.dataset.classes]
    announce(run, class_ids)
    for class_id in class_ids:
        pipeline.complete_class(run, class_id)
    if pipeline.has_gather(run):
        pipeline.gather(run)
    conclude(run)
    return run.run_id


def rows(store: Path, run_id: str, table: str) -> pd.DataFrame:
    opened = Store(store)
    found = [opened.read(table, run_id, each) for each in opened.classes_of(table, run_id)]
    return pd.concat(found, ignore_index=True).drop(columns="run_id")


@pytest.mark.parametrize(
    "method", [pytest.param(each, marks=pytest.mark.slow) if each == "visual-summaries" else each for each in FAMILIES]
)
def test_copies_move_nothing_and_are_named(method: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings, tables = FAMILIES[method]
    once = run_through(folder_of(tmp_path / "once", copies=0), tmp_path / "store", settings)
    assert not caplog.records or "show the same as" not in caplog.text
    with caplog.at_level(logging.WARNING):
        again = run_through(folder_of(tmp_path / "again", copies=3), tmp_path / "store", settings)
    for table in tables:
        expected, found = rows(tmp_path / "store", once, table), rows(tmp_path / "store", again, table)
        assert len(expected)
        for column in expected.columns:
            if SCHEMAS[table][column].encoding == "split":
                np.testing.assert_allclose(
                    found[column].astype(float), expected[column].astype(float), rtol=1e-4, atol=1e-5
                )
            elif column not in ("soft_map", "evidence_map", "mean_map", "crop", "projection", "montage", "rle"):
                pd.testing.assert_series_equal(found[column], expected[column])
    for column in ("n_images", "n_errors", "n_correct"):
        counts = [rows(tmp_path / "store", each, "class_runs")[column].tolist() for each in (once, again)]
        assert counts[0] == counts[1]
    predictions = rows(tmp_path / "store", again, "predictions").set_index("image_id")
    copied = predictions["skipped"].dropna()
    assert dict(copied) == dict.fromkeys(
        ["finch/copy-0.png", "finch/copy-1.png", "finch/copy-2.png", "finch/pixels.bmp"], "copy of finch/1.png"
    )
    assert predictions["prob_pred"].notna().all()
    assert "finch: 4 of 7 images show the same as another one" in caplog.text
    assert "finch/pixels.bmp (as finch/1.png)" in caplog.text


def test_a_copy_is_found_across_batches_and_a_pixel_makes_another_image() -> None:
    image = torch.rand(3, 4, 5)
    other = image.clone()
    other[2, 3, 4] += 1 / 255
    copies = Copies()
    batches = [("a", image), ("b", other)], [("c", image), ("d", other), ("e", image)]

    def found(batch: Batch) -> dict[str, str]:
        copies.begin(batch)
        return copies.found(batch)

    named = [Batch(torch.stack([each for _, each in batch]), [name for name, _ in batch], [], []) for batch in batches]
    assert [found(batch) for batch in named] == [{}, {"c": "a", "d": "b", "e": "a"}]
    assert found(Batch(torch.zeros(0, 3, 0, 0), [], [], [], [("f", "no picture")])) == {}


def test_analyses_take_the_images_as_they_are(tmp_path: Path) -> None:
    accuracy = pipelines["accuracy"].settings()
    run_id = run_through(folder_of(tmp_path / "again", copies=2), tmp_path / "store", accuracy)
    assert rows(tmp_path / "store", run_id, "predictions")["skipped"].isna().all()
