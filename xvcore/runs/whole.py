"""Whether what a class, and what a run of its classes, must have is there and can be read."""

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from xvcore.keys import file_name
from xvcore.runs import summaries
from xvcore.runs.stage import DONE, needed, pipelines
from xvcore.store import SCHEMAS

if TYPE_CHECKING:
    from xvcore.runs.run import Run

_AT_ONCE = 4


def are_whole(run: "Run[Any]", class_id: str, tables: Iterable[str]) -> bool:
    """Say whether a class has a part of each table, and each can be read."""
    return all(is_part_whole(run, class_id, table) for table in tables)


def is_part_whole(run: "Run[Any]", class_id: str, table: str, n_rows: int | None = None) -> bool:
    """Say whether a class has a part of a table that can be read, of ``n_rows`` where that is known."""
    found = run.store.n_rows(table, run.run_id, class_id)
    return found is not None and n_rows in (None, found)


def is_done(run: "Run[Any]", class_id: str, record: Mapping[str, Any]) -> bool:
    """Say whether a class has ended well, by its record, and has every part that it must have, as it was written."""
    if record.get("status") not in DONE:
        return False
    said = record.get("rows_by_table")
    rows: dict[str, int | None] = json.loads(said) if said else dict.fromkeys(needed(run.settings.method))
    is_whole = all(is_part_whole(run, class_id, table, n_rows) for table, n_rows in rows.items())
    return is_whole and (summaries.summary_of(run) is None or summaries.is_kept(run, class_id))


def joined_parts(run: "Run[Any]") -> dict[str, list[str]]:
    """Return the parts of a run that no stage of a class writes, by table: what was joined over its classes."""
    stages = pipelines[run.settings.method].stages
    of_class = {name for stage in stages for name in (*stage.tables, *stage.drafts)}
    of_class |= {name for stage in stages if stage.summary for name in (stage.summary.table, stage.summary.before)}
    names = [
        name
        for name in SCHEMAS
        if SCHEMAS[name].owner == "run_id" and name not in of_class and name not in ("runs", "class_runs")
    ]
    found = {name: run.store.classes_of(name, run.run_id) for name in names}
    return {name: shards for name, shards in found.items() if shards}


def lost_joins(run: "Run[Any]", known: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return table and shard of each part joined over the classes that is damaged, or that the run's row names in vain.

    And of each whose files beside the tables are lost.

    Parameters
    ----------
    run : the run
    known : its row of ``runs``
    """
    parts = {(name, shard) for name, shards in joined_parts(run).items() for shard in shards}
    parts |= {(name, shard) for name, shards in json.loads(known.get("joined") or "{}").items() for shard in shards}
    lost = {each for each in parts if run.store.n_rows(each[0], run.run_id, each[1]) is None}
    beside = pipelines[run.settings.method].lost
    return sorted(lost.union(beside(run) if beside else ()))


def is_whole(run: "Run[Any]", class_ids: Iterable[str], known: Mapping[str, Any]) -> bool:
    """Say whether nothing is lost of a run that was completed and published; every file of its classes is read.

    Parameters
    ----------
    run : the run
    class_ids : those looked at
    known : its row of ``runs``
    """
    store = run.store
    if not store.classes_of("class_runs", run.run_id):
        return True  # a copy of the published tables alone
    rows = store.class_runs(run.run_id).to_dict("records")
    records: dict[str, Any] = {row["class_id"]: row for row in rows}
    chosen = list(class_ids)
    summaries.forget(run)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        are_done = list(pool.map(lambda each: is_done(run, each, records.get(each, {})), chosen))
    return all(are_done) and not lost_joins(run, known) and not _unpublished(run) and not unknown_classes(run, chosen)


def unknown_classes(run: "Run[Any]", class_ids: Iterable[str]) -> list[str]:
    """Return the classes of which the store does not have what the dataset says of them: their row, and their parts."""
    name = run.dataset.name
    rows, parts = (set(run.store.classes_of(table, name)) for table in ("classes", "parts"))

    def is_known(class_id: str) -> bool:
        if class_id not in rows or run.store.n_rows("classes", name, class_id) is None:
            return False
        if class_id not in parts:
            return not run.dataset.parts(class_id)
        return run.store.n_rows("parts", name, class_id) is not None

    chosen = list(class_ids)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [each for each, is_there in zip(chosen, pool.map(is_known, chosen), strict=True) if not is_there]


def _unpublished(run: "Run[Any]") -> list[str]:
    """Return the tables of which the run has parts of classes, but no published file."""
    published = [name for name in needed(run.settings.method) if SCHEMAS[name].is_published]
    return [name for name in published if not run.store.place.has(f"tables/{name}/{file_name(run.run_id)}.parquet")]
