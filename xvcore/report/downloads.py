"""Rows as CSV files beside the page that shows them: the numbers of the tables as they are, none rounded."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd


def csv_of(frame: pd.DataFrame, columns: Sequence[str] | None = None) -> str:
    """Return the text of a file: a line a row, names first; what is missing is empty, lists are joined by blanks."""
    names = list(columns) if columns is not None else list(frame.columns)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(zip(*(_cells(frame[name]) for name in names), strict=True))
    return buffer.getvalue()


def _cells(column: pd.Series) -> list[str]:
    values = column.to_numpy() if isinstance(column.dtype, np.dtype) else column.array  # numbers as they are kept
    return [_cell(value) for value in values]


def _cell(value: Any) -> str:
    """Return a value as its type writes it: a float of 32 bits with the digits that such a one has."""
    if isinstance(value, np.ndarray | list):
        return " ".join(map(str, value))
    return "" if value is None or pd.isna(value) else str(value)
