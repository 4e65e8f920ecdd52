"""What a run saw, and its images as batches: order, failures, memory, threads."""

import dataclasses
import hashlib
import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from xvcore.data import Batch, ClassInfo, ImageRecord, ManifestRow, PartBox, load_batches, manifest, open_dataset
from xvcore.errors import DataError, ImageError, ParameterError

SIDE = 4


def picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (number % 7 + 1, number % 5 + 1), (number % 256, 0, 0)).save(file, "PNG")
    return file.getvalue()


def to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image.resize((SIDE, SIDE)))).permute(2, 0, 1).float() / 255


@dataclasses.dataclass(frozen=True, eq=False)
class Shelf:
    """A dataset in memory with one class; a file that is an exception is raised when it is read."""

    files: dict[str, bytes | Exception]
    name: str = "shelf"
    split: str = "all"
    classes: tuple[ClassInfo, ...] = (ClassInfo("c", 0, "c"),)
    log: list[str] = dataclasses.field(default_factory=list)

    def images(self, class_id: str) -> tuple[ImageRecord, ...]:
        return tuple(ImageRecord(key, "", class_id) for key in reversed(self.files))

    def read(self, record: ImageRecord) -> bytes:
        self.log.append(record.image_id)
        found = self.files[record.image_id]
        if isinstance(found, Exception):
            raise found
        return found

    def parts(self, class_id: str) -> tuple[PartBox, ...]:
        return ()


def shelf(n: int) -> Shelf:
    return Shelf({f"{i:03d}": picture(i) for i in range(n)})


def rows_of(dataset: Shelf, max_images: int | None = None) -> tuple[ManifestRow, ...]:
    return manifest(dataset, "c", max_images=max_images)


@pytest.fixture(autouse=True)
def threads_end() -> Iterator[None]:
    """Every test leaves no decoding thread behind."""
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("decode")]


# -- manifest --------------------------------------------------------------------------------------------------------


def test_manifest_has_the_digest_of_every_file_in_order_of_ids() -> None:
    dataset = shelf(5)
    rows = rows_of(dataset)
    assert [row.image_id for row in rows] == sorted(dataset.files)
    for row in rows:
        data = dataset.files[row.image_id]
        assert row == ManifestRow(row.image_id, "", "c", hashlib.sha256(data).hexdigest(), len(data), None)


def test_manifest_of_few_images_is_the_beginning_of_that_of_all() -> None:
    dataset = shelf(9)
    for most in (1, 4, 9, 99):
        assert rows_of(dataset, most) == rows_of(dataset)[:most]


def test_manifest_reads_no_more_files_than_asked_for() -> None:
    dataset = shelf(9)
    rows_of(dataset, 2)
    assert dataset.log == ["000", "001"]


@pytest.mark.parametrize("most", [0, -1])
def test_manifest_of_no_images_is_refused(most: int) -> None:
    with pytest.raises(ParameterError, match="max_images"):
        rows_of(shelf(1), most)


def test_manifest_goes_on_after_unreadable_and_empty_files() -> None:
    dataset = Shelf(
        {
            "1": PermissionError(13, "Permission denied", "/secret/1"),
            "2": b"",
            "3": ImageError("cannot be fetched"),
            "4": picture(4),
            "5": picture(4),
        }
    )
    rows = rows_of(dataset)
    assert [row.error for row in rows] == [
        "cannot be read: Permission denied",
        "empty file (0 bytes)",
        "cannot be read: cannot be fetched",
        None,
        None,
    ]
    assert (rows[0].sha256, rows[0].n_bytes) == (None, None)
    assert (rows[1].sha256, rows[1].n_bytes) == (hashlib.sha256(b"").hexdigest(), 0)
    assert rows[3].sha256 == rows[4].sha256


def test_manifest_of_a_class_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "jay").mkdir()
    (tmp_path / "jay" / "1.png").write_bytes(picture(1))
    with pytest.raises(DataError, match="did you mean jay"):
        manifest(open_dataset(f"imagefolder:{tmp_path}"), "jey", max_images=None)


def test_a_broken_link_is_an_error_row(tmp_path: Path) -> None:
    (tmp_path / "jay").mkdir()
    (tmp_path / "jay" / "1.png").symlink_to(tmp_path / "nowhere")
    (row,) = manifest(open_dataset(f"imagefolder:{tmp_path}"), "jay", max_images=None)
    assert row.error == "cannot be read: No such file or directory"


