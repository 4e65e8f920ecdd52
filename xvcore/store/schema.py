"""What a table is: its columns with type, unit and description, and the columns that make a row unique.

The tables of a folder of xvcore, or of a plug-in, are declared in its module ``tables``; adding a table is adding an
entry there, nothing else.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from xvcore.errors import unknown_name
from xvcore.registry import Registry

Encoding = Literal["dictionary", "split", "delta", "plain"]
Kind = Literal["value", "json", "picture", "file"]
Growth = str
"""What the work on a class, or the size of a part, is proportional to: ``images``; what a family counts in the record
of a class (``regions``: the column ``n_regions``, up to the parameter ``max_regions``); or the pairs of either
(``image pairs``, ``region pairs``)."""

PICTURE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
"""An encoded picture in the layout that Hugging Face's readers show as an image."""
RLE = pa.struct([pa.field("size", pa.list_(pa.int32())), pa.field("counts", pa.binary())])
"""A binary mask as COCO run lengths; ``size`` is height, width."""
MAP = pa.list_(pa.float16())
"""A map, row by row; its height and width are columns of their own."""
TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True)
class Column:
    """A column: what it holds, in which unit, and how it is stored.

    Parameters
    ----------
    name : never an attribute of a DataFrame (``mask``, ``map``, ``drop``, ``rank`` would be unreachable)
    type : Arrow type, chosen wide once
    description : one sentence
    unit : e.g. ``"px"``; empty where there is none
    nullable : whether a value may be missing; NaN counts as missing (SQL would spread it)
    encoding : of the values: ``"split"`` for 32-bit floats, ``"delta"`` for rising integers, ``"dictionary"`` for keys
        and for pictures that come in many rows
    kind : ``"json"``: mappings are written as canonical JSON; ``"picture"``: announced to Hugging Face's readers;
        ``"file"``: names of files of the store, which exports take along
    choices : the only values allowed, if any
    role : in ``class_runs``, of a count that a family adds: ``"found"``: what was looked for, which lists show;
        ``"step"``: something on the way there

    Examples
    --------
    >>> from xvcore.store import SCHEMAS
    >>> SCHEMAS["masks"]["area_frac"].unit
    '0 … 1'
    """

    name: str
    type: pa.DataType
    description: str
    unit: str = ""
    nullable: bool = False
    encoding: Encoding = "plain"
    kind: Kind = "value"
    choices: tuple[str, ...] = ()
    role: Literal["", "step", "found"] = ""

    @property
    def field(self) -> pa.Field:
        """The Arrow field, with unit and description as metadata.

        It is nullable for Arrow in any case (the writer refuses nulls where they do not belong), so that a reader's
        schema fits files that were written before the column existed.
        """
        metadata = {"description": self.description, "unit": self.unit}
        return pa.field(self.name, self.type, nullable=True, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its columns, what makes a row unique, and how its files are named.

    Parameters
    ----------
    name : of the table
    description : what a row is
    columns : keys first
    grain : columns that identify a row
    owner : the column that names the file's folder: ``run_id``, or ``dataset`` for what no run decides
    shard : the column that names the file; ``None``: one file an owner
    is_published : whether ``publish`` joins the parts into one file
    rows_per_group : rows in a Parquet row group, the unit that filters skip
    version : of the schema; columns are only ever added, and are nullable then
    growth : what the size of a part is proportional to

    Examples
    --------
    >>> from xvcore.store import SCHEMAS
    >>> SCHEMAS["clusters"].grain
    ('run_id', 'class_id', 'cluster_id')
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    grain: tuple[str, ...]
    owner: str = "run_id"
    shard: str | None = "class_id"
    is_published: bool = True
    rows_per_group: int = 10_000
    version: int = 1
    growth: Growth = "images"
    _by_name: dict[str, Column] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {column.name: column for column in self.columns})

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(self._by_name)

    @property
    def arrow(self) -> pa.Schema:
        """The Arrow schema, with units and descriptions as field metadata."""
        return pa.schema([column.field for column in self.columns])

    def __getitem__(self, name: str) -> Column:
        if name not in self._by_name:
            raise unknown_name(f"column of {self.name}", name, self._by_name)
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def select(self, names: Sequence[str] | None) -> tuple[Column, ...]:
        """Return the columns of these names in the order given; all of them for ``None``."""
        return self.columns if names is None else tuple(self[name] for name in names)


SCHEMAS: Registry[Table] = Registry("table", "xvcore.*.tables")
"""Every table by name."""


def declare(*tables: Table) -> None:
    """Make tables known under their names."""
    for table in tables:
        SCHEMAS.register(table.name)(table)


_COUNTS: dict[str, tuple[Column, ...]] = {}
"""What each family counts, by the name of its first column."""


def count_in_record(*columns: Column) -> None:
    """Add counts of a family to the record of a class, ``class_runs``; other families leave them empty.

    The columns of a family stay together, and families stand in the order of their first columns' names, so that the
    table is the same whichever of them was imported first.
    """
    _COUNTS[columns[0].name] = columns

    def with_counts(record: Table) -> Table:
        place = record.names.index("seconds")
        before = (column for column in record.columns[:place] if not column.role)
        counts = (column for first in sorted(_COUNTS) for column in _COUNTS[first])
        return dataclasses.replace(record, columns=(*before, *counts, *record.columns[place:]))

    SCHEMAS.amend("class_runs", with_counts)


