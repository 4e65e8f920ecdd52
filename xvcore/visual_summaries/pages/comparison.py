"""One class in the eyes of all its networks: summaries side by side, and whether the masks meet."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from xvcore.errors import StoreError
from xvcore.report.chapters import Network
from xvcore.report.comparison import Comparison, Side
from xvcore.report.renderer import Renderer
from xvcore.report.rows import class_rows
from xvcore.store import Store
from xvcore.visual_summaries.query.compare import overlap
from xvcore.visual_summaries.settings import VisualSummaries

logger = logging.getLogger(__name__)

MOST_IMAGES = 60


@dataclass(frozen=True, slots=True)
class Pair:
    """Two networks: mean overlap of their masks, and what chance would give for masks of these areas."""

    first: Network
    second: Network
    overlap: float
    chance: float
    n_shared: int


def comparison_page(store: Store, renderer: Renderer, comparison: Comparison, inputs: str) -> str:
    """Return the page of a class.

    Parameters
    ----------
    store : for the masks
    renderer : of the templates
    comparison : what is compared
    inputs : digest of what decides the page, to be found in its head
    """
    topic, sides = comparison.topic, comparison.sides
    pairs, rows = _overlaps(store, sides)
    return renderer.render(
        f"{VisualSummaries.method}/comparison.html",
        comparison.page,
        topic=topic,
        sides=sides,
        pairs=pairs,
        rows=rows[:MOST_IMAGES],
        before=comparison.neighbours[0],
        after=comparison.neighbours[1],
        inputs=inputs,
    )


def _overlaps(store: Store, sides: Sequence[Side]) -> tuple[list[Pair], list[dict[str, Any]]]:
    """Return the overlap of each two networks, and of each image that two have a mask of, least first."""
    masks = [_masks(store, side) for side in sides]
    pairs: list[Pair] = []
    by_image: dict[str, list[float]] = {}
    for i, j in combinations(range(len(sides)), 2):
        shared = sorted(masks[i].keys() & masks[j].keys())
        found = [overlap(masks[i][image_id], masks[j][image_id]) for image_id in shared]
        for image_id, value in zip(shared, found, strict=True):
            by_image.setdefault(image_id, []).append(value)
        if shared:
            areas = [[sides[k].images[image_id]["area"] or 0.0 for image_id in shared] for k in (i, j)]
            chance = [_chance(a, b) for a, b in zip(*areas, strict=True)]
            n = len(shared)
            pairs.append(Pair(sides[i].entry.network, sides[j].entry.network, sum(found) / n, sum(chance) / n, n))
    rows = [
        {"image_id": image_id, "overlap": sum(values) / len(values), "faces": _faces(sides, image_id)}
        for image_id, values in by_image.items()
    ]
    rows.sort(key=lambda row: (row["overlap"], row["image_id"]))
    return pairs, rows


def _masks(store: Store, side: Side) -> dict[str, Any]:
    """Return the crisp mask of each image as run lengths; none where the table is damaged, as the class's page says."""
    try:
        frame = class_rows(store, side.entry, "masks", ["image_id", "kind", "rle"])
    except StoreError as error:
        logger.warning("%s %s: %s", side.entry.network.title, side.entry.class_id, error)
        return {}
    sharp = frame[frame["kind"] == "sharp"]
    cells = dict(zip(sharp["image_id"], sharp["rle"], strict=True))
    return {str(image_id): cell for image_id, cell in cells.items() if cell is not None and image_id in side.images}


def _faces(sides: Sequence[Side], image_id: str) -> list[tuple[Side, Any]]:
    found = []
    for side in sides:
        face = side.images.get(image_id)
        found.append((side, face if face and face["veil"] else None))
    return found


def _chance(first: float, second: float) -> float:
    """Return the expected overlap of two independent masks of these areas, a b / (a + b - a b)."""
    union = first + second - first * second
    return first * second / union if union else 0.0
