"""What of a store goes into an export: its runs, their tables, and the pictures that the networks saw."""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa

from xvcore.errors import unknown_name
from xvcore.keys import digest
from xvcore.query import table
from xvcore.query.files import files
from xvcore.query.filters import parse
from xvcore.query.tables import arrow
from xvcore.store import SCHEMAS, Store, Table
from xvcore.store.schema import MAP, RLE

_PLACE = ("run_id", "class_id", "image_class_id", "image_id")
INPUT_PX = "px of the model input"
"""Unit of boxes that lie on the pictures of an export."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An image as networks saw it: cropped and scaled to their input. Boxes and masks are in its pixels.

    Parameters
    ----------
    key : unique in an export, fit for a file's name
    dataset, split, class_id, image_id, sha256 : which image
    run_ids : runs whose networks saw these pixels
    """

    key: str
    dataset: str
    split: str | None
    class_id: str
    image_id: str
    sha256: str | None
    run_ids: tuple[str, ...]


@dataclass(frozen=True)
class Content:
    """What is exported of a store.

    Parameters
    ----------
    store : the store
    run_ids : runs, by id; ``None``: all, and what is joined over several
    pictures : gives a picture as a run's network saw it: called with the run's row, image id and class id
    """

    store: Store
    run_ids: tuple[str, ...] | None
    pictures: Callable[[Mapping[str, Any], str, str], np.ndarray | None]

    def __post_init__(self) -> None:
        known = set(self.store.runs()["run_id"])
        for run_id in self.run_ids or ():
            if run_id not in known:
                raise unknown_name(f"run of {self.store.url}:", run_id, known)

    @functools.cached_property
    def runs(self) -> dict[str, dict[str, Any]]:
        """The rows of the runs by id."""
        rows = table(self.store, "runs", run_id=self.run_ids).to_dict("records")
        return {str(row["run_id"]): {str(name): value for name, value in row.items()} for row in rows}

    @functools.cached_property
    def tables(self) -> tuple[Table, ...]:
        """Tables with rows, by name; without what classes leave for a later stage, which a run makes again."""
        named = (SCHEMAS[name] for name in SCHEMAS)
        lasting = (each for each in named if each.is_published or each.shard != "class_id")
        return tuple(each for each in lasting if any(rows.num_rows for rows in self.rows(each, each.grain[:1])))

    def rows(
        self, schema: Table, names: Sequence[str] | None = None, *, run_id: str | None = None
    ) -> Iterator[pa.Table]:
        """Yield the rows of a table, run by run (or data set by data set), in its order, without empty ones.

        Parameters
        ----------
        schema : the table
        names : columns; ``None``: all
        run_id : only of this run
        """
        columns = [column.name for column in schema.select(names)]
        for owner in self._owners(schema):
            if run_id not in (None, owner):
                continue
            rows = arrow(self.store, schema, parse(schema, None, {schema.owner: owner}), columns)
            if rows.num_rows:
                yield rows

    @functools.cached_property
    def images(self) -> dict[tuple[str, str | None, str], Seen]:
        """The images that networks saw, by run, class (``None``: any) and image id."""
        return {
            (run_id, class_id, each.image_id): each
            for each in self.seen
            for run_id in each.run_ids
            for class_id in (None, each.class_id)
        }

    def image_of(self, row: Mapping[str, Any]) -> Seen:
        """Return the image that a row of a table of :meth:`on_images` is about."""
        return self.images[self._place(row)]

    def _place(self, row: Mapping[str, Any]) -> tuple[str, str | None, str]:
        """Return by what the image of a row is found: the class of the row may be another than that of the image."""
        exact = (row["run_id"], row.get("image_class_id", row.get("class_id")), row["image_id"])
        return exact if exact in self.images else (row["run_id"], None, row["image_id"])

    @functools.cached_property
    def seen(self) -> list[Seen]:
        """Every image once, however many networks saw it so, in the order of classes and images."""
        found: dict[str, Seen] = {}
        for rows in self.rows(SCHEMAS["predictions"], ["run_id", "class_id", "image_id", "sha256"]):
            for row in rows.to_pylist():
                run_id, class_id, image_id = row["run_id"], row["class_id"], row["image_id"]
                run = self.runs[run_id]
                key = digest([_sight(run), class_id, image_id], 20)
                first = Seen(key, run["dataset"], run["split"], class_id, image_id, row["sha256"], ())
                before = found.get(key, first)
                found[key] = dataclasses.replace(before, run_ids=(*before.run_ids, run_id))
        return sorted(found.values(), key=lambda each: (each.dataset, each.class_id, each.image_id, each.key))

    def on_images(self) -> tuple[Table, ...]:
        """Return the tables of which every row belongs to an image that was seen."""
        return tuple(
            schema
            for schema in self.tables
            if {"run_id", "image_id"} <= set(schema.names)
            and all(
                self._place(row) in self.images
                for rows in self.rows(schema, [name for name in _PLACE if name in schema])
                for row in rows.to_pylist()
            )
        )

    def pixels(self, image: Seen) -> np.ndarray | None:
        """Return the picture (h, w, 3), 0 … 255; ``None`` where it cannot be had any more."""
        found = self.pictures(self.runs[image.run_ids[0]], image.image_id, image.class_id)
        return None if found is None else np.ascontiguousarray(found)

    @functools.cached_property
    def class_names(self) -> dict[tuple[str, str], str]:
        """Names of classes in words, by data set and class id."""
        rows = table(self.store, "classes", columns=["dataset", "class_id", "class_name"])
        return {(str(dataset), str(class_id)): str(name) for dataset, class_id, name in rows.itertuples(index=False)}

    def _owners(self, schema: Table) -> list[str]:
        there = {unquote(file.path.split("/")[2].removesuffix(".parquet")) for file in files(self.store, schema)}
        if self.run_ids is None:
            return sorted(there)
        datasets = {row["dataset"] for row in self.runs.values()}
        return sorted(there & (set(self.run_ids) if schema.owner == "run_id" else datasets))


