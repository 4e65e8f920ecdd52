"""Image datasets in Parquet files, as those of Hugging Face: a column of encoded images and one of labels."""

import functools
import json
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from xvcore.data.dataset import ImageRecord, datasets
from xvcore.data.decode import MAX_BYTES
from xvcore.data.labelling import classes_of, in_order, read_names, say_left_out
from xvcore.data.places import Files, Images, files_at
from xvcore.data.splits import split_in, split_of
from xvcore.errors import DataError, ImageError, unknown_name

LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "target", "wnid", "species")
"""What a column of labels may be called where the file does not say which it is."""
MAX_GROUP_BYTES = 4_000_000_000
"""Largest group of images that is read: it is read as a whole."""
N_HELD = 3
"""Groups of rows whose images are held in memory: threads that decode in order are never in more."""


@dataclass(frozen=True, eq=False)
class ParquetImages(Images):
    """Images in cells of tables; an image id is the file and the number of the row.

    Parameters
    ----------
    name, split, classes, records : see :class:`~xvcore.data.places.Images`
    files : where the tables lie
    column : of the images
    groups : for each table the number of the first row of each of its groups, and last that of all rows
    """

    files: Files
    column: str
    groups: Mapping[str, tuple[int, ...]]

    def read(self, record: ImageRecord) -> bytes:
        """Return the file of an image.

        Raises
        ------
        OSError, ImageError
            The table cannot be read, or the cell holds no bytes, or too many.
        DataError
            Nothing is left where the tables were: it is not the image's fault.
        """
        self._check_known(record)
        table, _, number = record.image_id.rpartition("/")
        row = int(number)
        starts = self.groups[table]
        group = next(at for at in range(len(starts) - 1) if row < starts[at + 1])
        try:
            cell = self._cells(table, group)[row - starts[group]].as_py()
        except FileNotFoundError as error:
            if not self.files.is_there():
                raise DataError(f"{self.files.url} is empty now, or away; is the disk there?") from error
            raise
        data = cell["bytes"] if isinstance(cell, dict) else cell
        if data is None:
            raise ImageError("the cell holds no image, or only the path of one, which is not followed")
        if len(data) > MAX_BYTES:
            raise ImageError(f"too large: {len(data)} bytes, the limit is {MAX_BYTES}")
        return bytes(data)

    @functools.cached_property
    def _held(self) -> tuple[threading.Lock, OrderedDict[tuple[str, int], Any]]:
        return threading.Lock(), OrderedDict()

    def _cells(self, table: str, group: int) -> Any:
        """Return the images of a group of rows; the last few groups are held."""
        lock, held = self._held
        with lock:
            if (table, group) not in held:
                while len(held) >= N_HELD:
                    held.popitem(last=False)
                with _table(self.files, table, ImageError) as opened:
                    column = opened.schema_arrow.field(self.column)
                    path = f"{self.column}.bytes" if _is_struct(column) else self.column
                    _check_group(opened.metadata.row_group(group), path)
                    held[table, group] = opened.read_row_group(group, columns=[path]).column(self.column)
            held.move_to_end((table, group))
            return held[table, group]


@datasets.register("parquet")
def parquet_images(
    path: str | None,
    *,
    split: str | None = None,
    image: str | None = None,
    label: str | None = None,
    names: str | None = None,
) -> ParquetImages:
    """Return the dataset ``parquet:PATH[?split=&image=COLUMN&label=COLUMN&names=FILE]``.

    Images are cells of bytes, or structs of ``bytes`` and ``path`` (a path alone is not followed). Which columns hold
    images and labels, and how the classes are called, is what the schema says (Hugging Face's ``Image`` and
    ``ClassLabel``), else it is told by types and names of the columns. Labels that are missing or -1 are left out.

    Parameters
    ----------
    path : a ``.parquet`` file or a folder of them; also as a fsspec URL
    split : train, val or test, as names of files and folders say it (``data/train-00000-of-00005.parquet``); None: all
    image : column of the images, where there are several
    label : column of the labels, where there are several
    names : file with the names of the classes, see :func:`~xvcore.data.labelling.read_names`

    Raises
    ------
    DataError
        No such files, split or column, columns that cannot be told apart, or a table that cannot be read.
    """
    files = files_at("parquet", path)
    tables = _of_split(files, [name for name in files.names() if name.endswith((".parquet", ".parq", ".pq"))], split)
    columns: set[tuple[str, str, tuple[str, ...] | None]] = set()
    groups: dict[str, tuple[int, ...]] = {}
    label_of: dict[str, str] = {}
    missing: Counter[str] = Counter()
    for table in tables:
        with _table(files, table, DataError) as opened:
            columns.add(chosen := _columns(f"{files.url}/{table}", opened.schema_arrow, image, label))
            sizes = [opened.metadata.row_group(at).num_rows for at in range(opened.metadata.num_row_groups)]
            groups[table] = (0, *accumulate(sizes))
            cells = opened.read(columns=[chosen[1]]).column(chosen[1]).to_pylist()
        told = {row: str(cell).strip() for row, cell in enumerate(cells) if cell is not None and cell != -1}
        label_of |= {f"{table}/{row:08d}": each for row, each in told.items() if each}
        missing["images without label"] += len(cells) - sum(map(bool, told.values()))
    if len(columns) > 1:
        raise DataError(f"{files.address}: the tables say different things of images and labels; open them one by one")
    say_left_out(files.address, missing)
    if not label_of:
        raise DataError(f"{files.address}: no image with a label in {len(tables)} tables")
    ((image_column, _, class_names),) = columns
    classes = classes_of(files.address, label_of.values(), read_names(files, names) if names else class_names)
    records: dict[str, list[ImageRecord]] = {}
    for image_id in sorted(label_of):
        class_id = classes[label_of[image_id]].class_id
        record = ImageRecord(image_id, f"{files.url}/{image_id.rpartition('/')[0]}", class_id)
        records.setdefault(class_id, []).append(record)
    return ParquetImages(
        name=f"parquet:{files.address}",
        split=split_of(split) or split if split else "all",
        classes=in_order(classes),
        records={class_id: tuple(found) for class_id, found in records.items()},
        files=files,
        column=image_column,
        groups=groups,
    )


