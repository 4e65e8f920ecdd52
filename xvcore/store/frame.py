"""Arrow tables as DataFrames whose types follow from the schema, never from the values that happen to be there."""

import numpy as np
import pandas as pd
import pyarrow as pa

from xvcore.store.schema import Table

_WITH_MISSING = {
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}


def data_frame(table: Table, rows: pa.Table) -> pd.DataFrame:
    """Return the rows as a DataFrame.

    Strings are Python's, in columns of type ``object``, a missing one is ``None`` (whatever the version of pandas);
    nullable integers and booleans have pandas' nullable types; missing floats are NaN; lists are numpy arrays;
    pictures and masks are dicts.
    """
    columns = {name: _series(table, name, rows.column(name)) for name in rows.column_names}
    return pd.DataFrame(columns, copy=True)


def _series(table: Table, name: str, values: pa.ChunkedArray) -> pd.Series:
    if pa.types.is_string(values.type):
        return pd.Series(np.asarray(values.to_numpy(), dtype=object), dtype=object)
    if table[name].nullable and values.type in _WITH_MISSING:
        return pd.Series(values.to_pandas(types_mapper=_WITH_MISSING.get))
    return pd.Series(values.to_pandas())
