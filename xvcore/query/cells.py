"""Cells of an answer as text: lists and structures as JSON, masks as COCO's, pictures as a word."""

import json
import re
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

_PICTURES = {b"\xff\xd8\xff": "jpeg", b"\x89PNG": "png", b"GIF8": "gif"}
_PRINTABLE = re.compile(rb"[\x20-\x7e]*")
_INTEGERS = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
}


def as_text(rows: pa.Table, *, letters: int | None = None) -> pd.DataFrame:
    r"""Return rows for printing: numbers, times and texts as they are, everything else as text in one line.

    Lists, structures and maps are JSON with every number in it, 32-bit floats with the digits that tell them apart; NaN
    is ``null``, infinity ``1e999``. A picture is its path, or a word such as ``<jpeg 3.1 kB>``; other bytes are text
    where they are printable (the run lengths of a mask), else ``\xff`` for each.

    Parameters
    ----------
    rows : as DuckDB or pyarrow gives them
    letters : of such a cell that are shown; None: all
    """
    columns = [_series(column.combine_chunks(), letters) for column in rows.columns]
    frame = pd.concat(columns, axis=1) if columns else pd.DataFrame()
    frame.columns = pd.Index(rows.column_names)
    return frame


def _series(values: Any, letters: int | None) -> pd.Series:
    kind = values.type
    if pa.types.is_dictionary(kind):
        values, kind = values.dictionary_decode(), kind.value_type
    if pa.types.is_integer(kind):
        return pd.Series(values.to_pandas(types_mapper=_INTEGERS.get if values.null_count else None))
    if pa.types.is_interval(kind):
        return pd.Series([_interval(each) for each in values.to_pylist()], dtype=object)
    if pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_null(kind):
        return pd.Series(np.asarray(values.to_numpy(zero_copy_only=False), dtype=object), dtype=object)
    if pa.types.is_floating(kind) or pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        return pd.Series(values.to_pandas())
    texts = _texts(values)
    return pd.Series([text if text is None else _shortened(text, letters) for text in texts], dtype=object)


def _interval(value: Any) -> Any:
    """Return a difference of times; as text where it has months, which are of no one length."""
    if value is None:
        return None
    time = pd.Timedelta(days=value.days, nanoseconds=value.nanoseconds)
    return f"{value.months} months {time}" if value.months else time


def _shortened(text: str, letters: int | None) -> str:
    return text if letters is None or len(text) <= letters else f"{text[: letters - 1]}…"


def _texts(values: Any) -> list[str | None]:
    """Return the text of each cell, None where there is none; a picture or bytes stand without quotation marks."""
    if pa.types.is_binary(values.type) or _is_picture(values.type):
        return _words(values)
    is_there = values.is_valid().to_pylist()
    return [text if here else None for text, here in zip(_json(values), is_there, strict=True)]


def _is_picture(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and {field.name for field in kind} == {"bytes", "path"}


def _words(values: Any) -> list[str | None]:
    """Return bytes, or pictures with their paths, as words."""
    if pa.types.is_binary(values.type):
        return [None if each is None else _word(each) for each in values.to_pylist()]
    cells = ((None, None) if cell is None else (cell["bytes"], cell["path"]) for cell in values.to_pylist())
    return [path if path or data is None else _word(data) for data, path in cells]


def _word(data: bytes) -> str:
    kind = next((kind for start, kind in _PICTURES.items() if data.startswith(start)), None)
    if kind:
        return f"<{kind} {len(data) / 1000:.1f} kB>"
    if _PRINTABLE.fullmatch(data):
        return data.decode("ascii")
    return "".join(f"\\x{byte:02x}" for byte in data)


def _json(values: Any) -> list[str]:
    """Return each value as JSON; ``null`` where there is none."""
    kind = values.type
    if pa.types.is_map(kind):
        return _maps(values)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inside = iter(_json(values.flatten()))
        lengths = values.value_lengths().to_pylist()
        return ["null" if length is None else f"[{', '.join(islice(inside, length))}]" for length in lengths]
    if pa.types.is_binary(kind) or _is_picture(kind):
        return ["null" if word is None else _quoted(word) for word in _words(values)]
    if pa.types.is_struct(kind):
        return _structures(values)
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return [_NUMBERS.get(text, text) for text in pc.cast(values, pa.string()).to_pylist()]
    return ["null" if each is None else _quoted(str(each)) for each in values.to_pylist()]


_NUMBERS = {None: "null", "nan": "null", "-nan": "null", "inf": "1e999", "-inf": "-1e999"}
"""What JSON writes otherwise than Arrow."""


def _structures(values: Any) -> list[str]:
    names = [_quoted(field.name) for field in values.type]
    inside: Sequence[list[str]] = [_json(each) for each in values.flatten()]
    is_there = values.is_valid().to_pylist()
    return [
        "{" + ", ".join(f"{name}: {texts[row]}" for name, texts in zip(names, inside, strict=True)) + "}"
        if here
        else "null"
        for row, here in enumerate(is_there)
    ]


def _maps(values: Any) -> list[str]:
    kind = values.type
    pairs = values.cast(pa.list_(pa.struct([pa.field("key", kind.key_type), pa.field("value", kind.item_type)])))
    entries = pairs.flatten()
    keys, inside = (_json(entries.field(name)) for name in ("key", "value"))
    if not pa.types.is_string(kind.key_type):
        keys = [_quoted(key) for key in keys]
    texts = iter(f"{key}: {text}" for key, text in zip(keys, inside, strict=True))
    lengths = pairs.value_lengths().to_pylist()
    return ["null" if length is None else "{" + ", ".join(islice(texts, length)) + "}" for length in lengths]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
