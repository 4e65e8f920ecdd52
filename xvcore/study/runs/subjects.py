"""What a run of a family found, as subjects of a study, with their controls: one reader a family."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from xvcore.evidence.settings import PatchEvidence
from xvcore.keys import digest
from xvcore.ops.parts import random_boxes
from xvcore.prototypes.settings import Prototypes
from xvcore.query import table
from xvcore.runs.images import records
from xvcore.store import Store
from xvcore.study.method.compose import controls
from xvcore.study.method.question import Picture, Subject
from xvcore.study.runs.parts_seen import PartsSeen
from xvcore.study.runs.patches import Cutter
from xvcore.units.settings import TopUnits
from xvcore.visual_summaries.settings import VisualSummaries

MOST_OTHERS = 60
"""Pictures of the other side that a subject keeps."""
MOST_RAW = 20
"""Boxes at random places on the other side of the control of raw regions."""
LEAST = 2
"""Pictures of a subject."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """Rows that a family holds to belong together: their scope, the class of their images, a name, the rows."""

    scope: str
    class_id: str
    label: str
    rows: tuple[Row, ...]
    others: tuple[Row, ...] = ()


def summaries(store: Store, run_id: str) -> Iterator[Found]:
    """Yield the accepted visual summaries of a run with their kept regions, the most similar to the exemplar first.

    The other side of each are regions of the other clusters of the class, accepted or not.
    """
    clusters = table(store, "clusters", run_id=run_id, columns=["class_id", "cluster_id", "position", "accepted"])
    columns = ["class_id", "region_id", "image_id", "x", "y", "w", "h", "cluster_id", "kept", "sim_exemplar", "crop"]
    regions = table(store, "regions", run_id=run_id, columns=columns)
    regions = regions.sort_values(["class_id", "sim_exemplar", "region_id"], ascending=[True, False, True])
    accepted = clusters[clusters["accepted"].fillna(value=False).astype(bool)]
    for row in records(accepted.sort_values(["class_id", "position"])):
        of_class = regions[regions["class_id"] == row["class_id"]]
        is_own = of_class["cluster_id"] == row["cluster_id"]
        kept = of_class[is_own & of_class["kept"].fillna(value=False).astype(bool)]
        yield Found(
            str(row["class_id"]),
            str(row["class_id"]),
            f"summary {row['position']}",
            _rows(kept, "class_id"),
            _rows(of_class[~is_own], "class_id"),
        )


def patches(store: Store, run_id: str) -> Iterator[Found]:
    """Yield the strongest patches of each class; the other side are those of other classes that speak for it."""
    found = table(store, "patches", run_id=run_id).sort_values(["class_id", "origin", "position"])
    for class_id, rows in found.groupby("class_id", sort=True):
        own, others = (rows[rows["origin"] == each] for each in ("class", "others"))
        name = str(class_id)
        yield Found(name, name, "strongest patches", _rows(own, "image_class_id"), _rows(others, "image_class_id"))


def units(store: Store, run_id: str) -> Iterator[Found]:
    """Yield the units of a run with their strongest activations that were projected, or all where none was.

    The other side are those of other units of the layer: the weakest activations, which Zimmermann et al. (2023) show,
    are in no table.
    """
    found = table(store, "unit_top", run_id=run_id).sort_values(["layer", "unit", "position"])
    found = found[found["crop"].notna()]
    has_projections = bool(found["projection"].notna().any())
    shown = found[found["projection"].notna()] if has_projections else found
    for layer, rows in shown.groupby("layer", sort=True):
        for unit, own in rows.groupby("unit", sort=True):
            others = _some(rows[rows["unit"] != unit])
            yield Found(str(layer), "", f"unit {unit}", _rows(own, "image_class_id"), _rows(others, "image_class_id"))


def prototypes(store: Store, run_id: str) -> Iterator[Found]:
    """Yield the prototypes that decisions show, one a side; the other side are other prototypes' patches."""
    found = table(store, "prototypes", run_id=run_id).sort_values(["side", "prototype", "position"])
    found = found[found["crop"].notna()]
    for side, rows in found.groupby("side", sort=True):
        for prototype, own in rows.groupby("prototype", sort=True):
            others = _some(rows[rows["prototype"] != prototype])
            name = f"prototype {prototype}, {side} side"
            yield Found(str(side), "", name, _rows(own, "image_class_id"), _rows(others, "image_class_id"))


READERS: Mapping[str, Callable[[Store, str], Iterator[Found]]] = {
    VisualSummaries.method: summaries,
    PatchEvidence.method: patches,
    TopUnits.method: units,
    Prototypes.method: prototypes,
}
"""How what each family found is read, by its method."""


