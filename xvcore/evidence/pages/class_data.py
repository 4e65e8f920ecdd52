"""The evidence of a class as one network gives it: its tables, read once and laid out as images and patches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from xvcore.errors import StoreError
from xvcore.report.chapters import Entry, Section
from xvcore.report.class_pages import Image, Row
from xvcore.report.names import image_names
from xvcore.report.rows import class_rows
from xvcore.report.wording import plain, records
from xvcore.store import Store
from xvcore.store.encode import map_array

Box = tuple[float, float, float, float]
"""Left, top, width and height in pixels of the network's input."""

N_EXTREMES = 5
"""Patches that are shown of an image, for and against."""
PATCH_COLUMNS = ("origin", "position", "image_id", "image_class_id", "x", "y", "w", "h", "is_local", "evidence")
MEAN_COLUMNS = ("origin", "n_images", "mean_map", "map_h", "map_w")


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the elements of a map are: what each of them saw, or its nominal cell where it saw more.

    Parameters
    ----------
    rows, columns : of the map
    left, top : corner of the first patch in pixels; negative where it starts before the image
    step_x, step_y : distance of neighbouring patches in pixels
    w, h : size of a patch in pixels
    is_local : whether the network saw nothing but the patch there; else the boxes are nominal
    """

    rows: int
    columns: int
    left: float
    top: float
    step_x: float
    step_y: float
    w: float
    h: float
    is_local: bool

    @classmethod
    def of(cls, row: Row, size: tuple[int, int]) -> "Grid":
        """Return the grid of a row of ``evidence`` over an input of this height and width."""
        rows, columns = int(row["map_h"]), int(row["map_w"])
        if row["patch_px"] is not None:
            start, step, side = -float(row["padding_px"] or 0), float(row["stride_px"]), float(row["patch_px"])
            return cls(rows, columns, start, start, step, step, side, side, is_local=True)
        step_x, step_y = size[1] / columns, size[0] / rows
        return cls(rows, columns, 0.0, 0.0, step_x, step_y, step_x, step_y, is_local=False)

    def box(self, row: int, column: int) -> Box:
        """Return the patch of an element."""
        return self.left + column * self.step_x, self.top + row * self.step_y, self.w, self.h

    @property
    def area(self) -> Box:
        """Where the map is drawn: each element over the middle of its patch, as wide as patches are apart."""
        x, y = self.left + (self.w - self.step_x) / 2, self.top + (self.h - self.step_y) / 2
        return x, y, self.columns * self.step_x, self.rows * self.step_y


@dataclass(frozen=True, slots=True)
class Spot:
    """An element of a map: its patch and its evidence in logits."""

    box: Box
    evidence: float


def extremes(values: np.ndarray, grid: Grid, sign: int, number: int = N_EXTREMES) -> list[Spot]:
    """Return the strongest patches for (``sign`` 1) or against (-1) an output, strongest first.

    A patch that lies on a stronger one, their centres less than half a patch apart along both axes, is passed over:
    the neighbours of a strong patch show the same thing.

    Parameters
    ----------
    values : evidence, (rows, columns)
    grid : where the elements are
    sign : 1 or -1
    number : how many at most
    """
    found: list[Spot] = []
    for index in np.argsort(-sign * values, axis=None, kind="stable").tolist():
        row, column = divmod(index, grid.columns)
        x, y, w, h = grid.box(row, column)
        value = float(values[row, column])
        if sign * value <= 0 or len(found) == number:
            break
        if all(abs(x - each.box[0]) >= w / 2 or abs(y - each.box[1]) >= h / 2 for each in found):
            found.append(Spot((x, y, w, h), value))
    return found


@dataclass(frozen=True)
class EvidenceMap:
    """The map of an image for one output."""

    row: Row
    values: np.ndarray
    grid: Grid
    limit: float

    @property
    def is_label(self) -> bool:
        """Whether the output stands for the class of the image."""
        return str(self.row["target_kind"]) != "prediction"

    @property
    def is_decision(self) -> bool:
        """Whether the mean of the map is the logit."""
        return str(self.row["resolution"]) == "decision"

    @property
    def mean(self) -> float:
        """Mean of the elements, as they were stored."""
        return float(self.values.mean(dtype=np.float64))

    @cached_property
    def strongest(self) -> tuple[list[Spot], list[Spot]]:
        """The patches that speak loudest for and against the output."""
        return extremes(self.values, self.grid, 1), extremes(self.values, self.grid, -1)


@dataclass(frozen=True)
class EvidenceImage(Image):
    """An image: its maps, that of the class first."""

    maps: tuple[EvidenceMap, ...]

    @property
    def own(self) -> EvidenceMap | None:
        """The map for the class."""
        return next((each for each in self.maps if each.is_label), None)


@dataclass(frozen=True, slots=True)
class Patch:
    """A patch that speaks loudest for the class: its row, its class in words, and the page of its image."""

    row: Row
    class_name: str
    page: str | None


@dataclass(frozen=True, slots=True)
class MeanMap:
    """Mean evidence over images of the class, or over images of others; ``None`` where there were none."""

    origin: str
    n_images: int
    values: np.ndarray | None

    @property
    def mean(self) -> float | None:
        """Mean over the map."""
        return None if self.values is None else float(self.values.mean(dtype=np.float64))


@dataclass(frozen=True)
class ClassEvidence:
    """All that the evidence pages of a class show.

    Parameters
    ----------
    entry : the class and the network
    images : those that were read, in the order of their ids
    unreadable : as (image id, what, error)
    patches : by origin (``class``, ``others``), strongest first
    means : of both origins
    size : height and width of the network's input in pixels
    """

    entry: Entry
    images: tuple[EvidenceImage, ...] = ()
    unreadable: tuple[tuple[str, str, str], ...] = ()
    patches: Mapping[str, Sequence[Patch]] | None = None
    means: tuple[MeanMap, ...] = ()
    size: tuple[int, int] = (224, 224)

    @property
    def limit(self) -> float:
        """Largest absolute value of the mean maps: the ends of their scale."""
        return max((float(np.abs(each.values).max()) for each in self.means if each.values is not None), default=0.0)

    @property
    def image_limit(self) -> float:
        """Largest absolute value of the images' maps: the ends of the one scale that all have."""
        return max((each.limit for image in self.images for each in image.maps), default=0.0)

    @cached_property
    def against(self) -> list[tuple[EvidenceImage, Spot]]:
        """The patch of each image that speaks loudest against the class, the loudest first; not every image has one."""
        found = [(image, spot) for image in self.images if image.own for spot in image.own.strongest[1][:1]]
        return sorted(found, key=lambda each: each[1].evidence)

    @property
    def grid(self) -> Grid | None:
        """Where the elements of the maps are."""
        return next((image.own.grid for image in self.images if image.own is not None), None)

    @property
    def logits(self) -> list[float]:
        """Of the class for each image."""
        return [
            float(image.own.row["logit"]) for image in self.images if image.own and image.own.row["logit"] is not None
        ]


