"""A small file that has not changed is not read again, and one that has changed always is."""

import os
import time
from pathlib import Path

import pyarrow as pa
import pytest

from xvcore.errors import DamagedError
from xvcore.store import Store, place, read


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    written(made, "one", 2)
    return made


def written(store: Store, class_id: str, n_rows: int, name: str = "x") -> Path:
    """Write a manifest, as old as a file must be for its times to tell whether it changes."""
    rows = [
        {"image_id": f"{name}{row}", "path": "p", "sha256": "s", "n_bytes": 1, "model": "m"} for row in range(n_rows)
    ]
    store.write("manifest", "run", class_id, rows)
    path = next(Path(store.url).glob(f"parts/manifest/run/{class_id}.parquet"))
    aged(path)
    return path


def aged(path: Path) -> None:
    """Wait until a file's times tell: that of its change is the kernel's."""
    while place._stamp(path.stat()) is None:
        time.sleep(0.01)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    parse = read._read

    def counted(place, table, relative, names, data):
        seen.append(relative)
        return parse(place, table, relative, names, data)

    monkeypatch.setattr(read, "_read", counted)
    return seen


def ids(store: Store, class_id: str = "one", columns: list[str] | None = None) -> list[str]:
    rows: pa.Table = store.read_arrow("manifest", "run", class_id, columns)
    return rows["image_id"].to_pylist()


def test_what_has_not_changed_is_read_once(store: Store, parsed: list[str]) -> None:
    for columns in (None, ["image_id"], ["image_id", "sha256"], None):
        assert ids(store, columns=columns) == ["x0", "x1"]
    assert store.n_rows("manifest", "run", "one") == 2
    assert len(parsed) == 1, "some columns are taken from the whole"


def test_columns_of_what_was_read_in_part_are_read(store: Store, parsed: list[str]) -> None:
    assert store.read_arrow("manifest", "run", "one", ["image_id"]).column_names == ["image_id"]
    assert store.read_arrow("manifest", "run", "one", ["sha256"]).column_names == ["sha256"]
    assert ids(store) == ["x0", "x1"]
    assert len(parsed) == 3


def test_what_was_written_again_is_read_again_by_every_store(store: Store) -> None:
    other = Store(store.url)
    assert ids(store) == ids(other) == ["x0", "x1"]
    written(store, "one", 2, name="y")
    assert ids(store) == ids(other) == ["y0", "y1"]
    store.remove("manifest", "run", "one")
    assert not store.has("manifest", "run", "one")
    assert store.n_rows("manifest", "run", "one") is other.n_rows("manifest", "run", "one") is None


def test_damage_is_seen_though_size_and_time_of_writing_stay(store: Store) -> None:
    path = written(store, "one", 2)
    assert ids(store) == ["x0", "x1"]
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DamagedError):
        ids(store)
    assert store.n_rows("manifest", "run", "one") is None


def test_a_file_that_is_too_new_to_tell_is_read_each_time(
    store: Store, parsed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "TICK_S", 1e9)
    for _ in range(3):
        ids(store)
    assert len(parsed) == 3


def test_little_is_kept(store: Store, parsed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "MOST_KNOWN", 2)
    for class_id in ("two", "three"):
        written(store, class_id, 1)
    for class_id in ("one", "two", "three", "three", "two", "one"):
        ids(store, class_id)
    assert [each.split("/")[-1].removesuffix(".parquet") for each in parsed] == ["one", "two", "three", "one"]
    monkeypatch.setattr(read, "KNOWN_BYTES", 1)
    store.place.known = place.Known()
    parsed.clear()
    for _ in range(2):
        ids(store)
    assert len(parsed) == 2, "rows that are many are not kept"
