"""The store: parts written class by class, runs, what is done, and publishing."""

import json
import logging
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pyarrow as pa

from xvcore.errors import DamagedError, StoreError, unknown_name
from xvcore.keys import file_name
from xvcore.store.frame import data_frame
from xvcore.store.parquet import serialise
from xvcore.store.place import Place
from xvcore.store.progress import columns, progress
from xvcore.store.publish import join_parts
from xvcore.store.read import read_file
from xvcore.store.rows import arrow_table
from xvcore.store.schema import SCHEMAS, Table
from xvcore.store.write import put
from xvcore.version import VERSION

logger = logging.getLogger(__name__)
FORMAT = 1
"""Of the layout of files; a store with a higher one was written by a newer xvcore."""
MARKER = "xvstore.json"
_AT_ONCE = 16


class Store:
    """Tables of results under one URL.

    A table's part is ``parts/<table>/<owner>/<class>.parquet``, where the owner is a run, a data set (tables
    ``classes`` and ``parts``) or a cache (``proposals``). A published run has one file a table,
    ``tables/<table>/<run>.parquet``.

    Parameters
    ----------
    url : a path or an fsspec URL; nothing is created before the first write
    storage_options : for the URL's file system, e.g. ``key``, ``secret``, ``endpoint_url`` of an S3 server

    Raises
    ------
    StoreError
        The URL cannot be reached, or the store is of a newer format than this version reads.

    Examples
    --------
    >>> from xvcore.store import Store
    >>> list(Store("store").runs()["model"])
    ['bagnet_drawn']
    """

    def __init__(self, url: str | Path, **storage_options: Any) -> None:
        self.place = Place(url, **storage_options)
        self.url = self.place.url
        self._runs: dict[str, dict[str, Any]] = {}
        self._said: set[str] = set()
        self._is_marked = self._check_format()

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def exists(self) -> bool:
        """Return whether anything was ever written here."""
        return self._is_marked or self._check_format()

    # Parts

    def write(self, table: str, run_id: str, class_id: str, rows: Sequence[Mapping[str, Any]] | pa.Table) -> None:
        """Write one part, or replace it; it appears whole or not at all.

        Parameters
        ----------
        table : name of the table
        run_id : the run; the data set for ``classes`` and ``parts``, the cache's id for ``proposals``
        class_id : the class
        rows : mappings from column to value, or an Arrow table. The keys (``run_id``, ``class_id``, and ``model``
            if the run has been written) may be left out. None at all is a part too: it says that there are none

        Raises
        ------
        StoreError
            Rows that do not fit the table, or a store that cannot be written; what was there before is untouched.
        """
        schema = SCHEMAS[table]
        keys = self._keys(schema, run_id, class_id)
        if "model" in schema and not _has_column(rows, "model"):
            keys["model"] = self._run(run_id).get("model")
        data = serialise(schema, arrow_table(schema, rows, keys), self._facts(schema, run_id))
        if table == "class_runs":
            self.withdraw(run_id)
        self._put(_part(schema, run_id, class_id), data)

    def read(self, table: str, run_id: str, class_id: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return one part; columns that the file lacks (an older version wrote it) are null.

        Raises
        ------
        StoreError
            There is no such part; it is damaged, or not what belongs there (DamagedError).
        """
        schema = SCHEMAS[table]
        return data_frame(schema, self.read_arrow(table, run_id, class_id, columns))

    def read_arrow(self, table: str, run_id: str, class_id: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return one part as an Arrow table; see :meth:`read`."""
        schema = SCHEMAS[table]
        relative = _part(schema, run_id, class_id)
        rows = read_file(self.place, schema, relative, columns)
        if rows is None:
            raise StoreError(f"no {table} of {class_id!r} in {run_id!r}: {self.url}/{relative} is not there")
        return rows

    def has(self, table: str, run_id: str, class_id: str) -> bool:
        """Return whether the part was written."""
        return self.place.has(_part(SCHEMAS[table], run_id, class_id))

    def n_rows(self, table: str, run_id: str, class_id: str) -> int | None:
        """Return the rows of a part that was read in full; None where it is not there, or is damaged.

        Raises
        ------
        StoreError
            The store cannot be read.
        """
        schema = SCHEMAS[table]
        try:
            rows = read_file(self.place, schema, _part(schema, run_id, class_id))
        except DamagedError as error:
            logger.info("%s", error)
            return None
        return None if rows is None else int(rows.num_rows)

    def remove(self, table: str, run_id: str, class_id: str) -> None:
        """Remove a part; one that is not there is no error."""
        if table == "class_runs":
            self.withdraw(run_id)
        self.place.remove(_part(SCHEMAS[table], run_id, class_id))

    def classes_of(self, table: str, run_id: str) -> list[str]:
        """Return the classes that have a part, sorted."""
        names = self.place.names(f"parts/{SCHEMAS[table].name}/{file_name(run_id)}")
        return sorted(unquote(name.removesuffix(".parquet")) for name in names if name.endswith(".parquet"))

    def sizes(self, table: str, run_id: str) -> dict[str, int]:
        """Return the bytes of each class's part."""
        sizes = self.place.sizes(f"parts/{SCHEMAS[table].name}/{file_name(run_id)}")
        return {unquote(name.removesuffix(".parquet")): size for name, size in sizes.items()}

    def owners_of(self, table: str) -> list[str]:
        """Return the runs (data sets, caches) that have parts of a table, sorted."""
        return sorted(unquote(name) for name in self.place.names(f"parts/{SCHEMAS[table].name}"))

    # Runs

    def write_run(self, row: Mapping[str, Any]) -> None:
        """Write a run's row, or replace it; a run that was published is taken for unpublished then.

        Also sweeps temporary files that killed writers left more than a day ago.
        """
        self.place.sweep()
        self._write_run({"published": False, **row}, "parts")

    def runs(self) -> pd.DataFrame:
        """Return all runs, oldest first; one whose row is damaged has failed, and its ``error`` says so."""
        schema = SCHEMAS["runs"]
        rows = [self._run(run_id, fresh=True) for run_id in self._run_ids()]
        frame = data_frame(schema, arrow_table(schema, [row for row in rows if row], {}))
        return frame.sort_values(["created_at", "run_id"], ignore_index=True)

    def is_published(self, run_id: str) -> bool:
        """Return whether the run's row says that its published files count; False where there is no row."""
        return bool(self._run(run_id, fresh=True).get("published"))

    def run(self, run_id: str) -> pa.Table:
        """Return the row of a run, or none; where its file is damaged, of a failed run with that reason."""
        row = self._run(run_id, fresh=True)
        return arrow_table(SCHEMAS["runs"], [row] if row else [], {})

    def publish(self, run_id: str, needed: Collection[str] = ()) -> dict[str, int]:
        """Join the parts of a run's finished classes into one file a table, and return the rows of each.

        The run's row says ``published`` last: until then readers take the parts, afterwards the files. A class that is
        still running is left out. Doing it twice gives the same bytes; parts stay, a later attempt needs them.

        Parameters
        ----------
        run_id : the run
        needed : tables that a complete class must have, for records that do not say so themselves (of older versions)

        Raises
        ------
        StoreError
            An unknown run, one whose row is damaged or without a finished class, a complete class that lacks a part
            which it must have, a damaged part, rows that should be one, no room.
        """
        row = self._run(run_id, fresh=True)
        if not row:
            raise StoreError(str(unknown_name(f"run in {self.url}:", run_id, self._run_ids())))
        if row.get("error"):
            raise DamagedError(row["error"])
        records = self.class_runs(run_id)
        ended = set(records["class_id"][records["status"] != "running"])
        if not ended.intersection(self.classes_of("class_runs", run_id)):
            raise StoreError(f"run {run_id} has no finished class in {self.url}/parts to publish")
        if lacking := self._lacking(run_id, row, records, needed):
            what = "; ".join(f"{shard!r} lacks {', '.join(names)}" for shard, names in lacking.items())
            raise StoreError(
                f"run {run_id} in {self.url} cannot be published: {what}; run the same again: what is lost is made anew"
            )
        tables = [SCHEMAS[name] for name in SCHEMAS if SCHEMAS[name].is_published and name != "runs"]
        expected = dict(_rows_by_table(records))
        n_rows = {table.name: self._publish_table(table, row, ended, expected) for table in tables}
        self._write_run({**row, "published": True}, "tables")
        self._write_run({**row, "published": True}, "parts")
        return n_rows

    def status(self, run_id: str | None = None) -> pd.DataFrame:
        """Return a row a run: how many of its classes are complete, failed, skipped, running and pending.

        Pending are classes asked for (``runs.class_ids``) that have not begun.

        Raises
        ------
        StoreError
            ``run_id`` is given and there is no such run.
        """
        runs = self.runs()
        if run_id is not None:
            if run_id not in set(runs["run_id"]):
                raise StoreError(str(unknown_name(f"run in {self.url}:", run_id, runs["run_id"])))
            runs = runs[runs["run_id"] == run_id]
        states = [progress(row, self._records_of(row)) for row in runs.to_dict("records")]
        return pd.DataFrame(states, columns=columns())

    def class_runs(self, run_id: str) -> pd.DataFrame:
        """Return the records of a run's classes; one whose file is damaged is a failed class with that reason."""
        schema = SCHEMAS["class_runs"]
        with ThreadPoolExecutor(_AT_ONCE) as pool:  # waiting for an object store, mostly
            classes = self.classes_of("class_runs", run_id)
            parts = list(pool.map(lambda class_id: self.record(run_id, class_id), classes))
        if not parts:
            published = self.published_records(run_id)
            parts = [schema.arrow.empty_table() if published is None else published]
        return data_frame(schema, pa.concat_tables(parts))

    def _records_of(self, run: Mapping[Hashable, Any]) -> pd.DataFrame:
        """Return the records of a run's classes: of one that is published from its one file, where that is whole."""
        run_id = run["run_id"]
        if run["published"]:
            try:
                rows = read_file(self.place, SCHEMAS["class_runs"], f"tables/class_runs/{file_name(run_id)}.parquet")
            except DamagedError as error:
                self._say(error)
                rows = None
            if rows is not None:
                return data_frame(SCHEMAS["class_runs"], rows)
        return self.class_runs(run_id)

    def record(self, run_id: str, class_id: str) -> pa.Table:
        """Return the record of a class, of one row; where its file is damaged, of a failed class with that reason.

        Raises
        ------
        StoreError
            There is none, or the store cannot be read.
        """
        try:
            return self.read_arrow("class_runs", run_id, class_id)
        except DamagedError as error:
            return self._damaged_records(run_id, [class_id], error)

    def published_records(self, run_id: str) -> pa.Table | None:
        """Return the published records of a run's classes; where the file is damaged, all have failed for that reason.

        None where there is no such file.
        """
        try:
            return read_file(self.place, SCHEMAS["class_runs"], f"tables/class_runs/{file_name(run_id)}.parquet")
        except DamagedError as error:
            asked = self._run(run_id).get("class_ids") or []
            return self._damaged_records(run_id, asked, error)

    def _damaged_records(self, run_id: str, class_ids: Sequence[str], error: DamagedError) -> pa.Table:
        """Return records that say of each class that its record is damaged: one file does not hide the others."""
        self._say(error)
        keys = {"run_id": run_id, "model": self._run(run_id).get("model") or "unknown", "status": "failed"}
        rows = [{**keys, "class_id": class_id, "error": str(error)} for class_id in class_ids]
        return arrow_table(SCHEMAS["class_runs"], rows, {})

    def lacking(self, run_id: str, needed: Collection[str] = ()) -> dict[str, list[str]]:
        """Return for each complete class, and for what was joined over all, the tables whose parts are not there.

        Parameters
        ----------
        run_id : the run
        needed : tables that a complete class must have, for records that do not say so themselves
        """
        return self._lacking(run_id, self._run(run_id, fresh=True), self.class_runs(run_id), needed)

    def _lacking(
        self, run_id: str, run: Mapping[str, Any], records: pd.DataFrame, needed: Collection[str]
    ) -> dict[str, list[str]]:
        is_done = records["status"].isin(["complete", "skipped"])
        own = dict(_rows_by_table(records))
        wanted = [(name, each) for each in records["class_id"][is_done] for name in own.get(each) or needed]
        joined = json.loads(run.get("joined") or "{}")
        wanted += [(name, shard) for name, shards in joined.items() for shard in shards]
        there = {name: set(self.classes_of(name, run_id)) for name in {name for name, _ in wanted}}
        found: dict[str, list[str]] = {}
        for name, shard in wanted:
            if shard not in there[name]:
                found.setdefault(shard, []).append(name)
        return found

    def _publish_table(
        self, schema: Table, run: Mapping[str, Any], ended: set[str], expected: Mapping[str, Mapping[str, int]]
    ) -> int:
        owner = run[schema.owner]
        of_class = schema.owner == "run_id" and schema.shard == "class_id"
        classes = [each for each in self.classes_of(schema.name, owner) if not of_class or each in ended]
        relative = f"tables/{schema.name}/{file_name(owner)}.parquet"
        if not classes:
            self.place.remove(relative)
            return 0
        parts = self._checked(schema, owner, classes, expected if of_class else {})
        return join_parts(self.place, schema, relative, parts, self._facts(schema, owner))

    def _checked(
        self, schema: Table, owner: str, classes: Sequence[str], expected: Mapping[str, Mapping[str, int]]
    ) -> Iterator[tuple[str, pa.Table]]:
        """Yield the parts of a table; one with other rows than the record of the class says is damaged."""
        for class_id in classes:
            rows = self.read_arrow(schema.name, owner, class_id)
            said = expected.get(class_id, {}).get(schema.name, rows.num_rows)
            if rows.num_rows != said:
                where = f"{self.url}/{_part(schema, owner, class_id)}"
                raise DamagedError(
                    f"damaged: {where} holds {rows.num_rows} rows, expected {said}, as the record of the class says; "
                    "run the class again: it is made anew"
                )
            yield class_id, rows

    def _write_run(self, row: Mapping[str, Any], where: str) -> None:
        schema = SCHEMAS["runs"]
        filled = {"schema_version": schema.version, "version": VERSION, **row}
        rows = arrow_table(schema, [filled], {})
        run_id = rows.column("run_id")[0].as_py()
        facts = {"run_id": run_id, "params_hash": filled.get("params_hash"), "xvcore_version": VERSION}
        self._put(f"{where}/runs/{file_name(run_id)}.parquet", serialise(schema, rows, facts))
        self._runs[run_id] = rows.to_pylist()[0]

    def _run_ids(self) -> list[str]:
        names = {*self.place.names("parts/runs"), *self.place.names("tables/runs")}
        return sorted(unquote(name.removesuffix(".parquet")) for name in names if name.endswith(".parquet"))

    def _run(self, run_id: str, *, fresh: bool = False) -> dict[str, Any]:
        """Return the run's row; empty where none was written. A store that has only ``tables/`` is complete too.

        Where the row is damaged, what is known of the run otherwise, as a failed one that is not published.
        """
        if run_id in self._runs and not fresh:
            return self._runs[run_id]
        damage: DamagedError | None = None
        for where in ("parts", "tables"):
            try:
                rows = read_file(self.place, SCHEMAS["runs"], f"{where}/runs/{file_name(run_id)}.parquet")
            except DamagedError as error:
                damage = damage or error
                continue
            if rows is not None:
                row = rows.to_pylist()[0]
                self._runs[run_id] = self._damaged_run(row, damage) if damage else row
                return self._runs[run_id]
        if damage is None:
            return {}
        self._runs[run_id] = self._damaged_run(self._guessed(run_id), damage)
        return self._runs[run_id]

    def _damaged_run(self, known: Mapping[str, Any], damage: DamagedError) -> dict[str, Any]:
        """Return the row of a run that says that its file is damaged: one file does not hide the others."""
        self._say(damage)
        return {**known, "status": "failed", "published": False, "error": str(damage)}

    def _say(self, damage: DamagedError) -> None:
        """Warn of a damaged file once."""
        if str(damage) not in self._said:
            self._said.add(str(damage))
            logger.warning("%s", damage)

    def _guessed(self, run_id: str) -> dict[str, Any]:
        """Return what a run's other files tell of it."""
        classes = self.classes_of("class_runs", run_id)
        whole = (each for each in classes if self.n_rows("class_runs", run_id, each) is not None)
        records = (self.read_arrow("class_runs", run_id, each, ["model"]).to_pylist()[0] for each in whole)
        unknown = dict.fromkeys(("model", "method", "dataset"), "unknown")
        known = {**unknown, **next(records, {})}
        return {"run_id": run_id, **known, "class_ids": classes, "schema_version": SCHEMAS["runs"].version}

    def withdraw(self, run_id: str) -> None:
        """Mark a published run as changed, so that readers take its parts again."""
        row = self._run(run_id, fresh=True)
        if row.get("published"):
            self._write_run({**row, "published": False}, "parts")

    # Files

    def _put(self, relative: str, data: bytes) -> None:
        if not self._is_marked:
            put(self.place, MARKER, json.dumps({"format": FORMAT}).encode())
            self._is_marked = True
        put(self.place, relative, data)

    def _check_format(self) -> bool:
        """Return whether the marker is there; refuse a store of a newer format."""
        data = self.place.read(MARKER)
        if data is None:
            return False
        try:
            version = json.loads(data)["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{self.url}/{MARKER} is not a store's marker: {data[:80]!r}") from error
        if not isinstance(version, int) or version > FORMAT:
            reads = f"xvcore {VERSION} reads formats up to {FORMAT}"
            raise StoreError(f"{self.url} is a store of format {version!r}; {reads}: update xvcore")
        return True

    def _facts(self, schema: Table, owner: str) -> dict[str, Any]:
        params_hash = self._run(owner).get("params_hash") if schema.owner == "run_id" else None
        return {schema.owner: owner, "params_hash": params_hash, "xvcore_version": VERSION}

    def _keys(self, schema: Table, owner: str, shard: str) -> dict[str, Any]:
        if not owner or not shard:
            raise StoreError(
                f"table {schema.name}: {schema.owner} and {schema.shard} are needed, not {owner!r}, {shard!r}"
            )
        return {schema.owner: owner} | ({schema.shard: shard} if schema.shard else {})


def _rows_by_table(records: pd.DataFrame) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield the classes whose records say which parts they must have, with the rows of each."""
    for class_id, said in zip(records["class_id"], records["rows_by_table"], strict=True):
        if said is not None:
            yield class_id, json.loads(said)


def _part(schema: Table, owner: str, shard: str) -> str:
    if schema.name == "runs":
        raise StoreError("runs are written by Store.write_run and read by Store.runs")
    return f"parts/{schema.name}/{file_name(owner)}/{file_name(shard)}.parquet"


def _has_column(rows: Sequence[Mapping[str, Any]] | pa.Table, name: str) -> bool:
    if isinstance(rows, pa.Table):
        return name in rows.column_names
    return bool(rows) and all(name in row for row in rows)
