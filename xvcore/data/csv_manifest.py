"""A table of images: a CSV file with a column of paths and one of classes."""

import csv
import io
import re
from collections.abc import Mapping, Sequence

from xvcore.data.dataset import datasets
from xvcore.data.files import has_image_name
from xvcore.data.labelling import classes_of, in_order
from xvcore.data.places import Files, ImagesAt, files_at
from xvcore.errors import DataError, ImageError, unknown_name

IMAGE_COLUMNS = ("path", "image", "image_path", "file", "filename", "file_name", "filepath", "file_path", "img", "name")
LABEL_COLUMNS = ("class", "class_name", "label", "class_id", "category", "target", "species", "wnid")
SPLIT_COLUMNS = ("split", "set", "subset", "partition")
"""What the columns may be called, in upper or lower case; the first of each that is there is taken."""


@datasets.register("csv")
def csv_manifest(
    path: str | None,
    *,
    image: str | None = None,
    label: str | None = None,
    root: str | None = None,
    split: str | None = None,
) -> ImagesAt:
    """Return the dataset ``csv:FILE[?image=COLUMN&label=COLUMN&root=FOLDER&split=VALUE]``.

    The first line names the columns, commas, semicolons or tabs separate them; a file of two columns, the first of
    which are names of images, needs no header. An image that is listed and not there is a row with its error.

    Parameters
    ----------
    path : the table, a file or a fsspec URL
    image : column of the paths; None: one of :data:`IMAGE_COLUMNS`
    label : column of the classes; None: one of :data:`LABEL_COLUMNS`
    root : folder or URL that paths are relative to, and lie in; None: where the table lies
    split : value of the column ``split`` (:data:`SPLIT_COLUMNS`); None: all rows

    Raises
    ------
    DataError
        No such file, folder, column or split; a row without path or class; a path that leads out of the folder, or that
        is listed in two classes.
    """
    table = files_at("csv", path)
    if table.only is None:
        raise DataError(f"dataset csv: {table.url} is a folder; expected a table of path and class")
    base = table if root is None else files_at("csv", root)
    if base.only is not None and root is not None:
        raise DataError(f"dataset csv: root {root} is a file; expected a folder")
    label_of = _labels(table, base, image, label, split)
    return ImagesAt(
        name=f"csv:{table.address}",
        split=split or "all",
        files=Files(base.url, base.root, base.filesystem),
        **_by_class(table.address, base, label_of),
    )


def _labels(table: Files, base: Files, image: str | None, label: str | None, split: str | None) -> dict[str, str]:
    """Return the label of each image of a split."""
    source, rows = table.address, _rows(table)
    header, first = _header(source, rows)
    at_image = _column(source, header, image, IMAGE_COLUMNS, "image")
    at_label = _column(source, header, label, LABEL_COLUMNS, "label")
    at_split = None if split is None else _column(source, header, None, SPLIT_COLUMNS, "split")
    label_of: dict[str, str] = {}
    for number, row in enumerate(rows[first:], start=first + 1):
        if len(row) != len(header):
            raise DataError(f"{source}, row {number}: {len(row)} cells, expected {len(header)}")
        if at_split is None or row[at_split].strip() == split:
            image_id, told = _read_row(f"{source}, row {number}", base, row[at_image].strip(), row[at_label].strip())
            if label_of.setdefault(image_id, told) != told:
                raise DataError(f"{source}, row {number}: {image_id} is both {label_of[image_id]} and {told}")
    if not label_of and at_split is not None and split is not None:
        raise DataError(
            str(unknown_name(f"split of {source}:", split, {row[at_split].strip() for row in rows[first:]}))
        )
    if not label_of:
        raise DataError(f"{source}: no rows")
    return label_of


def _read_row(where: str, base: Files, written: str, label: str) -> tuple[str, str]:
    if not written or not label:
        raise DataError(f"{where}: no {'class' if written else 'path'}")
    try:
        return base.inside(written), label
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _by_class(source: str, files: Files, label_of: Mapping[str, str]) -> dict:
    """Return classes and records as the fields of a dataset."""
    classes = classes_of(source, label_of.values(), None)
    places: dict[str, list[str]] = {}
    for image_id, label in label_of.items():
        places.setdefault(classes[label].class_id, []).append(image_id)
    records = {class_id: files.records(image_ids, class_id) for class_id, image_ids in places.items()}
    return {"classes": in_order(classes), "records": records}


def _rows(table: Files) -> list[list[str]]:
    try:
        text = table.read(table.only or "").decode("utf-8-sig")
    except (OSError, ImageError, UnicodeDecodeError) as error:
        raise DataError(f"{table.address} cannot be read as a table: {error}") from error
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    try:
        return [
            row
            for row in csv.reader(
                io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
            )
            if row
        ]
    except csv.Error as error:
        raise DataError(f"{table.address} cannot be read as a table: {error}") from error


def _header(source: str, rows: Sequence[Sequence[str]]) -> tuple[list[str], int]:
    """Return the names of the columns, and the first row that is none of them."""
    if not rows:
        raise DataError(f"{source}: an empty table; expected a header and a row for each image")
    if len(rows[0]) == 2 and has_image_name(re.split(r"[/\\]", rows[0][0].strip())[-1]):
        return [IMAGE_COLUMNS[0], LABEL_COLUMNS[0]], 0
    return [cell.strip() for cell in rows[0]], 1


def _column(source: str, header: Sequence[str], asked: str | None, usual: Sequence[str], option: str) -> int:
    if asked is not None:
        if asked not in header:
            raise DataError(str(unknown_name(f"column of {source}:", asked, header)))
        return list(header).index(asked)
    lower = [cell.lower().replace(" ", "_") for cell in header]
    found = next((name for name in usual if name in lower), None)
    if found is None:
        raise DataError(
            f"{source}: which column has the {option}? It has {', '.join(header)}; expected {' or '.join(usual[:4])}"
            + ("" if option == "split" else f", or ?{option}=COLUMN")
        )
    return lower.index(found)
