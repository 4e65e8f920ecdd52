"""A disk that is full, or may not be written: the store lies on a file system in memory that the test mounts."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from results import CLASSES, assert_same_results, assert_whole, finished, summarise, told

from xvcore.errors import StoreError
from xvcore.store import Store

pytestmark = pytest.mark.slow

PAGE = 4096
AMPLE = "64m"


def n_pages(folder: Path) -> int:
    """Return how many pages the files of a folder take on a file system in memory."""
    return sum(-(-path.stat().st_size // PAGE) for path in folder.rglob("*.parquet"))


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that is a file system of its own."""
    if not shutil.which("mount"):
        pytest.skip("no `mount` here")
    command = ["mount", "-t", "tmpfs", "-o", f"size={AMPLE}", "tmpfs", str(tmp_path)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize("moment", ["in the middle of a class", "while publishing"])
def test_a_full_disk_is_named_and_the_rest_is_done_once_there_is_room(
    undisturbed: Store, disk: Path, moment: str
) -> None:
    parts, tables = (n_pages(Path(undisturbed.url, each)) for each in ("parts", "tables"))
    room, n_complete, where = (
        (parts * 3 // 4, 1, "parts") if moment == "in the middle of a class" else (parts + tables // 2, 2, "tables")
    )
    remount(disk, f"size={room * PAGE}")
    started = time.monotonic()
    with pytest.raises(StoreError, match=rf"^cannot write {disk}/{where}/.*No space left on device$") as error:
        summarise(disk)
    seconds = time.monotonic() - started
    assert_whole(disk)
    assert not list(disk.rglob("*.tmp"))
    (state,) = Store(disk).status().to_dict("records")
    assert (state["n_complete"], state["published"]) == (n_complete, False)
    before = finished(disk)

    remount(disk, f"size={AMPLE}")
    summarise(disk)
    assert_same_results(Store(disk), undisturbed)
    assert finished(disk) == before
    told(f"disk full {moment}", seconds, str(error.value), "room again: the same request completes")


@pytest.mark.parametrize("moment", ["from the start", "in the middle of a class"])
def test_a_store_that_may_only_be_read_is_named_and_stays_as_it_is(undisturbed: Store, disk: Path, moment: str) -> None:
    if moment == "from the start":
        remount(disk, "ro")

    def remounted(class_id: str, verb: str) -> None:
        if (class_id, verb) == (CLASSES[1], "mask"):
            remount(disk, "ro")

    started = time.monotonic()
    with pytest.raises(StoreError, match=rf"^cannot write {disk}/.*Read-only file system: .*$") as error:
        summarise(disk, progress=remounted)
    seconds = time.monotonic() - started
    before = finished(disk)
    if moment == "in the middle of a class":
        assert_whole(disk)
        assert Store(disk).status()["n_complete"].tolist() == [1]

    remount(disk, "rw")
    summarise(disk)
    assert_same_results(Store(disk), undisturbed)
    assert before.items() <= finished(disk).items()
    told(f"store read-only {moment}", seconds, str(error.value), "writable again: the same request completes")
