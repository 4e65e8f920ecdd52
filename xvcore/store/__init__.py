"""Tables as Parquet files that appear whole or not at all, on a disk or an object store."""

from xvcore.store.schema import SCHEMAS, Column, Table
from xvcore.store.store import Store

__all__ = ["SCHEMAS", "Column", "Store", "Table"]
