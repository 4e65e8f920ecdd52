"""The pictures of a class are decoded once for all of its stages, ahead of it, and are the same to the last bit."""

import logging
import threading
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from xvcore.data.pixel_cache import SWITCH
from xvcore.errors import DataError
from xvcore.evidence.settings import PatchEvidence
from xvcore.models import Preprocessing, wrap
from xvcore.runs import images, pipeline
from xvcore.runs.ahead import in_turn, listed
from xvcore.runs.images import batches, frozen_manifest
from xvcore.runs.run import Run, RunSpec, open_run

N_IMAGES = 5


@pytest.fixture
def run(tmp_path: Path) -> Run:
    generator = np.random.default_rng(4)
    for class_id in ("a", "b"):
        (tmp_path / "pictures" / class_id).mkdir(parents=True)
        for index in range(N_IMAGES):
            pixels = generator.integers(0, 255, (40, 36, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / class_id / f"{index}.png")
    layers = (nn.Conv2d(3, 6, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))
    network = wrap(nn.Sequential(*layers), preprocessing=Preprocessing((32, 32), None), labels=["a", "b"], name="tiny")
    spec = RunSpec(f"imagefolder:{tmp_path}/pictures", "tiny", str(tmp_path / "store"), PatchEvidence(), batch_size=2)
    return open_run(spec, network)


def test_each_image_is_decoded_once_a_class(run: Run, decoded: list[int]) -> None:
    for n_classes, class_id in enumerate(("a", "b"), 1):
        pipeline.complete_class(run, class_id)
        assert len(decoded) == n_classes * N_IMAGES
    assert not any(isinstance(each, images.DecodedClass) for each in run.memo.values()), "and not held any longer"


@pytest.mark.parametrize("is_exact", [True, False])
def test_what_is_kept_is_what_was_decoded(run: Run, decoded, is_exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not is_exact:  # a resize in floats leaves what no byte holds
        pixels = Preprocessing.pixels
        monkeypatch.setattr(Preprocessing, "pixels", lambda self, picture: pixels(self, picture).sqrt())
    first = list(batches(run, "a"))
    ids = [image_id for batch in first for image_id in batch.image_ids]
    for wanted in (None, ids[1:], ids[::2]):
        n_before = len(decoded)
        kept = list(batches(run, "a", wanted))
        assert len(decoded) == n_before
        run.memo.clear()
        anew = list(batches(run, "a", wanted))
        for one, other in zip(kept, anew, strict=True):
            assert torch.equal(one.images, other.images)
            assert (one.image_ids, one.widths, one.heights) == (other.image_ids, other.widths, other.heights)
        list(batches(run, "a"))


def test_a_class_that_is_too_large_is_decoded_again(
    run: Run, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "KEPT_BYTES", 3 * 3 * 32 * 32)
    for n_times in (1, 2):
        list(batches(run, "a"))
        assert len(decoded) == n_times * N_IMAGES


def test_a_file_that_cannot_be_read_is_a_failure_each_time(run: Run, tmp_path: Path) -> None:
    (tmp_path / "pictures" / "a" / "1.png").write_bytes(b"nothing")
    for _ in range(2):
        found = list(batches(run, "a"))
        assert [image_id for batch in found for image_id, _ in batch.failures] == ["a/1.png"]


def test_the_next_class_is_begun_while_the_one_before_ends(run: Run, decoded: list[int]) -> None:
    alone = {class_id: list(batches(run, class_id)) for class_id in ("a", "b")}
    run.store.remove("manifest", run.run_id, "b")
    run.memo.clear()
    decoded.clear()
    with in_turn(run, ["a", "b"]):
        list(batches(run, "a"))
        rows = listed(run, "b")
        assert rows is not None, "its files are listed, and its first batch is decoded"
        assert len(decoded) >= N_IMAGES + run.spec.batch_size
        assert list(rows) == frozen_manifest(run, "b")
        for one, other in zip(batches(run, "b"), alone["b"], strict=True):
            assert torch.equal(one.images, other.images)
            assert (one.image_ids, one.widths, one.heights) == (other.image_ids, other.widths, other.heights)
    assert len(decoded) == 2 * N_IMAGES, "none is decoded twice"


def test_whole_runs_decode_each_image_once(run: Run, decoded: list[int]) -> None:
    assert pipeline.complete_run(run) == "complete"
    n_crops = len(decoded) - 2 * N_IMAGES
    assert 0 <= n_crops <= 2 * N_IMAGES, "once for the scan, and at the end once for the patches that are shown"
    seen = run.store.read("manifest", run.run_id, "b")
    assert list(seen["image_id"]) == [f"b/{index}.png" for index in range(N_IMAGES)]


def test_with_a_cache_of_pixels_a_second_run_decodes_nothing(
    run: Run, decoded: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, str(tmp_path / "pixels"))
    assert pipeline.complete_run(run) == "complete"
    assert len(decoded) == 2 * N_IMAGES, "the patches that are shown are cut from what is cached"
    again = open_run(replace(run.spec, store=str(tmp_path / "other")), run.classifier)
    decoded.clear()
    assert pipeline.complete_run(again) == "complete"
    assert not decoded
    for table in ("predictions", "evidence", "patches"):
        for class_id in ("a", "b"):
            one, other = (each.store.read_arrow(table, each.run_id, class_id) for each in (run, again))
            assert one.equals(other)


def test_what_was_begun_ahead_and_not_asked_for_leaves_no_thread(run: Run) -> None:
    before = set(threading.enumerate())
    with in_turn(run, ["a", "b"]):
        list(batches(run, "a"))
        assert listed(run, "b") is not None
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


def test_what_fails_ahead_fails_again_when_its_turn_comes(run: Run, tmp_path: Path) -> None:
    frozen_manifest(run, "a")
    with in_turn(run, ["a", "b"]):
        for path in (tmp_path / "pictures" / "b").iterdir():
            path.unlink()
        list(batches(run, "a"))
        assert listed(run, "b") is None
        with pytest.raises(DataError, match="no images any more"):
            frozen_manifest(run, "b")


def test_what_is_said_ahead_is_said_in_the_context_of_the_caller(run: Run, tmp_path: Path) -> None:
    at_work: ContextVar[str] = ContextVar("at_work", default="nothing")
    seen: list[str] = []

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(f"{at_work.get()}: {record.getMessage()}")

    (tmp_path / "pictures" / "b" / "notes.txt").write_text("no image")
    logger, heard = logging.getLogger("xvcore.data.imagefolder"), Heard()
    logger.addHandler(heard)
    try:
        at_work.set("a flow run")
        with in_turn(run, ["a", "b"]):
            list(batches(run, "a"))
            assert listed(run, "b") is not None
    finally:
        logger.removeHandler(heard)
    assert [each.partition(":")[0] for each in seen] == ["a flow run"]
    assert "1 .txt" in seen[0]


def test_a_class_that_was_begun_before_is_not_begun_ahead(run: Run, decoded: list[int]) -> None:
    frozen_manifest(run, "b")
    with in_turn(run, ["a", "b"]):
        list(batches(run, "a"))
        assert listed(run, "b") is None
    assert len(decoded) == N_IMAGES
