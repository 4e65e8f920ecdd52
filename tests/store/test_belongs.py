"""A file is what belongs where it lies, bit for bit, or it is refused with what it is and what was expected."""

import io
import json
import random
import shutil
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xvcore.errors import DamagedError, StoreError
from xvcore.query import table
from xvcore.store import SCHEMAS, Store
from xvcore.store.parquet import options, sealed

RUN_ID = "net-vs-1"


def part(store: Store, name: str, class_id: str = "a", run_id: str = RUN_ID) -> Path:
    return Path(store.url, "parts", name, run_id, f"{class_id}.parquet")


@pytest.fixture
def filled(store, prediction_rows, cluster_rows, mask_rows):
    for class_id in "ab":
        store.write("predictions", RUN_ID, class_id, prediction_rows(300))
        store.write("clusters", RUN_ID, class_id, cluster_rows(3))
        store.write("masks", RUN_ID, class_id, mask_rows(20))
        store.write("class_runs", RUN_ID, class_id, [{"status": "complete", "seconds": 1.0}])
    return store


def with_facts(path: Path, **facts: object) -> None:
    rows = pq.read_table(path)
    own = json.loads(rows.schema.metadata[b"xvcore"])
    pq.write_table(rows.replace_schema_metadata({b"xvcore": json.dumps({**own, **facts}).encode()}), path)


def pages(path: Path) -> list[int]:
    """Return the places of all bytes of the pages, without their headers' first bytes."""
    metadata = pq.read_metadata(path)
    columns = [metadata.row_group(0).column(index) for index in range(metadata.num_columns)]
    found = []
    for column in columns:
        start = min(filter(None, (column.dictionary_page_offset, column.data_page_offset)))
        found += range(start, start + column.total_compressed_size)
    return found


