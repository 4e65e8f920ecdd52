"""What is lost or damaged of a store is noticed by the next run, which makes it anew, and by publishing, which refuses."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from test_pipeline import QUICK, spec

from xvcore.analyses.analysis import analyses
from xvcore.errors import DataError, StoreError
from xvcore.parameters import replaced
from xvcore.query import connect, failures, table
from xvcore.runs import pipeline
from xvcore.runs.run import Run, announce, conclude, is_concluded, open_run
from xvcore.store import SCHEMAS, Store
from xvcore.visual_summaries.settings import VisualSummaries

OF_TIME = {
    "svg",
    "seconds",
    "seconds_by_stage",
    "images_per_second",
    "finished_at",
    "created_at",
    "attempt",
    "env",
    "device",
}


def opened(store: Path, method: str = "accuracy") -> Run:
    settings = analyses[method].settings()
    return open_run(spec(store, dataset="partbirds?classes=2&images=3", settings=settings))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("measured")
    assert pipeline.complete_run(opened(store), CLASSES) == "complete"
    return store


@pytest.fixture
def copy(measured: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(measured, tmp_path / "store"))


CLASSES = [info.class_id for info in open_run(spec(Path("nowhere"))).dataset.classes[:2]]
FIRST, SECOND = CLASSES


def results(store: Path) -> dict[str, pd.DataFrame]:
    found = {name: table(Store(store), name) for name in SCHEMAS}
    return {name: rows.drop(columns=OF_TIME.intersection(rows.columns)) for name, rows in found.items()}


@functools.cache
def undisturbed(store: Path) -> dict[str, pd.DataFrame]:
    return results(store)


def assert_same(store: Path, other: Path) -> None:
    one, two = results(store), undisturbed(other)
    for name, rows in one.items():
        pd.testing.assert_frame_equal(rows, two[name], obj=name)


def part(store: Path, name: str, class_id: str = FIRST) -> Path:
    (path,) = store.glob(f"parts/{name}/*/{class_id}.parquet")
    return path


def gone(path: Path) -> None:
    path.unlink()


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def of_no_bytes(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    column = pq.read_metadata(path).row_group(0).column(3)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size - 2] ^= 4
    path.write_bytes(data)


def of_another_class(path: Path) -> None:
    shutil.copy(path.with_name(f"{SECOND}.parquet"), path)


def without_rows(path: Path) -> None:
    pq.write_table(pq.read_table(path).slice(0, 0), path)


def with_fewer_rows(path: Path) -> None:
    pq.write_table(pq.read_table(path).slice(1), path)


DAMAGES = [gone, torn, of_no_bytes, flipped, of_another_class, without_rows, with_fewer_rows]
QUICK_CASES = {("manifest", gone), ("predictions", gone), ("predictions", flipped), ("predictions", without_rows)}


def files(store: Path, but: str = "") -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in store.rglob("*") if path.is_file() and path.stem != (but or "?")}


def test_a_good_store_is_left_as_it_is(copy: Path) -> None:
    before = {path: (path.stat().st_mtime_ns, data) for path, data in files(copy).items()}
    run = opened(copy)
    assert is_concluded(run, CLASSES)
    assert pipeline.complete_run(run, CLASSES) == "complete"
    assert {path: (path.stat().st_mtime_ns, data) for path, data in files(copy).items()} == before


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        pytest.param(name, damage, marks=() if (name, damage) in QUICK_CASES else pytest.mark.slow)
        for name in ("manifest", "predictions")
        for damage in DAMAGES
    ],
)
def test_a_lost_part_is_noticed_and_its_class_alone_is_computed_again(
    copy: Path, measured: Path, name: str, damage: Callable[[Path], None]
) -> None:
    path = part(copy, name)
    damage(path)
    run = opened(copy)
    with pytest.raises(StoreError, match=rf"(?s){FIRST}.*{name}|{name}.*{FIRST}"):
        run.store.publish(run.run_id)
    assert not is_concluded(run, CLASSES)
    assert not pipeline.is_complete(run, FIRST)
    assert pipeline.is_complete(run, SECOND)
    others = {each: data for each, data in files(copy / "parts").items() if each.stem == SECOND}
    assert pipeline.complete_run(run, CLASSES) == "complete"
    assert {each: each.read_bytes() for each in others} == others
    assert [run.store.read("class_runs", run.run_id, each)["attempt"][0] for each in CLASSES] == [2, 1]
    assert_same(copy, measured)
    assert is_concluded(opened(copy), CLASSES)


def test_the_advice_of_the_message_works(copy: Path, measured: Path) -> None:
    torn(part(copy, "predictions"))
    run = opened(copy)
    with pytest.raises(StoreError, match="run the class again: it is made anew"):
        run.store.read("predictions", run.run_id, FIRST)
    assert pipeline.complete_run(run, [FIRST]) == "complete"
    assert_same(copy, measured)


def test_a_run_of_other_classes_does_not_publish_without_the_lost_part(copy: Path) -> None:
    gone(part(copy, "predictions"))
    run = opened(copy)
    third = run.dataset.classes[2].class_id
    with pytest.raises(StoreError, match=f"'{FIRST}' lacks predictions"):
        pipeline.complete_run(run, [third])
    assert run.store.runs()["status"].tolist() == ["failed"]
    assert pipeline.is_complete(run, third)
    assert pipeline.complete_run(run, [FIRST]) == "complete"


def test_a_record_of_an_older_version_is_completed_by_what_the_method_writes(copy: Path, measured: Path) -> None:
    for class_id in CLASSES:
        path = part(copy, "class_runs", class_id)
        pq.write_table(pq.read_table(path).drop_columns(["rows_by_table"]), path)
    row = next((copy / "parts" / "runs").iterdir())
    pq.write_table(pq.read_table(row).drop_columns(["joined"]), row)
    run = opened(copy)
    assert is_concluded(run, CLASSES)
    gone(part(copy, "predictions"))
    assert not is_concluded(run, CLASSES)
    with pytest.raises(StoreError, match=f"'{FIRST}' lacks predictions"):
        run.store.publish(run.run_id, ["predictions"])
    assert pipeline.complete_run(run, CLASSES) == "complete"
    assert len(table(Store(copy), "predictions")) == len(table(Store(measured), "predictions"))


@pytest.mark.parametrize(("name", "damage"), [("figures", gone), ("comparisons", torn)])
def test_what_was_joined_and_is_lost_is_joined_again(
    copy: Path, measured: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(sorted((copy / "parts" / name).rglob("*.parquet"))[0])
    run = opened(copy)
    with pytest.raises(StoreError):
        run.store.publish(run.run_id) if name == "figures" else run.store.read(name, run.run_id, "runs")
    assert pipeline.complete_run(run, CLASSES) == "complete"
    assert_same(copy, measured)


def test_a_published_file_that_is_lost_is_read_from_the_parts_and_published_again(copy: Path, measured: Path) -> None:
    gone(next((copy / "tables" / "predictions").iterdir()))
    assert_same(copy, measured)
    assert pipeline.complete_run(opened(copy), CLASSES) == "complete"
    assert list((copy / "tables" / "predictions").iterdir())


def test_a_copy_of_the_published_tables_alone_is_complete(copy: Path) -> None:
    shutil.rmtree(copy / "parts")
    assert is_concluded(opened(copy), CLASSES)


@pytest.mark.parametrize("damage", [torn, without_rows])
def test_one_damaged_record_is_named_and_hides_nothing_else(
    copy: Path, measured: Path, damage: Callable[[Path], None]
) -> None:
    run = opened(copy)
    begun = {"status": "running"}  # not published any more: the parts count
    run.store.write("class_runs", run.run_id, SECOND, [begun])
    damage(part(copy, "class_runs"))
    store = Store(copy)
    (state,) = store.status().to_dict("records")
    assert (state["n_failed"], state["n_running"]) == (1, 1)
    rows = table(store, "class_runs").set_index("class_id")
    assert rows["status"].to_dict() == {FIRST: "failed", SECOND: "running"}
    assert str(part(copy, "class_runs")) in rows["error"][FIRST]
    assert failures(store)["class_id"].tolist() == CLASSES
    assert len(table(store, "predictions")) == len(table(Store(measured), "predictions"))
    sql = connect(store)
    assert sql.sql("from predictions").fetchall()
    told = dict(sql.sql("select class_id, status from class_runs").fetchall())
    assert told[SECOND] == "running"
    assert pipeline.complete_run(run, CLASSES) == "complete"
    assert_same(copy, measured)


def test_a_damaged_published_file_of_records_is_named_and_hides_nothing_else(copy: Path) -> None:
    torn(next((copy / "tables" / "class_runs").iterdir()))
    store = Store(copy)
    assert set(table(store, "class_runs")["class_id"]) == set(CLASSES)
    assert set(failures(store)["class_id"]) == set(CLASSES)
    assert failures(store)["error"].str.contains("publish the run again").all()
    assert store.status()["n_complete"].tolist() == [2]


def test_the_status_of_a_published_run_is_read_from_one_file(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Store(copy).status()
    read: list[str] = []
    record = Store.record
    monkeypatch.setattr(Store, "record", lambda *of: read.append(of[2]) or record(*of))
    pd.testing.assert_frame_equal(Store(copy).status(), expected)
    assert not read
    run = opened(copy)
    run.store.write("class_runs", run.run_id, SECOND, [{"status": "running"}])
    assert Store(copy).status()[["n_complete", "n_running"]].to_numpy().tolist() == [[1, 1]]
    assert read == CLASSES


def test_what_a_kill_left_of_the_announcement_is_completed(copy: Path, measured: Path) -> None:
    for name in ("classes", "parts"):
        gone(part(copy, name))
    run = opened(copy)
    assert not is_concluded(run, CLASSES)
    assert pipeline.complete_run(run, CLASSES) == "complete"
    assert_same(copy, measured)


def test_announcing_again_completes_classes_and_parts(tmp_path: Path) -> None:
    run = opened(tmp_path)
    announce(run, CLASSES)
    before = results(tmp_path)
    gone(part(tmp_path, "parts", SECOND))
    torn(part(tmp_path, "classes", FIRST))
    announce(run, CLASSES)
    for name in ("classes", "parts"):
        pd.testing.assert_frame_equal(results(tmp_path)[name], before[name])


def test_a_class_whose_dataset_is_away_fails_and_is_computed_once_it_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "birds"
    for name in ("jay", "owl"):
        (folder / name).mkdir(parents=True)
        for index in range(2):
            Image.new("RGB", (90, 80), (40 * index, 90, 10)).save(folder / name / f"{index}.png")
    given = spec(
        tmp_path / "store",
        dataset=f"imagefolder:{folder}",
        class_map=(("jay", "0"), ("owl", "1")),
        settings=analyses["accuracy"].settings(),
    )
    run = open_run(given)
    announce(run, ["jay", "owl"])
    pipeline.complete_class(run, "jay")
    folder.rename(tmp_path / "away")
    with pytest.raises(DataError, match="is the disk there"):
        pipeline.complete_class(run, "owl")
    assert conclude(run) == "failed"
    record = run.store.read("class_runs", run.run_id, "owl").iloc[0]
    assert record["status"] == "failed"
    assert str(folder) in record["error"]
    (tmp_path / "away").rename(folder)
    assert pipeline.complete_run(run, ["jay", "owl"]) == "complete"
    assert table(run.store, "predictions")["error"].isna().all()


@pytest.fixture(scope="module")
def trimmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("trimmed")
    assert pipeline.complete_run(summarising(store), [FIRST]) == "complete"
    return store


def summarising(store: Path) -> Run:
    return open_run(spec(store, settings=replaced(VisualSummaries(), {**QUICK, "similarity": "none"})))


@pytest.mark.parametrize(
    "name",
    [
        "clusters",  # its pairs are trimmed away: they are found again
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in (
                *("manifest", "predictions", "masks", "candidates", "similarity", "regions", "summary_parts"),
                *("summary_drops", "part_counts"),
            )
        ),
    ],
)
def test_stages_after_a_lost_part_are_done_again(trimmed: Path, tmp_path: Path, name: str) -> None:
    store = Path(shutil.copytree(trimmed, tmp_path / "store"))
    gone(part(store, name))
    assert pipeline.complete_run(summarising(store), [FIRST]) == "complete"
    assert_same(store, trimmed)


def test_a_stage_is_done_when_all_that_it_writes_is_whole(trimmed: Path, tmp_path: Path) -> None:
    """A class that was killed before its record was written, of which a table that is not the last is broken."""
    store = Path(shutil.copytree(trimmed, tmp_path / "store"))
    run = summarising(store)
    done = run.store.read("class_runs", run.run_id, FIRST).to_dict("records")[0]
    run.store.write("class_runs", run.run_id, FIRST, [{**done, "status": "running", "rows_by_table": None}])
    torn(part(store, "regions"))
    assert pipeline.complete_run(run, [FIRST]) == "complete"
    assert_same(store, trimmed)


def test_drafts_and_caches_that_are_damaged_are_made_anew(trimmed: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(trimmed, tmp_path / "store"))
    run = summarising(store)
    torn(part(store, "proposals"))
    torn(part(store, "candidates"))
    run.store.write("masks_so_far", run.run_id, FIRST, [])
    torn(part(store, "masks_so_far"))
    gone(part(store, "masks"))
    assert pipeline.complete_run(run, [FIRST]) == "complete"
    assert_same(store, trimmed)


def without_a_value(path: Path) -> None:
    rows = pq.read_table(path)
    at = rows.column_names.index("published")
    pq.write_table(rows.set_column(at, rows.schema.field(at), pa.nulls(len(rows), pa.bool_())), path)


@pytest.mark.parametrize("has_tables", [True, False])
@pytest.mark.parametrize("damage", [torn, without_a_value])
def test_a_damaged_row_of_a_run_is_made_anew_by_the_same_command(
    copy: Path, measured: Path, damage: Callable[[Path], None], has_tables: bool
) -> None:
    created = Store(copy).runs()["created_at"].iloc[0]
    damage(next((copy / "parts" / "runs").iterdir()))
    if not has_tables:
        shutil.rmtree(copy / "tables" / "runs")
    run = opened(copy)
    assert not is_concluded(run, CLASSES)
    assert pipeline.complete_run(run, [FIRST]) == "complete"
    assert_same(copy, measured)
    (row,) = Store(copy).runs().to_dict("records")
    assert list(row["class_ids"]) == CLASSES, "those of earlier attempts are not forgotten"
    assert (row["created_at"] == created) is has_tables