# -- loader ----------------------------------------------------------------------------------------------------------


def flat(batches: Iterator[Batch]) -> tuple[list[str], Tensor, list[tuple[int, int]], list[tuple[str, str]]]:
    found = list(batches)
    return (
        [image_id for batch in found for image_id in batch.image_ids],
        torch.cat([batch.images for batch in found if batch.image_ids]),
        [size for batch in found for size in zip(batch.widths, batch.heights, strict=True)],
        [failure for batch in found for failure in batch.failures],
    )


@pytest.mark.parametrize("n_threads", [1, 2, 7])
@pytest.mark.parametrize("batch_size", [1, 3, 23, 64])
def test_order_and_pixels_do_not_depend_on_batch_size_and_threads(batch_size: int, n_threads: int) -> None:
    dataset = shelf(23)
    rows = rows_of(dataset)
    image_ids, images, sizes, failures = flat(
        load_batches(dataset, rows, to_tensor, batch_size=batch_size, n_threads=n_threads)
    )
    assert image_ids == [row.image_id for row in rows]
    assert images[:, 0, 0, 0].mul(255).round().int().tolist() == list(range(23))
    assert sizes == [(i % 7 + 1, i % 5 + 1) for i in range(23)]
    assert failures == []


def test_order_is_kept_when_the_first_images_are_the_slowest() -> None:
    def slow_first(image: Image.Image) -> Tensor:
        number = image.getpixel((0, 0))[0]
        time.sleep(0.02 if number < 3 else 0)
        return to_tensor(image)

    dataset = shelf(12)
    image_ids, images, _, _ = flat(load_batches(dataset, rows_of(dataset), slow_first, batch_size=5, n_threads=4))
    assert image_ids == sorted(dataset.files)
    assert images[:, 0, 0, 0].mul(255).round().int().tolist() == list(range(12))


def test_batches_stand_for_equal_numbers_of_rows_and_report_their_failures() -> None:
    dataset = shelf(7)
    dataset.files["001"] = b""
    dataset.files["002"] = b"no image"
    dataset.files["004"] = OSError(5, "Input/output error")
    rows = list(rows_of(dataset))
    dataset.files["005"] = picture(99)
    batches = list(load_batches(dataset, rows, to_tensor, batch_size=3))
    assert [batch.image_ids for batch in batches] == [["000"], ["003"], ["006"]]
    assert [[key for key, _ in batch.failures] for batch in batches] == [["001", "002"], ["004", "005"], []]
    messages = [message for batch in batches for _, message in batch.failures]
    assert messages[0] == "empty file (0 bytes)"
    assert messages[1].startswith("not an image: 8 bytes")
    assert messages[2] == "cannot be read: Input/output error"
    assert messages[3].startswith("has changed since the manifest: SHA-256 ")


def test_a_file_that_vanished_is_a_failure() -> None:
    dataset = shelf(2)
    rows = rows_of(dataset)
    dataset.files["001"] = FileNotFoundError(2, "No such file or directory")
    (batch,) = load_batches(dataset, rows, to_tensor, batch_size=2)
    assert batch.failures == [("001", "cannot be read: No such file or directory")]


def test_a_batch_of_failures_has_no_images() -> None:
    dataset = Shelf({"1": b"no", "2": b"nor this"})
    (batch,) = load_batches(dataset, rows_of(dataset), to_tensor, batch_size=4)
    assert batch.images.shape == (0, 3, 0, 0)
    assert batch.image_ids == batch.widths == batch.heights == []
    assert len(batch.failures) == 2


def test_no_rows_give_no_batches() -> None:
    assert list(load_batches(shelf(0), (), to_tensor, batch_size=4)) == []


def test_the_same_image_twice_is_loaded_twice() -> None:
    dataset = shelf(1)
    (batch,) = load_batches(dataset, rows_of(dataset) * 2, to_tensor, batch_size=4)
    assert batch.image_ids == ["000", "000"]
    assert torch.equal(batch.images[0], batch.images[1])


def test_a_transform_may_refuse_an_image() -> None:
    def refuse(image: Image.Image) -> Tensor:
        raise ImageError(f"{image.width} pixels are too narrow")

    dataset = shelf(1)
    (batch,) = load_batches(dataset, rows_of(dataset), refuse, batch_size=4)
    assert batch.failures == [("000", "1 pixels are too narrow")]