class ImagePages:
    """Finds the page of an image of any class of a section; a class's ids are read when first asked for."""

    def __init__(self, store: Store, section: Section) -> None:
        self._store = store
        self._entries = {
            (entry.network.run_id, entry.class_id): entry for topic in section.topics for entry in topic.entries
        }
        self._pages: dict[tuple[str, str], dict[str, str]] = {}

    def page(self, run_id: str, class_id: str | None, image_id: str) -> str | None:
        """Return the page of an image; ``None`` where the report has none."""
        entry = self._entries.get((run_id, str(class_id)))
        if entry is None:
            return None
        key = (run_id, entry.class_id)
        if key not in self._pages:
            self._pages[key] = self._of_class(entry)
        return self._pages[key].get(image_id)

    def _of_class(self, entry: Entry) -> dict[str, str]:
        try:
            rows = class_rows(self._store, entry, "predictions", ["image_id", "error"])
            for name in ("evidence", "patches", "evidence_means"):  # if one is damaged the images have no pages
                class_rows(self._store, entry, name, ["target_idx"])
        except StoreError:
            return {}
        names = image_names(rows["image_id"])
        is_shown = rows["error"].isna()
        return {image_id: f"{entry.folder}/{names[image_id]}.html" for image_id in rows["image_id"][is_shown]}