def equals(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    try:
        pd.testing.assert_frame_equal(one, other)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("name", ["predictions", "clusters", "masks"])
def test_a_bit_that_flips_in_a_page_of_a_part_is_never_read_as_another_value(filled, name):
    before = filled.read(name, RUN_ID, "a")
    path = part(filled, name)
    data = path.read_bytes()
    places = pages(path)
    chance = random.Random(0)
    n_refused = 0
    for place in chance.sample(places, min(len(places), 250)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        try:
            found = filled.read(name, RUN_ID, "a")
        except DamagedError:
            n_refused += 1
        else:
            assert equals(found, before)  # a header's field that nobody reads
    assert n_refused > 200


def test_a_bit_that_flips_in_a_published_file_is_named(filled):
    filled.publish(RUN_ID)
    path = Path(filled.url, "tables", "predictions", f"{RUN_ID}.parquet")
    data = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(0).column(SCHEMAS["predictions"].names.index("prob_target"))
    data[column.data_page_offset + column.total_compressed_size - 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match=rf"damaged: {path}.*publish the run again"):
        table(filled, "predictions", columns=["prob_target"])
    filled.publish(RUN_ID)
    assert len(table(filled, "predictions")) == 600


def test_pages_have_checksums_whoever_reads_them(filled):
    """Arrow does not tell; a file that is written anew without them is shorter by a few bytes a page."""
    for name in ("predictions", "masks"):
        rows = pq.read_table(part(filled, name))
        sizes = {}
        for checksum in (True, False):
            written = {**options(SCHEMAS[name]), "write_page_checksum": checksum}
            buffer = io.BytesIO()
            pq.write_table(rows, buffer, row_group_size=10_000, **written)
            sizes[checksum] = len(sealed(buffer.getvalue()))
        assert part(filled, name).stat().st_size == sizes[True] > sizes[False]


@pytest.mark.parametrize("name", ["predictions", "clusters", "class_runs"])
def test_a_bit_that_flips_anywhere_in_a_part_is_never_read_as_another_value(filled, name):
    before = filled.read(name, RUN_ID, "a")
    path = part(filled, name)
    data = path.read_bytes()
    chance = random.Random(1)
    n_refused = 0
    for place in chance.sample(range(len(data)), 300):
        flipped = bytearray(data)
        flipped[place] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        try:
            assert equals(filled.read(name, RUN_ID, "a"), before)
        except StoreError:
            n_refused += 1
    assert n_refused > 290, "all but those in the seal's own name"


def test_other_readers_pass_over_the_seal(filled):
    path = part(filled, "predictions")
    expected = filled.read("predictions", RUN_ID, "a")["image_id"].tolist()
    assert pq.read_table(path)["image_id"].to_pylist() == expected
    assert duckdb.sql(f"select image_id from '{path}'").fetchall() == [(each,) for each in expected]


def test_a_file_without_checksums_is_read(filled):
    before = filled.read("predictions", RUN_ID, "a")
    path = part(filled, "predictions")
    pq.write_table(pq.read_table(path), path)
    pd.testing.assert_frame_equal(filled.read("predictions", RUN_ID, "a"), before)


def test_a_part_of_another_class_is_refused(filled):
    shutil.copy(part(filled, "clusters", "b"), part(filled, "clusters", "a"))
    with pytest.raises(DamagedError, match=r"clusters/net-vs-1/a\.parquet holds class_id 'b', expected class_id 'a'"):
        filled.read("clusters", RUN_ID, "a")
    with pytest.raises(StoreError, match="holds class_id 'b', expected class_id 'a'"):
        table(filled, "clusters", columns=["accepted"])
    with pytest.raises(StoreError, match="holds class_id 'b', expected class_id 'a'"):
        filled.publish(RUN_ID)


def test_a_part_of_another_run_is_refused_with_and_without_rows(filled, cluster_rows):
    for rows in (cluster_rows(2), []):
        filled.write("clusters", "other", "a", [{**row, "model": "net"} for row in rows])
        shutil.copy(part(filled, "clusters", run_id="other"), part(filled, "clusters"))
        with pytest.raises(DamagedError, match=r"holds run_id 'other', expected run_id 'net-vs-1'"):
            filled.read("clusters", RUN_ID, "a")


def test_a_part_with_some_rows_of_another_class_is_refused(filled):
    path = part(filled, "clusters")
    pq.write_table(pa.concat_tables([pq.read_table(each) for each in (path, part(filled, "clusters", "b"))]), path)
    with pytest.raises(DamagedError, match="holds class_id 'b', expected class_id 'a'"):
        filled.read("clusters", RUN_ID, "a")


def test_a_part_of_another_table_is_refused(filled):
    shutil.copy(part(filled, "predictions"), part(filled, "clusters"))
    with pytest.raises(DamagedError, match=r"holds the table 'predictions', expected the table 'clusters'"):
        filled.read("clusters", RUN_ID, "a")


def test_a_file_without_columns_that_every_version_has_is_refused(filled):
    path = part(filled, "clusters")
    pq.write_table(pq.read_table(path).drop_columns(["accepted", "class_id"]), path)
    with pytest.raises(DamagedError, match=r"holds no class_id, accepted, expected the columns of the table clusters"):
        filled.read("clusters", RUN_ID, "a", ["n_images"])


@pytest.mark.parametrize("version", [99, "new", None])
def test_a_part_of_a_newer_version_is_refused_and_not_taken_for_damaged(filled, version):
    with_facts(part(filled, "clusters"), schema_version=version)
    with pytest.raises(StoreError, match=rf"version {version!r} of the table clusters.*up to 1: update") as caught:
        filled.read("clusters", RUN_ID, "a")
    assert not isinstance(caught.value, DamagedError)
    with pytest.raises(StoreError, match="update xvcore"):
        filled.n_rows("clusters", RUN_ID, "a")


def test_a_published_file_of_another_run_table_or_version_is_refused(filled):
    filled.publish(RUN_ID)
    path = Path(filled.url, "tables", "clusters", f"{RUN_ID}.parquet")
    good = path.read_bytes()
    for facts, message in (
        ({"run_id": "other"}, "holds run_id 'other', expected run_id 'net-vs-1'"),
        ({"table": "masks"}, "holds the table 'masks', expected the table 'clusters'"),
        ({"schema_version": 2}, "version 2 of the table clusters"),
    ):
        path.write_bytes(good)
        with_facts(path, **facts)
        with pytest.raises(StoreError, match=message):
            table(filled, "clusters")


@pytest.mark.parametrize("name", ["class_runs", "runs"])
def test_a_record_is_one_row(filled, name):
    path = part(filled, name) if name == "class_runs" else Path(filled.url, "parts", "runs", f"{RUN_ID}.parquet")
    rows = pq.read_table(path)
    for wrong, n_rows in ((rows.slice(0, 0), 0), (pa.concat_tables([rows, rows]), 2)):
        pq.write_table(wrong, path)
        message = f"holds {n_rows} rows, expected one"
        if name == "runs":
            assert message in Store(filled.url).runs()["error"].item()
        else:
            with pytest.raises(DamagedError, match=message):
                filled.read("class_runs", RUN_ID, "a")


def test_publishing_refuses_what_a_complete_class_must_have_and_has_not(filled):
    said = {"predictions": 300, "clusters": 3, "masks": 20}
    for class_id in "ab":
        filled.write("class_runs", RUN_ID, class_id, [{"status": "complete", "rows_by_table": said}])
    filled.publish(RUN_ID)
    before = {path: path.read_bytes() for path in Path(filled.url, "tables").rglob("*.parquet")}
    filled.remove("masks", RUN_ID, "b")
    assert filled.lacking(RUN_ID) == {"b": ["masks"]}
    with pytest.raises(StoreError, match="cannot be published: 'b' lacks masks; run the same again"):
        filled.publish(RUN_ID)
    assert {path: path.read_bytes() for path in before} == before


def test_publishing_refuses_a_part_with_other_rows_than_the_record_says(filled, cluster_rows):
    filled.write("class_runs", RUN_ID, "a", [{"status": "complete", "rows_by_table": {"clusters": 3}}])
    filled.write("clusters", RUN_ID, "a", cluster_rows(2))
    with pytest.raises(StoreError, match=r"clusters/net-vs-1/a\.parquet holds 2 rows, expected 3"):
        filled.publish(RUN_ID)


def test_publishing_knows_what_an_older_record_does_not_say(filled):
    filled.remove("masks", RUN_ID, "b")
    assert filled.publish(RUN_ID)["masks"] == 20
    with pytest.raises(StoreError, match="'b' lacks masks"):
        filled.publish(RUN_ID, ["predictions", "masks"])


def test_publishing_refuses_where_a_joined_part_is_lost(filled, cluster_rows):
    row = filled.runs().to_dict("records")[0]
    filled.write_run({**row, "joined": {"units": ["conv1"]}})
    with pytest.raises(StoreError, match="'conv1' lacks units"):
        filled.publish(RUN_ID)