def map_sides(schema: Table) -> dict[str, tuple[str, str]]:
    """Return the columns of a table that are maps, with those of their height and width, which follow them."""
    names, found = schema.names, {}
    for place, column in enumerate(schema.columns):
        sides = [[name for name in names[place:] if name.endswith(end)] for end in ("_h", "_w")]
        if column.type == MAP and all(sides):
            found[column.name] = (sides[0][0], sides[1][0])
    return found


def masks_of(schema: Table) -> list[str]:
    """Return the columns of a table that are binary masks."""
    return [column.name for column in schema.columns if column.type == RLE]


def has_boxes(schema: Table) -> bool:
    """Say whether rows are boxes on images in the pixels of the network's input."""
    return {"image_id", *"xywh"} <= set(schema.names) and schema["x"].unit == INPUT_PX


def plain_columns(schema: Table) -> list[str]:
    """Return the columns of a table with one number, text or truth a cell: those that every format can hold."""
    return [
        column.name
        for column in schema.columns
        if not pa.types.is_nested(column.type)
        and not pa.types.is_binary(column.type)
        and not pa.types.is_timestamp(column.type)
    ]


def plain(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return some cells of a row as JSON takes them: what is missing, NaN too, is left out."""
    cells = ((name, row[name]) for name in names)
    return {name: value for name, value in cells if value is not None and value == value}  # noqa: PLR0124  NaN


def _sight(run: Mapping[str, Any]) -> str:
    """Return a digest of how a network sees images; equal ones see the same pixels."""
    env = json.loads(run["env"] or "{}")
    unseen = ("mean", "std", "channels")
    seen = {name: value for name, value in env.get("preprocessing", {}).items() if name not in unseen}
    return digest([run["dataset"], run["split"], run["input_px"], seen])
