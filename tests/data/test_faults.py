"""What the machine does to a file while it is read is not the image's fault; an image's fault is not the machine's."""

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from test_manifest_and_loader import Shelf, flat, picture, rows_of, shelf, to_tensor

from xvcore.data import ImageRecord, decode, faults, load_batches, manifest, open_dataset
from xvcore.errors import DataError, ImageError, MemoryShortError, MomentaryError

MOMENTARY = ["EMFILE", "ENFILE", "ENOMEM", "ESTALE", "ETIMEDOUT", "ECONNRESET", "EHOSTDOWN", "EAGAIN"]


def error_of(name: str) -> OSError:
    number = getattr(errno, name)
    return OSError(number, os.strerror(number), "/somewhere")


class Busy(Shelf):
    """Fails to give each file a number of times before it does."""

    def failing(self, error: BaseException, times: int) -> "Busy":
        object.__setattr__(self, "_faults", dict.fromkeys(self.files, times))
        object.__setattr__(self, "_error", error)
        return self

    def read(self, record: ImageRecord) -> bytes:
        if self._faults[record.image_id]:
            self._faults[record.image_id] -= 1
            raise self._error
        return super().read(record)


def busy(error: BaseException, times: int, n: int = 3) -> Busy:
    return Busy(shelf(n).files).failing(error, times)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "PAUSES", (0.0,) * len(faults.PAUSES))


@pytest.mark.parametrize("error", [*map(error_of, MOMENTARY), MemoryError(), TimeoutError(), ConnectionError("gone")])
def test_a_fault_of_a_moment_leaves_no_trace(error: Exception) -> None:
    quiet = shelf(3)
    rows = rows_of(quiet)
    assert rows_of(busy(error, len(faults.PAUSES))) == rows
    disturbed = flat(load_batches(busy(error, len(faults.PAUSES)), rows, to_tensor, batch_size=2))
    undisturbed = flat(load_batches(quiet, rows, to_tensor, batch_size=2))
    assert torch.equal(disturbed[1], undisturbed[1])
    assert disturbed[3] == []


@pytest.mark.parametrize("error", [*map(error_of, MOMENTARY), MemoryError(), TimeoutError(), ConnectionError("gone")])
def test_a_fault_that_stays_is_raised_and_is_no_row(error: Exception) -> None:
    expected = MemoryShortError if isinstance(error, MemoryError) else MomentaryError
    cause = "memory" if isinstance(error, MemoryError) else getattr(error, "strerror", None) or str(error)
    with pytest.raises(expected, match=rf"000.*{cause}.*no fault of the image"):
        rows_of(busy(error, 99))
    with pytest.raises(expected, match="no fault of the image"):
        list(load_batches(busy(error, 99), rows_of(shelf(3)), to_tensor, batch_size=2))


@pytest.mark.parametrize("name", ["ENOENT", "EACCES", "EISDIR", "ELOOP", "EIO"])
def test_what_is_wrong_with_one_file_is_its_row_at_once(name: str) -> None:
    dataset = busy(error_of(name), 1)
    assert [row.error for row in rows_of(dataset)] == [f"cannot be read: {os.strerror(getattr(errno, name))}"] * 3


def test_an_input_error_is_of_the_moment_behind_a_network_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not faults.is_momentary(error_of("EIO"), str(Path(__file__)))
    monkeypatch.setattr(faults, "is_on_network", lambda path: path.startswith("/mnt/share/"))
    assert faults.is_momentary(error_of("EIO"), "/mnt/share/jay/1.png")
    assert not faults.is_momentary(error_of("EIO"), "/data/jay/1.png")


def test_memory_that_a_transform_lacks_is_named() -> None:
    def hungry(image: Image.Image) -> torch.Tensor:
        raise MemoryError

    with pytest.raises(MemoryShortError, match="000: the memory of this machine does not suffice"):
        list(load_batches(shelf(2), rows_of(shelf(2)), hungry, batch_size=1))