def subjects_of(  # noqa: PLR0913
    store: Store, run: Mapping[str, Any], cutter: Cutter, seen: PartsSeen, *, most: int, seed: int
) -> list[Subject]:
    """Return the subjects of a run and their controls.

    Parameters
    ----------
    store : the tables
    run : row of ``runs``
    cutter : makes the pictures
    seen : tells the parts on them
    most : subjects, spread evenly over scopes
    seed : of the controls
    """
    run_id, method = str(run["run_id"]), str(run["method"])
    chosen = _spread([each for each in READERS[method](store, run_id) if len(each.rows) >= LEAST], most)
    every = list(READERS[method](store, run_id)) if len(chosen) < most else chosen
    pools: dict[str, list[Row]] = {}
    for each in every:
        pools.setdefault(each.scope, []).extend(each.rows)
    cut = _Cut(cutter, seen)
    subjects: list[Subject] = []
    for found in chosen:
        generator = np.random.default_rng([seed, int(digest([run_id, found.scope, found.label], 8), 16)])
        others = _sample(found.others, MOST_OTHERS, generator)
        identity = subject_id_of(run_id, found.scope, found.label)
        subject = Subject(
            identity,
            run_id,
            str(run["model"]),
            method,
            found.scope,
            found.class_id,
            found.label,
            "found",
            cut.pictures(found.rows),
            cut.pictures(others),
        )
        if len(subject.members) < LEAST:
            continue
        everything = [*pools[found.scope], *(found.others if method == VisualSummaries.method else ())]
        pool = cut.pictures(_sample(_unique(everything), MOST_OTHERS, generator))
        raw = (cut.anywhere(found.rows, generator), cut.anywhere(others[:MOST_RAW], generator))
        subjects += [subject, *controls(subject, pool, raw, generator)]
    return subjects


def subject_id_of(run_id: str, scope: str, label: str) -> str:
    """Return what a subject is called in the tables of studies."""
    return digest([run_id, scope, label], 10)


class _Cut:
    """Cuts rows into pictures, each once."""

    def __init__(self, cutter: Cutter, seen: PartsSeen) -> None:
        self._cutter, self._seen = cutter, seen
        self._known: dict[tuple[Any, ...], Picture | None] = {}

    def pictures(self, rows: Sequence[Row]) -> tuple[Picture, ...]:
        return tuple(each for each in map(self._picture, rows) if each is not None)

    def _picture(self, row: Row) -> Picture | None:
        class_id, image_id, box = str(row["class_of_image"]), str(row["image_id"]), _box(row)
        key = (class_id, image_id, box, row.get("unit"))
        if key not in self._known:
            data = self._cutter.patch(class_id, image_id, box, row["crop"])
            self._known[key] = (
                None
                if data is None
                else Picture(
                    data,
                    image_id,
                    class_id,
                    box,
                    self._seen(class_id, image_id, box),
                    self._cutter.projection(row.get("projection")),
                )
            )
        return self._known[key]

    def anywhere(self, rows: Sequence[Row], generator: np.random.Generator) -> list[Picture]:
        """Return boxes of the same sizes at random places in the same images; none where the images are not there."""
        found = []
        for row in rows:
            class_id, image_id = str(row["class_of_image"]), str(row["image_id"])
            pixels = self._cutter.image(class_id, image_id)
            if pixels is None:
                return []
            sides = np.minimum(_box(row)[2:], pixels.shape[1::-1]).astype(float)
            box = _whole(random_boxes(sides, (pixels.shape[0], pixels.shape[1]), 1, generator)[0])
            data = self._cutter.patch(class_id, image_id, box, None)
            if data is not None:
                found.append(Picture(data, image_id, class_id, box, self._seen(class_id, image_id, box)))
        return found


def _some(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows spread evenly over all, some more than are kept: those of thousands of units are not read."""
    return rows.iloc[np.unique(np.linspace(0, len(rows) - 1, 4 * MOST_OTHERS).astype(int))] if len(rows) else rows


def _rows(frame: pd.DataFrame, class_column: str) -> tuple[Row, ...]:
    return tuple({**row, "class_of_image": row[class_column]} for row in records(frame))


def _box(row: Row) -> tuple[int, int, int, int]:
    return int(row["x"]), int(row["y"]), int(row["w"]), int(row["h"])


def _whole(box: np.ndarray) -> tuple[int, int, int, int]:
    x, y, w, h = (int(each) for each in box)
    return x, y, w, h


def _spread(found: Sequence[Found], most: int) -> list[Found]:
    """Return at most so many, of each scope in turn, evenly from all of it."""
    if len(found) <= most:
        return list(found)
    by_scope: dict[str, list[Found]] = {}
    for each in found:
        by_scope.setdefault(each.scope, []).append(each)
    share = dict.fromkeys(by_scope, 0)
    while sum(share.values()) < most:
        for scope, rows in by_scope.items():
            if share[scope] < len(rows) and sum(share.values()) < most:
                share[scope] += 1
    return [
        rows[index * len(rows) // share[scope]] for scope, rows in by_scope.items() for index in range(share[scope])
    ]


def _sample(rows: Sequence[Row], number: int, generator: np.random.Generator) -> list[Row]:
    return [rows[int(each)] for each in generator.permutation(len(rows))[:number]]


def _unique(rows: Sequence[Row]) -> list[Row]:
    seen: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        seen.setdefault((row["class_of_image"], row["image_id"], _box(row), row.get("unit")), row)
    return list(seen.values())
