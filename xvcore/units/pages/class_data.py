"""The units that respond to a class: those whose strongest images are of it, and how likely chance would make that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from xvcore.errors import StoreError
from xvcore.report.chapters import Entry, Network
from xvcore.report.rows import shard_rows
from xvcore.report.wording import records
from xvcore.store import Store
from xvcore.units.pages.unit_data import Layer, Row

Sheets = Mapping[str, Mapping[int, tuple[str | None, str | None]]]
"""Files of projections and crops, by layer and unit."""
FIRST_COLUMNS = ("unit", "position", "image_id", "image_class_id", "activation")


@dataclass(frozen=True, slots=True)
class Responding:
    """A unit whose strongest images are of one class more often than of any other.

    Parameters
    ----------
    layer, unit : the unit
    page : where it is shown
    row : of ``units``
    n_ranked, n_own : its strongest images, at most as many as the class has, and those of them that are of the class;
        None where that is not known
    by_chance : how many of them would be of the class by chance; likewise
    p_value : how likely chance would give any class as many, for any living unit (Bonferroni over both); likewise
    sheets : files of its projections and crops; None for what there is not
    """

    layer: str
    unit: int
    page: str
    row: Row
    n_ranked: int | None
    n_own: int | None
    by_chance: float | None
    p_value: float | None
    sheets: tuple[str | None, str | None]

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.layer}, unit {self.unit}"


@dataclass(frozen=True, slots=True)
class Strongest:
    """An image of a class and the units that respond to no image more."""

    image_id: str
    page: str | None
    units: Sequence[tuple[str, int, str]]


@dataclass(frozen=True, slots=True)
class ClassUnits:
    """All that the page of a class shows.

    Parameters
    ----------
    entry : the class and the network
    images : none; images have their pages elsewhere
    units : those that respond to it, those first that chance would make least often
    strongest : its images with the units that respond to them most
    n_tested : living units of the network
    """

    entry: Entry
    images: Sequence[Any] = ()
    units: Sequence[Responding] = ()
    strongest: Sequence[Strongest] = ()
    n_tested: int = 0


@dataclass(frozen=True, slots=True)
class RunUnits:
    """What a run's units respond to, class by class.

    Parameters
    ----------
    by_class : units by the class that most of their strongest images are of
    strongest : of each class its images, with the units that respond to none more: layer, unit, page
    n_tested : living units
    """

    by_class: Mapping[str, Sequence[Responding]]
    strongest: Mapping[str, Mapping[str, Sequence[tuple[str, int, str]]]]
    n_tested: int

    @property
    def every(self) -> list[Responding]:
        """All units that respond to a class, those first that chance would make least often."""
        return sorted((each for found in self.by_class.values() for each in found), key=_order)


def read_units(
    store: Store,
    network: Network,
    layers: Sequence[Layer],
    n_of_class: Mapping[str, int],
    sheets: Sheets,
) -> RunUnits:
    """Return which units respond to which class.

    Parameters
    ----------
    store, network : the run
    layers : of the run
    n_of_class : images of each class that were seen
    sheets : files of projections and crops, by layer and unit
    """
    living = [(layer, row) for layer in layers for row in layer.units if not row["dead"]]
    chance = _Chance(n_of_class, len(living))
    by_class: dict[str, list[Responding]] = {}
    strongest: dict[str, dict[str, list[tuple[float, str, int, str]]]] = {}
    for layer in layers:
        ranked = _ranked(store, network, layer)
        for row in layer.units:
            if not row["dead"] and row["top_class_id"] is not None:
                found = chance.of(layer, row, ranked.get(int(row["unit"]), []), sheets)
                by_class.setdefault(str(row["top_class_id"]), []).append(found)
        for row in _first(store, network, layer):
            unit, of_class = int(row["unit"]), strongest.setdefault(str(row["image_class_id"]), {})
            place = (-float(row["activation"]), layer.name, unit, address(layer, unit, sheets))
            of_class.setdefault(str(row["image_id"]), []).append(place)
    return RunUnits(
        {key: sorted(found, key=_order) for key, found in by_class.items()},
        {
            class_id: {image_id: [each[1:] for each in sorted(places)] for image_id, places in of_class.items()}
            for class_id, of_class in strongest.items()
        },
        len(living),
    )


def _ranked(store: Store, network: Network, layer: Layer) -> dict[int, list[str]]:
    """Return the classes of the strongest images of each unit, strongest first; none where the table is damaged."""
    try:
        rows = shard_rows(store, network.run_id, "unit_top", layer.name, ["unit", "position", "image_class_id"])
    except StoreError:
        return {}  # the pages of the layer say so
    found: dict[int, list[str]] = {}
    for row in records(rows.sort_values(["unit", "position"])):
        found.setdefault(int(row["unit"]), []).append(str(row["image_class_id"]))
    return found


def _first(store: Store, network: Network, layer: Layer) -> list[dict[str, Any]]:
    """Return the strongest activation of each unit of a layer; none where the table is damaged."""
    try:
        rows = shard_rows(store, network.run_id, "unit_top", layer.name, FIRST_COLUMNS)
    except StoreError:
        return []
    return records(rows[rows["position"] == 1])


def address(layer: Layer, unit: int, sheets: Sheets) -> str:
    """Return where a unit is shown: with its pictures, else in the table of its layer."""
    page = layer.page_of(unit) if unit in sheets.get(layer.name, {}) else layer.table_page
    return f"{page}#unit-{unit}"


@dataclass(frozen=True, slots=True)
class _Chance:
    """What chance would give: images of each class, and living units that all are tested."""

    n_of_class: Mapping[str, int]
    n_units: int

    def of(self, layer: Layer, row: Row, ranked: Sequence[str], sheets: Sheets) -> Responding:
        """Return a unit with what chance would give its class among as many images."""
        unit, n_images, class_id = int(row["unit"]), int(row["n_images"]), str(row["top_class_id"])
        n_class = self.n_of_class.get(class_id, 0)
        first = ranked[:n_class]  # more cannot be of it, and would only hide that the strongest are
        n, own = len(first), first.count(class_id)
        page, pictures = address(layer, unit, sheets), sheets.get(layer.name, {}).get(unit, (None, None))
        if not n or n >= n_images or own > n_class or n_class > n_images:
            return Responding(layer.name, unit, page, row, None, None, None, None, pictures)
        tail = float(scipy.stats.hypergeom.sf(own - 1, n_images, n_class, n))
        p_value = min(1.0, tail * len(self.n_of_class) * self.n_units)
        return Responding(layer.name, unit, page, row, n, own, n * n_class / n_images, p_value, pictures)


def _order(found: Responding) -> tuple[float, float, float, str, int]:
    """Return what units are sorted by: the least likely by chance first, then by share and by how they stand out."""
    peak = float(found.row["act_max"] or 0.0) / (float(found.row["act_mean"] or 0.0) or np.inf)
    p_value = 1.0 if found.p_value is None else found.p_value
    return p_value, -float(found.row["top_class_share"] or 0.0), -peak, found.layer, found.unit
