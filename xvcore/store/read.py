"""Files of a table, read whole: a damaged one is named."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from xvcore.errors import StoreError, in_one_line
from xvcore.store.parquet import conform
from xvcore.store.place import Place
from xvcore.store.schema import Table


def read_file(place: Place, table: Table, relative: str, columns: Sequence[str] | None = None) -> pa.Table | None:
    """Return the rows of one file with the columns of today's schema; ``None`` where there is no such file.

    The file is opened once, so that one which is replaced meanwhile is read as it was or as it is, never half of each.

    Raises
    ------
    StoreError
        It is damaged or cannot be read.
    """
    data = place.read(relative)
    if data is None:
        return None
    names = None if columns is None else [column.name for column in table.select(columns)]
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        wanted = None if names is None else [name for name in names if name in file.schema_arrow.names]
        return conform(table, file.read(wanted), names)
    except (pa.ArrowException, OSError) as error:
        cause = f"{in_one_line(error)}; remove it and run the class again"
        raise StoreError(f"damaged: {place.url}/{relative}: {cause}") from error
