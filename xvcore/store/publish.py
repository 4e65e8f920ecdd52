"""Publishing: the parts of a run joined into one file a table, class by class, in bounded memory."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xvcore.store.parquet import footer, options, seal_footer
from xvcore.store.place import Place
from xvcore.store.rows import check_unique
from xvcore.store.schema import Table
from xvcore.store.write import replacing


def join_parts(
    place: Place, table: Table, relative: str, parts: Iterable[tuple[str, pa.Table]], facts: Mapping[str, Any]
) -> int:
    """Write the parts of one table as one file sorted by class and return its number of rows.

    Row groups end where a class does, as long as a class fits one: a filter on a class then reads one group. Memory
    holds one row group and one class. Equal parts give equal bytes.

    Parameters
    ----------
    place, relative : the file
    table : the schema
    parts : class and rows, sorted by class; read when they are asked for
    facts : for the file's metadata

    Raises
    ------
    StoreError
        Two rows that should be one, a part that cannot be read, or a file that cannot be written.
    """
    waiting: list[pa.Table] = []
    n_rows = n_waiting = 0
    of_file = {table.owner, table.shard or table.owner}
    schema = table.arrow.with_metadata(footer(table, facts))
    with replacing(place, relative) as temporary:
        with pq.ParquetWriter(temporary, schema, **options(table)) as writer:
            for name, part in parts:
                check_unique(table, part, of_file=of_file, where=f", class {name!r}")
                if waiting and n_waiting + part.num_rows > table.rows_per_group:
                    _write(writer, waiting, table)
                    waiting, n_waiting = [], 0
                waiting.append(part)
                n_rows, n_waiting = n_rows + part.num_rows, n_waiting + part.num_rows
            if waiting:
                _write(writer, waiting, table)
        seal_footer(temporary)
    return n_rows


def _write(writer: pq.ParquetWriter, parts: list[pa.Table], table: Table) -> None:
    writer.write_table(pa.concat_tables(parts), row_group_size=table.rows_per_group)
