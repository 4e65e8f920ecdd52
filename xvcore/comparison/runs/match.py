"""Stage *match*: which part of one network is which part of another; visual summaries → part_matches."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from xvcore.comparison.method.matching import NONE, Matches, Parts, Scores, halves
from xvcore.comparison.runs.class_parts import ClassParts, NetworkParts, class_parts
from xvcore.comparison.settings import Comparison
from xvcore.ops.parts import random_boxes
from xvcore.runs.run import Progress, Run
from xvcore.visual_summaries.method.proposal_flow import Proposals, match_all


@dataclass(frozen=True)
class _Pair:
    """How the parts of a network match those of another."""

    matches: Matches
    place: Scores
    flow: Scores
    images: Scores
    place_of_halves: tuple[np.ndarray, np.ndarray]
    n_images: int


def match(run: Run[Comparison], class_id: str, progress: Progress | None = None) -> int:
    """Write a row of ``part_matches`` for each pair of parts of each two networks, and return the pairs matched."""
    found = class_parts(run, class_id)
    flow = _Flow(run, found)
    pairs: dict[tuple[int, int], _Pair] = {}
    numbers = range(len(found.networks))
    every = [(a, b) for a in numbers for b in numbers if a != b]
    for n_done, (a, b) in enumerate(every, start=1):
        pairs[a, b] = _matched(run.settings, found, a, b, flow)
        if progress:
            progress(n_done, len(every))
    rows = [
        {**run.keys(class_id), "model": found.networks[a].name, "other": found.networks[b].name, **row}
        for a, b in every
        for row in _rows(found.networks[a], found.networks[b], pairs[a, b], _of_siblings(run.settings, found, pairs, a))
    ]
    run.store.write("part_matches", run.run_id, class_id, rows)
    return sum(row["is_partner"] for row in rows)


def _matched(settings: Comparison, found: ClassParts, a: int, b: int, flow: "_Flow") -> _Pair:
    first, second = found.networks[a], found.networks[b]
    size = found.networks[0].run.size
    common = np.intersect1d(found.looked(first), found.looked(second))
    place = settings.matching.place(first.parts, second.parts, size, seed=settings.seed)
    of_a, of_b = (_renumbered(each.parts.of_images(common), common) for each in (first, second))
    images = settings.matching.images(of_a, of_b, len(common))
    scores = flow.between(a, b)
    of_halves = [
        settings.matching.place(
            first.parts.of_images(half), second.parts.of_images(half), size, seed=settings.seed
        ).above_null
        for half in halves(common)
    ]
    matches = settings.matching(place, scores, images)
    return _Pair(matches, place, scores, images, (of_halves[0], of_halves[1]), len(common))


def _renumbered(parts: Parts, images: np.ndarray) -> Parts:
    return Parts(parts.part, np.searchsorted(images, parts.image), parts.boxes, parts.n_parts)


def _of_siblings(
    settings: Comparison, found: ClassParts, pairs: dict[tuple[int, int], _Pair], a: int
) -> np.ndarray | None:
    """Return of each part the strength of the most alike one in networks of other seeds, on average; None without."""
    names = settings.siblings(found.networks[a].name)
    others = [number for number, network in enumerate(found.networks) if network.name in names]
    if not others:
        return None
    return np.asarray(np.mean([_strongest(pairs[a, b].matches) for b in others], axis=0))


def _strongest(matches: Matches) -> np.ndarray:
    """Return the strength of the most alike part above its null; 0 where there is none."""
    strength = np.where(matches.eligible, matches.strength, 0.0)
    return np.asarray(strength.max(axis=1, initial=0.0))


def _rows(
    first: NetworkParts, second: NetworkParts, pair: _Pair, of_siblings: np.ndarray | None
) -> Iterator[dict[str, Any]]:
    matches = pair.matches
    for i, part_id in enumerate(first.part_ids):
        for j, other_part in enumerate(second.part_ids):
            yield {
                "part_id": part_id,
                "other_part": other_part,
                "is_partner": bool(matches.partner[i] == j),
                "is_nearest": bool(matches.nearest[i] == j and matches.nearest[i] != NONE),
                "is_above_null": bool(matches.eligible[i, j]),
                "strength": float(matches.strength[i, j]),
                "strength_seed": None if of_siblings is None else float(of_siblings[i]),
                "place": float(pair.place.score[i, j]),
                "place_null": float(pair.place.null[i, j]),
                "place_p": float(pair.place.p_value[i, j]),
                "place_half_1": float(pair.place_of_halves[0][i, j]),
                "place_half_2": float(pair.place_of_halves[1][i, j]),
                "n_both": int(pair.place.n[i, j]),
                "flow": float(pair.flow.score[i, j]),
                "flow_null": float(pair.flow.null[i, j]),
                "flow_p": float(pair.flow.p_value[i, j]),
                "images": float(pair.images.score[i, j]),
                "images_null": float(pair.images.null[i, j]),
                "images_p": float(pair.images.p_value[i, j]),
                "n_images": pair.n_images,
            }


class _Flow:
    """Proposal flow among the best regions of all networks' parts and random regions beside them, computed at once.

    Only these regions take part in the geometry: it is cheap, and the same for every pair of networks.
    """

    def __init__(self, run: Run[Comparison], found: ClassParts) -> None:
        self._settings = run.settings
        self._chosen = [_best(network, run.settings.n_flow) for network in found.networks]
        starts = np.cumsum([0, *(len(each.part) for each in self._chosen)])
        self._of = [np.arange(*each) for each in pairwise(starts)]
        boxes = np.concatenate([each.boxes for each in self._chosen])
        image = np.concatenate([each.image for each in self._chosen])
        self._n = len(boxes)
        self._scores = np.zeros((0, 0), np.float32)
        if self._n:
            beside = np.concatenate([_beside(run, each, found.networks[0].run.size) for each in self._chosen])
            self._scores = _similarity(found, np.concatenate([boxes, beside]), np.tile(image, 2))

    def between(self, a: int, b: int) -> Scores:
        """Return the scores of each pair of parts of two networks."""
        of_a, of_b = self._of[a], self._of[b]
        values = [self._scores[np.ix_(rows, columns)] for rows, columns in ((of_a, of_b), (of_a, of_a), (of_b, of_b))]
        control = self._scores[np.ix_(of_a, of_b + self._n)] if self._n else values[0]
        exact = [each.astype(np.float64) for each in (*values, control)]
        return self._settings.matching.flow(self._chosen[a], self._chosen[b], exact[0], (exact[1], exact[2]), exact[3])


def _best(network: NetworkParts, most: int) -> Parts:
    """Return the regions of each part that are most like their exemplars, at most so many of a part."""
    parts = network.parts
    order = np.lexsort((np.arange(len(parts.part)), -network.likeness, parts.part))
    place = np.arange(len(order)) - np.searchsorted(parts.part[order], parts.part[order])
    rows = np.sort(order[place < most])
    return Parts(parts.part[rows], parts.image[rows], parts.boxes[rows], parts.n_parts)


def _beside(run: Run[Comparison], parts: Parts, size: tuple[int, int]) -> np.ndarray:
    """Return for each region one of its size at a random place of its image, which its image and size decide."""
    drawn = [
        random_boxes(box[2:], size, 1, np.random.default_rng([run.settings.seed, image, *box.astype(int).tolist()]))
        for image, box in zip(parts.image.tolist(), parts.boxes, strict=True)
    ]
    return np.concatenate(drawn) if drawn else np.zeros((0, 4))


def _similarity(found: ClassParts, boxes: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return the confidence of each pair of regions by the flow of the visual summaries."""
    of_first = found.networks[0].run
    numbers = np.unique(image)
    images = found.pictures(found.networks[0], [found.image_ids[number] for number in numbers])
    order = np.argsort(image, kind="stable")
    device = of_first.classifier.device
    proposals = []
    for number, picture in zip(numbers, images, strict=True):
        here = torch.from_numpy(boxes[order][image[order] == number].astype(np.float32)).to(device)
        proposals.append(Proposals(here, of_first.settings.descriptor(picture.to(device), here)))
    every = [torch.ones(len(each.boxes), dtype=torch.bool, device=device) for each in proposals]
    scores = match_all(proposals, every, of_first.size, of_first.settings.flow).scores.cpu().numpy()
    back = np.argsort(order, kind="stable")
    return np.asarray(scores[np.ix_(back, back)])