def _of_split(files: Files, tables: list[str], split: str | None) -> list[str]:
    if not tables:
        raise DataError(f"dataset parquet: {files.address} has no .parquet files")
    if split is None:
        return tables
    known = {each: split_in(each) for each in tables}
    found = [each for each in tables if known[each] == (split_of(split) or split)]
    if not found:
        splits = {each for each in known.values() if each}
        raise DataError(str(unknown_name(f"split of {files.address}:", split, splits)))
    return found


@contextmanager
def _table(files: Files, name: str, kind: type[DataError] | type[ImageError]) -> Iterator[Any]:
    """Give a table to be read; what is wrong with it is an error of the kind that is asked for."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with files.opened(name) as opened, parquet.ParquetFile(opened) as table:
            yield table
    except MemoryError:  # the machine's fault, of Arrow as well
        raise
    except pa.ArrowException as error:
        raise kind(f"{files.url}/{name} cannot be read as Parquet: {error}") from error
    except OSError as error:
        if kind is ImageError:
            raise
        raise DataError(f"{files.url}/{name} cannot be read as Parquet: {error}") from error


def _columns(where: str, schema: Any, image: str | None, label: str | None) -> tuple[str, str, tuple[str, ...] | None]:
    """Return the column of the images, that of the labels, and the names of the classes by number."""
    features = _features(where, schema)
    for asked in (image, label):
        if asked is not None and asked not in schema.names:
            raise DataError(str(unknown_name(f"column of {where}:", asked, schema.names)))
    images = [name for name, each in features.items() if isinstance(each, dict) and each.get("_type") == "Image"]
    images = [name for name in images if name in schema.names] or [each.name for each in schema if _holds_bytes(each)]
    chosen = _one(where, "image", image, images, schema.names)
    if not _holds_bytes(schema.field(chosen)):
        raise DataError(
            f"{where}: column {chosen} holds {schema.field(chosen).type}; expected bytes, or a struct of them"
        )
    labels = [name for name, each in features.items() if isinstance(each, dict) and each.get("_type") == "ClassLabel"]
    labels = [name for name in labels if name in schema.names]
    labels = labels or [name for name in LABEL_COLUMNS if name in schema.names][:1]
    target = _one(where, "label", label, labels, schema.names)
    feature = features.get(target)
    names = feature.get("names") if isinstance(feature, dict) else None
    is_list = isinstance(names, list) and bool(names) and all(isinstance(each, str) for each in names)
    return chosen, target, tuple(names) if is_list and isinstance(names, list) else None


def _features(where: str, schema: Any) -> dict[str, Any]:
    """Return what Hugging Face says of the columns; nothing where it says nothing."""
    written = (schema.metadata or {}).get(b"huggingface")
    if written is None:
        return {}
    try:
        features = json.loads(written)["info"]["features"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where}: what its schema says for Hugging Face cannot be understood: {error!r}") from error
    return features if isinstance(features, dict) else {}


def _one(where: str, what: str, asked: str | None, found: Sequence[str], columns: Sequence[str]) -> str:
    if asked is not None:
        return asked
    if len(found) != 1:
        problem = f"several columns have a {what}" if found else f"no column has a {what} that could be told"
        raise DataError(f"{where}: {problem} ({', '.join(found or columns)}); choose one: ?{what}=COLUMN")
    return found[0]


def _check_group(group: Any, path: str) -> None:
    columns = (group.column(at) for at in range(group.num_columns))
    n_bytes = sum(each.total_uncompressed_size for each in columns if each.path_in_schema == path)
    if n_bytes > MAX_GROUP_BYTES:
        raise ImageError(f"too large: its group of rows holds {n_bytes} bytes, the limit is {MAX_GROUP_BYTES}")


def _is_struct(column: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_struct(column.type))


def _holds_bytes(column: Any) -> bool:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _holds_bytes(kind.field(at))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