def changing(store: Store, entry: Entry, image_pages: ImagePages, class_names: Mapping[str, str]) -> list[Any]:
    """Return what may change without the class being run again: patches and means are gathered over all classes."""
    patches = records(class_rows(store, entry, "patches", PATCH_COLUMNS))
    links = [(each.class_name, each.page) for each in _patches(entry, patches, image_pages, class_names)]
    means = class_rows(store, entry, "evidence_means", MEAN_COLUMNS)
    return [
        [[str(value) for value in row.values()] for row in patches],
        links,
        [[str(value.tolist() if isinstance(value, np.ndarray) else plain(value)) for value in row]
         for row in means.itertuples(index=False)],
    ]  # fmt: skip


def read_evidence(store: Store, entry: Entry, image_pages: ImagePages, class_names: Mapping[str, str]) -> ClassEvidence:
    """Return what a class's tables hold; tables that are not there are empty.

    Raises
    ------
    StoreError
        A damaged file.
    """
    size = entry.network.input_size
    predictions = sorted(records(class_rows(store, entry, "predictions")), key=lambda row: str(row["image_id"]))
    names = image_names(str(row["image_id"]) for row in predictions)
    evidence: dict[str, list[Row]] = {}
    failed = [(str(row["image_id"]), "image", str(row["error"])) for row in predictions if row["error"]]
    for row in records(class_rows(store, entry, "evidence")):
        if row["error"] or row["evidence_map"] is None:
            failed.append((str(row["image_id"]), "evidence", str(row["error"] or "no map")))
        else:
            evidence.setdefault(str(row["image_id"]), []).append(row)
    found: dict[str, list[Patch]] = {"class": [], "others": []}
    rows = sorted(records(class_rows(store, entry, "patches")), key=lambda row: int(row["position"]))
    for patch in _patches(entry, rows, image_pages, class_names):
        found.setdefault(str(patch.row["origin"]), []).append(patch)
    return ClassEvidence(
        entry,
        _on_one_scale(
            [
                EvidenceImage(row, names[str(row["image_id"])], _maps(evidence.get(str(row["image_id"]), []), size))
                for row in predictions
                if not row["error"]
            ]
        ),
        tuple(failed),
        found,
        tuple(_mean(row) for row in records(class_rows(store, entry, "evidence_means"))),
        size,
    )


def _patches(entry: Entry, rows: Sequence[Row], image_pages: ImagePages, class_names: Mapping[str, str]) -> list[Patch]:
    found = []
    for row in rows:
        class_id = str(row["image_class_id"] or entry.class_id)
        page = image_pages.page(entry.network.run_id, class_id, str(row["image_id"]))
        found.append(Patch(row, class_names.get(class_id, class_id), page))
    return found


def _on_one_scale(images: Sequence[EvidenceImage]) -> tuple[EvidenceImage, ...]:
    """Return the images with one limit for all maps, so that colours of the class's pages can be compared."""
    limit = max((each.limit for image in images for each in image.maps), default=0.0)
    return tuple(replace(image, maps=tuple(replace(each, limit=limit) for each in image.maps)) for image in images)


def _maps(rows: Sequence[Row], size: tuple[int, int]) -> tuple[EvidenceMap, ...]:
    """Return the maps of an image on one scale, that of the class first."""
    ordered = sorted(rows, key=lambda row: (row["target_kind"] == "prediction", int(row["target_idx"])))
    maps = [
        EvidenceMap(
            row, map_array(row["evidence_map"], int(row["map_h"]), int(row["map_w"])), Grid.of(row, size), limit=0.0
        )
        for row in ordered
    ]
    limit = max((float(np.abs(each.values).max()) for each in maps), default=0.0)
    return tuple(replace(each, limit=limit) for each in maps)


def _mean(row: Row) -> MeanMap:
    values = None if row["mean_map"] is None else map_array(row["mean_map"], int(row["map_h"]), int(row["map_w"]))
    return MeanMap(str(row["origin"]), int(row["n_images"]), values)