def key(name: str, description: str, *, nullable: bool = False, choices: tuple[str, ...] = ()) -> Column:
    """Return a column of names that repeat: keys, states, kinds."""
    return Column(name, pa.string(), description, nullable=nullable, encoding="dictionary", choices=choices)


def text(name: str, description: str, *, nullable: bool = False) -> Column:
    """Return a column of free text."""
    return Column(name, pa.string(), description, nullable=nullable)


def stored_file(name: str, description: str) -> Column:
    """Return a column of files that lie in the store beside its tables, named relative to it."""
    return Column(name, pa.string(), description, nullable=True, kind="file")


def mapping(name: str, description: str, *, nullable: bool = False) -> Column:
    """Return a column of JSON; the writer takes mappings."""
    return Column(name, pa.string(), description, nullable=nullable, kind="json")


def count(name: str, description: str, unit: str = "", *, nullable: bool = False) -> Column:
    """Return a column of whole numbers (32 bits)."""
    return Column(name, pa.int32(), description, unit, nullable)


def step(name: str, description: str) -> Column:
    """Return a column of the record of a class that counts something on the way: ``n_`` and what it is."""
    return Column(name, pa.int32(), description, nullable=True, role="step")


def found(name: str, description: str) -> Column:
    """Return a column of the record of a class that counts what was looked for: ``n_`` and what it is."""
    return Column(name, pa.int32(), description, nullable=True, role="found")


def ordinal(name: str, description: str) -> Column:
    """Return a column of 32-bit numbers that rise along the file."""
    return Column(name, pa.int32(), description, encoding="delta")


def small(name: str, description: str, unit: str = "", *, nullable: bool = False) -> Column:
    """Return a column of small whole numbers (16 bits): pixels of a network's input, sides of a map."""
    return Column(name, pa.int16(), description, unit, nullable)


def real(name: str, description: str, unit: str = "", *, nullable: bool = False) -> Column:
    """Return a column of 32-bit floats."""
    return Column(name, pa.float32(), description, unit, nullable, encoding="split")


def flag(name: str, description: str, *, nullable: bool = False) -> Column:
    """Return a column of true and false."""
    return Column(name, pa.bool_(), description, nullable=nullable)


def moment(name: str, description: str, *, nullable: bool = False) -> Column:
    """Return a column of times, in microseconds, UTC."""
    return Column(name, TIME, description, "UTC", nullable)


def picture(name: str, description: str, *, is_repeated: bool = False) -> Column:
    """Return a column of encoded pictures; a picture may always be left out, it can be made again.

    ``is_repeated``: many rows have the same, which is stored once.
    """
    encoding: Encoding = "dictionary" if is_repeated else "plain"
    return Column(name, PICTURE, description, nullable=True, encoding=encoding, kind="picture")


def run_length(name: str, description: str, *, nullable: bool = False) -> Column:
    """Return a column of binary masks."""
    return Column(name, RLE, description, nullable=nullable)


def maps(name: str, description: str, unit: str = "", *, nullable: bool = False) -> Column:
    """Return a column of maps; declare their height and width beside it.

    Not byte-stream-split: DuckDB does not read that encoding of 16-bit floats, which would save a sixth.
    """
    return Column(name, MAP, description, unit, nullable)


def listed(name: str, value: Any, description: str, unit: str = "", *, nullable: bool = False) -> Column:
    """Return a column of lists of ``value`` (an Arrow type)."""
    return Column(name, pa.list_(value), description, unit, nullable)


RUN = key("run_id", "digest of all that decides the numbers, after the network's and the method's name")
MODEL = key("model", "the network")
CLASS = key("class_id", "the data set's own name of the class, e.g. a WordNet id")
KEYS = (RUN, MODEL, CLASS)
"""First columns of each table of a run."""
IMAGE = key("image_id", "the image, unique in its data set")
DATASET = key("dataset", "the data set")


def box(what: str) -> tuple[Column, ...]:
    """Return columns x, y (top left corner), w, h in pixels of the network's input."""
    return (
        small("x", f"left edge of {what}", "px of the model input"),
        small("y", f"top edge of {what}", "px of the model input"),
        small("w", f"width of {what}", "px of the model input"),
        small("h", f"height of {what}", "px of the model input"),
    )


def summary_table(name: str, description: str, columns: tuple[Column, ...]) -> Table:
    """Return the table of the pieces of a summary; ``columns`` are empty where no image of the classes counts."""
    keys = (
        RUN,
        MODEL,
        key("piece", "digest of the classes and images that are in it"),
        listed("class_ids", pa.string(), "classes whose images are in it"),
        listed("digests", pa.string(), "digest of the images of each that count, and of their place in the data set"),
    )
    return Table(name, description, (*keys, *columns), ("run_id", "piece"), shard="piece", is_published=False)