LITTLE_MEMORY = """
import io, resource, sys
from pathlib import Path
from PIL import Image
from xvcore.data import decode
from xvcore.errors import MemoryShortError

pictures = []
for mode in sys.argv[1:]:
    file = io.BytesIO()
    Image.new(mode, (6000, 6000)).save(file, "PNG", compress_level=1)
    pictures.append(file.getvalue())
Image.core.clear_cache()
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 40_000_000, resource.getrlimit(resource.RLIMIT_AS)[1]))
for data in pictures:
    try:
        print("decoded", decode(data).shape)
    except MemoryShortError as error:
        print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux and its C library")
def test_a_good_picture_that_does_not_fit_the_memory_is_no_damaged_one() -> None:
    # In a process of its own: what other tests took and gave back would be taken again.
    command = [sys.executable, "-c", LITTLE_MEMORY, "RGB", "RGBA"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(said) == 2
    for line in said:
        assert re.search(r"memory of this machine does not suffice.* 36.0 million pixels", line)


def test_a_file_that_asks_for_more_than_its_picture_takes_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    def asks_for_too_much(self: Image.Image) -> None:
        raise MemoryError

    data = picture(3)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", asks_for_too_much)
    with pytest.raises(ImageError, match="truncated or damaged: it asks for more memory than a picture of"):
        decode(data)


def test_an_error_without_words_is_named_by_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Image.Image) -> None:
        raise ValueError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fails)
    with pytest.raises(ImageError, match=r"truncated or damaged: ValueError$"):
        decode(picture(3))


# -- a folder that is away -------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("jay", "owl"):
        (tmp_path / "birds" / name / "more").mkdir(parents=True)
        for index in range(2):
            (tmp_path / "birds" / name / f"{index}.png").write_bytes(picture(index))
        (tmp_path / "birds" / name / "more" / "9.png").write_bytes(picture(9))
    return tmp_path / "birds"


def away(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def emptied(folder: Path) -> None:
    shutil.copytree(folder, folder.with_name("elsewhere"))
    for each in folder.iterdir():
        shutil.rmtree(each)


@pytest.mark.parametrize("go", [away, emptied])
def test_a_dataset_that_is_away_has_no_images_and_invents_none(folder: Path, go: Callable[[Path], None]) -> None:
    dataset = open_dataset(f"imagefolder:{folder}")
    rows = manifest(dataset, "jay", max_images=None)
    assert len(rows) == 3
    go(folder)
    with pytest.raises(DataError, match=r"is the disk there\?"):
        dataset.images("jay")
    with pytest.raises(DataError, match=r"is the disk there\?"):
        manifest(dataset, "owl", max_images=None)
    with pytest.raises(DataError, match=r"is the disk there\?"):
        list(load_batches(dataset, rows, to_tensor, batch_size=2))
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_name("elsewhere").rename(folder)
    assert manifest(dataset, "jay", max_images=None) == rows


def test_a_class_whose_folder_is_away_or_empty_is_refused_and_the_others_go_on(folder: Path) -> None:
    dataset = open_dataset(f"imagefolder:{folder}")
    away(folder / "jay")
    with pytest.raises(DataError, match=rf"{folder}/jay cannot be listed any more: No such file"):
        dataset.images("jay")
    (folder / "jay").mkdir()
    with pytest.raises(DataError, match=r"class 'jay' of .* has no images any more"):
        dataset.images("jay")
    assert len(dataset.images("owl")) == 3


def test_one_image_that_is_away_is_its_own_row(folder: Path) -> None:
    dataset = open_dataset(f"imagefolder:{folder}")
    rows = manifest(dataset, "jay", max_images=None)
    (folder / "jay" / "1.png").unlink()
    batches = list(load_batches(dataset, rows, to_tensor, batch_size=4))
    assert batches[0].failures == [("jay/1.png", "cannot be read: No such file or directory")]


def test_images_that_are_listed_one_by_one_are_away_with_their_folder(test_data: Path, tmp_path: Path) -> None:
    shutil.copytree(test_data / "cub", tmp_path / "cub")
    dataset = open_dataset(f"cub:{tmp_path / 'cub'}")
    class_id = dataset.classes[0].class_id
    record = dataset.images(class_id)[0]
    Path(record.path).unlink()
    (row,) = [row for row in manifest(dataset, class_id, max_images=None) if row.error]
    assert row.image_id == record.image_id
    shutil.rmtree(dataset.root)
    with pytest.raises(DataError, match=r"is the disk there\?"):
        dataset.images(class_id)
    with pytest.raises(DataError, match=r"is the disk there\?"):
        dataset.read(record)