@pytest.mark.parametrize("error", [DataError("the disk is gone"), RuntimeError("a bug")])
def test_exceptions_of_the_dataset_surface(error: Exception) -> None:
    dataset = shelf(9)
    rows = rows_of(dataset)
    dataset.files["004"] = error
    batches = load_batches(dataset, rows, to_tensor, batch_size=2)
    assert next(batches).image_ids == ["000", "001"]
    assert next(batches).image_ids == ["002", "003"]
    with pytest.raises(type(error), match=str(error)):
        next(batches)


def test_exceptions_of_the_transform_surface() -> None:
    def broken(image: Image.Image) -> Tensor:
        raise ValueError("a bug in the transform")

    dataset = shelf(2)
    with pytest.raises(ValueError, match="a bug in the transform"):
        next(load_batches(dataset, rows_of(dataset), broken, batch_size=2))


@pytest.mark.parametrize("how", ["close", "drop", "exhaust"])
def test_threads_end_when_the_consumer_stops(how: str) -> None:
    dataset = shelf(40)
    batches = load_batches(dataset, rows_of(dataset), to_tensor, batch_size=2, n_threads=3)
    next(batches)
    assert any(thread.name.startswith("decode") for thread in threading.enumerate())
    if how == "close":
        batches.close()
    elif how == "exhaust":
        list(batches)
    del batches  # the fixture looks for threads


def test_few_images_are_read_ahead() -> None:
    dataset = shelf(60)
    rows = rows_of(dataset)
    dataset.log.clear()
    batches = load_batches(dataset, rows, to_tensor, batch_size=4, n_threads=2)
    assert dataset.log == []
    for n_taken in range(1, 6):
        next(batches)
        deadline = time.monotonic() + 10
        ahead = 4 * n_taken + 2 * 4 + 2
        while len(dataset.log) < ahead and time.monotonic() < deadline:
            time.sleep(0.005)
        assert len(dataset.log) == ahead
    batches.close()


def test_decoding_goes_on_while_the_consumer_works() -> None:
    dataset = shelf(8)
    rows = rows_of(dataset)
    dataset.log.clear()
    batches = load_batches(dataset, rows, to_tensor, batch_size=4)
    next(batches)
    deadline = time.monotonic() + 10
    while len(dataset.log) < 8 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert len(dataset.log) == 8
    batches.close()


@pytest.mark.parametrize(("batch_size", "n_threads"), [(0, 1), (1, 0), (-1, 2)])
def test_impossible_sizes_are_refused_at_once(batch_size: int, n_threads: int) -> None:
    with pytest.raises(ParameterError, match="batch_size = "):
        load_batches(shelf(1), (), to_tensor, batch_size=batch_size, n_threads=n_threads)


def test_real_images_are_the_same_in_any_batch(test_data: Path) -> None:
    dataset = open_dataset(f"imagenet:{test_data}/imagenet-mini?split=val")
    rows = manifest(dataset, "n01558993", max_images=None)

    def found(batch_size: int, n_threads: int) -> Tensor:
        batches = load_batches(dataset, rows, to_tensor, batch_size=batch_size, n_threads=n_threads)
        image_ids, images, _, failures = flat(batches)
        assert not failures
        assert image_ids == [row.image_id for row in rows]
        return images

    assert torch.equal(found(1, 1), found(2, 3))


def batches_of(n: int) -> list[Tensor]:
    dataset = shelf(n)
    return [batch.images for batch in load_batches(dataset, rows_of(dataset), to_tensor, batch_size=2)]


@pytest.mark.parametrize("is_begun", [True, False])
def test_batches_are_pinned_where_the_process_works_on_a_gpu(is_begun: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, asked = batches_of(3), []

    def empty(shape: tuple[int, ...], *, dtype: torch.dtype, pin_memory: bool) -> Tensor:
        asked.append(pin_memory)
        return torch.zeros(shape, dtype=dtype)

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: is_begun)
    monkeypatch.setattr(torch, "empty", empty)
    assert all(map(torch.equal, batches_of(3), plain))
    assert asked == ([True, True] if is_begun else [])


@pytest.mark.gpu
def test_pinned_batches_arrive_as_they_were_decoded() -> None:
    plain = batches_of(5)
    torch.cuda.init()
    for one, other in zip(batches_of(5), plain, strict=True):
        assert one.is_pinned()
        assert torch.equal(one.to("cuda", non_blocking=True).cpu(), other)
