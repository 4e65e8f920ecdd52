"""What the tests of a class are about: the prototypes with the largest weights for it, and whose patches they have.

Weights are the network's, and known before any image is looked at: whose patches these prototypes have is not decided
by which of them are tested.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xvcore.errors import StoreError
from xvcore.prototypes.method.class_share import of_class_by_chance
from xvcore.prototypes.pages.prototype_pages import SIDES, Shown
from xvcore.query import table
from xvcore.report.chapters import Network
from xvcore.report.class_pages import Row
from xvcore.report.wording import records
from xvcore.store import Store

logger = logging.getLogger(__name__)
N_TESTED = 10
"""Prototypes of a class that are tested."""


@dataclass(frozen=True, slots=True)
class Foremost:
    """One of the prototypes with the largest weights for a class, on the side that speaks for it.

    Parameters
    ----------
    prototype, side, weight : which, and its weight for the class
    images : class and image of each of its strongest patches on that side, one an image
    n_own : how many of these are of the class
    by_chance : how many would be, if images had nothing to do with prototypes
    p_value : how likely chance would give as many to any prototype of any class (Bonferroni over all that are tested)
    part : row of ``prototype_parts``: which part these patches meet; None where no image has parts
    """

    prototype: int
    side: str
    weight: float
    images: Sequence[tuple[str, str]]
    n_own: int
    by_chance: float
    p_value: float
    part: Row | None = None


@dataclass(frozen=True, slots=True)
class RunPrototypes:
    """What all classes of a run tell about each.

    Parameters
    ----------
    shown : the prototypes that have pages
    foremost : of each class the prototypes with the largest weights that have patches
    n_of_class : images of each class that were looked at
    parts : rows of ``prototype_parts``: prototypes, and plain channels as control
    """

    shown: Mapping[int, Shown] = field(default_factory=dict)
    foremost: Mapping[str, Sequence[Foremost]] = field(default_factory=dict)
    n_of_class: Mapping[str, int] = field(default_factory=dict)
    parts: Sequence[Row] = ()

    @property
    def n_images(self) -> int:
        """Images of all classes."""
        return sum(self.n_of_class.values())


def read_run(store: Store, network: Network, shown: Mapping[int, Shown]) -> RunPrototypes:
    """Return what the classes of a run are tested on; nothing where a table is damaged, and the log says which."""
    try:
        weights = records(
            table(
                store,
                "prototype_weights",
                run_id=network.run_id,
                filters=[("position", "<=", N_TESTED)],
                columns=["class_id", "prototype", "position", "weight"],
            )
        )
        patches = _patches(store, network)
        looked_at = table(
            store,
            "prototype_decisions",
            run_id=network.run_id,
            filters={"target_kind": "label"},
            columns=["class_id"],
        )
        parts = records(table(store, "prototype_parts", run_id=network.run_id))
    except StoreError as error:
        logger.warning("%s: %s", network.title, error)
        return RunPrototypes(shown)
    gathered = {str(row["class_id"]) for row in weights}
    n_of_class = {each: n for each, n in Counter(map(str, looked_at["class_id"])).items() if each in gathered}
    of_part = {(row["side"], int(row["prototype"])): row for row in parts if row["kind"] == "prototype"}
    n_images = sum(n_of_class.values())
    tested = [(row, key) for row in weights if (key := _key(row)) in patches and str(row["class_id"]) in n_of_class]
    foremost: dict[str, list[Foremost]] = {}
    for row, key in sorted(tested, key=lambda each: int(each[0]["position"])):
        class_id, images = str(row["class_id"]), patches[key]
        n_class = n_of_class[class_id]
        n_own = sum(each == class_id for each, _ in images)
        p_value = of_class_by_chance([1] * len(images), n_own, n_class, n_images)
        found = Foremost(
            prototype=key[1],
            side=key[0],
            weight=float(row["weight"]),
            images=images,
            n_own=n_own,
            by_chance=len(images) * n_class / n_images,
            p_value=min(1.0, p_value * len(tested)),
            part=of_part.get(key),
        )
        foremost.setdefault(class_id, []).append(found)
    return RunPrototypes(shown, foremost, n_of_class, parts)


def _key(row: Row) -> tuple[str, int]:
    return SIDES[float(row["weight"]) < 0], int(row["prototype"])


def _patches(store: Store, network: Network) -> dict[tuple[str, int], list[tuple[str, str]]]:
    """Return class and image of each prototype's strongest patches, by side and prototype."""
    columns = ["side", "prototype", "image_class_id", "image_id"]
    found: dict[tuple[str, int], list[tuple[str, str]]] = {}
    for row in records(table(store, "prototypes", run_id=network.run_id, columns=columns)):
        place = (str(row["side"]), int(row["prototype"]))
        found.setdefault(place, []).append((str(row["image_class_id"]), str(row["image_id"])))
    return found
