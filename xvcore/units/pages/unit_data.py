"""The units of a network, layer by layer: statistics, and their strongest activations with pictures."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from xvcore.errors import StoreError
from xvcore.query import table
from xvcore.report.chapters import Network
from xvcore.report.names import page_names
from xvcore.report.rows import shard_rows
from xvcore.report.wording import mean, records
from xvcore.store import Store
from xvcore.store.encode import encoded
from xvcore.units.query.layers import scanned_layers

Row = Mapping[str, Any]

PER_PAGE = 20
"""Units on a page: with their pictures less than two megabytes. Addresses of units follow from it."""
TOP_COLUMNS = ("unit", "position", "image_id", "image_class_id", "activation", "w", "h", "scale", "error")


@dataclass(frozen=True)
class Unit:
    """A unit: its row of ``units``, and those of its strongest activations that have a picture, strongest first."""

    row: Row
    top: Sequence[Row] = ()

    @property
    def number(self) -> int:
        """Its number in the layer."""
        return int(self.row["unit"])

    @property
    def anchor(self) -> str:
        """Where its page has it."""
        return f"unit-{self.number}"

    @property
    def crops(self) -> list[bytes | None]:
        """Encoded pictures of what the unit saw."""
        return [encoded(row["crop"]) for row in self.top]

    @property
    def projections(self) -> list[bytes | None]:
        """Encoded projections; ``None`` where there is none."""
        return [encoded(row["projection"]) for row in self.top]


@dataclass(frozen=True)
class Layer:
    """A layer of a run.

    Parameters
    ----------
    name : as the network's modules are called
    folder : of its pages
    units : rows of ``units``, by number
    field : width and height of the receptive field in pixels; ``None`` where no unit was ever active
    """

    name: str
    folder: str
    units: Sequence[Row]
    field: tuple[int, int] | None

    @property
    def page(self) -> str:
        """The first page."""
        return f"{self.folder}/index.html"

    @property
    def table_page(self) -> str:
        """The page with the numbers of all units."""
        return f"{self.folder}/table.html"

    def page_of(self, unit: int) -> str:
        """Return the page that shows a unit: it follows from the unit's number alone."""
        first = unit // PER_PAGE * PER_PAGE
        return f"{self.folder}/from-{first}.html" if first else self.page

    @cached_property
    def dead(self) -> list[int]:
        """Numbers of the units that were never active."""
        return [int(row["unit"]) for row in self.units if row["dead"]]

    @property
    def share(self) -> float | None:
        """Mean over the living units of the share of their strongest images that is of one class."""
        return mean(pd.Series([row["top_class_share"] for row in self.units if not row["dead"]], dtype=float))


def read_layers(store: Store, network: Network) -> list[Layer]:
    """Return the layers of a run in the network's order, as the scans have it.

    Where the scans are not there (a copy of the published tables), those that see least of the image come first: the
    receptive field grows along a network. Among equals names decide, numbers in them by value.

    Raises
    ------
    StoreError
        A damaged file.
    """
    rows = records(table(store, "units", run_id=network.run_id))
    by_layer: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda each: int(each["unit"])):
        by_layer.setdefault(str(row["layer"]), []).append(row)
    names = page_names(sorted(by_layer))
    layers = [
        Layer(name, f"{network.folder}/{names[name]}", units, _field(store, network, name))
        for name, units in by_layer.items()
    ]
    place = {name: index for index, name in enumerate(scanned_layers(store, network.run_id))}
    return sorted(layers, key=lambda each: (place.get(each.name, -1), max(each.field or (0,)), _natural(each.name)))


def read_top(store: Store, network: Network, layer: Layer) -> dict[int, list[Row]]:
    """Return the activations with a picture by unit, strongest first.

    Raises
    ------
    StoreError
        A damaged file.
    """
    frame = shard_rows(store, network.run_id, "unit_top", layer.name)
    found: dict[int, list[Row]] = {}
    for row in records(frame[frame["crop"].notna()]):
        found.setdefault(int(row["unit"]), []).append(row)
    return {unit: sorted(rows, key=lambda row: int(row["position"])) for unit, rows in found.items()}


def digest_layer(store: Store, network: Network, layer: Layer) -> list[Any]:
    """Return what decides the pages of a layer, without its pictures: they follow from the rest."""
    top = shard_rows(store, network.run_id, "unit_top", layer.name, TOP_COLUMNS)
    return [[[str(value) for value in row.values()] for row in layer.units], top.to_csv(index=False)]


def columns_of(top: Mapping[int, Sequence[Row]]) -> int:
    """Return the columns of the sheets of a layer: as many as rows, all activations fit in."""
    return math.ceil(math.sqrt(max((int(row["position"]) for rows in top.values() for row in rows), default=1)))


def _field(store: Store, network: Network, layer: str) -> tuple[int, int] | None:
    try:
        boxes = shard_rows(store, network.run_id, "unit_top", layer, ["w", "h"])
    except StoreError:
        return None  # its pages say so
    return (int(boxes["w"].max()), int(boxes["h"].max())) if len(boxes) else None


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]
