"""Stage *liken*: how alike networks are by published measures; images, visual summaries → network_likeness."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from xvcore.comparison.method.matching import halves
from xvcore.comparison.method.representation import cka, nearer_share, neighbourhoods, shuffled, wmppc
from xvcore.comparison.runs.class_parts import ClassParts, NetworkParts, class_parts
from xvcore.comparison.runs.features import activations, layers_at, patches
from xvcore.comparison.settings import Comparison
from xvcore.runs.images import are_copies
from xvcore.runs.run import Progress, Run
from xvcore.visual_summaries.query.compare import overlap

LEAST_IMAGES = 4
"""Images below which likeness is not told."""
N_SHUFFLES = 10
N_CHANCE = 3
"""Other images whose mask each mask is laid over, for what chance gives."""


@dataclass(frozen=True)
class _Looks:
    """Activations of one network: of images by layer, and of patches at its last layer."""

    layers: tuple[str, ...]
    of_images: Mapping[str, np.ndarray]
    of_patches: np.ndarray
    patch_images: np.ndarray
    near: np.ndarray

    @property
    def last(self) -> np.ndarray:
        return self.of_images[self.layers[-1]]


def liken(run: Run[Comparison], class_id: str, progress: Progress | None = None) -> int:
    """Write a row of ``network_likeness`` for each two networks and depth, and return the number of images."""
    found = class_parts(run, class_id)
    depths = tuple(sorted({*run.settings.depths, 1.0}))
    image_ids = _readable(found, class_id)
    rows: list[dict[str, Any]] = []
    if len(image_ids) >= LEAST_IMAGES:
        looks = []
        cut: dict[str, tuple[Tensor, np.ndarray]] = {}
        for n_done, network in enumerate(found.networks, start=1):
            images = found.pictures(network, image_ids)
            if network.frame not in cut:  # one frame's patches at a time are held
                cut = {network.frame: patches(images[: run.settings.n_concept_images], run.settings.patch_px)}
            looks.append(_look(network, images, cut[network.frame], depths))
            if progress:
                progress(n_done, len(found.networks))
        table = _Likeness(run.settings, found, looks, image_ids)
        numbers = range(len(found.networks))
        for a in numbers:
            for b in numbers:
                if a != b:
                    rows += [{**run.keys(class_id), **row} for row in table.rows(a, b, depths)]
    run.store.write("network_likeness", run.run_id, class_id, rows)
    return len(image_ids)


def _readable(found: ClassParts, class_id: str) -> list[str]:
    """Return the images that every network could read, copies of one once."""
    known = []
    for network in found.networks:
        run = network.run
        frame = run.store.read("predictions", run.run_id, class_id, columns=["image_id", "skipped", "error"])
        known.append(set(frame["image_id"][frame["error"].isna() & ~are_copies(frame["skipped"])]))
    return sorted(set.intersection(*known))


def _look(network: NetworkParts, images: Tensor, cut: tuple[Tensor, np.ndarray], depths: tuple[float, ...]) -> _Looks:
    layers = layers_at(network.run, depths)
    of_images = activations(network.run, images, tuple(dict.fromkeys(layers)))
    of_patches = activations(network.run, cut[0], layers[-1:])[layers[-1]]
    return _Looks(layers, of_images, of_patches, cut[1], neighbourhoods(of_images[layers[-1]]))


class _Likeness:
    """The measures of every two networks, each computed once."""

    def __init__(self, settings: Comparison, found: ClassParts, looks: list[_Looks], image_ids: list[str]) -> None:
        self._settings, self._found, self._looks, self._ids = settings, found, looks, image_ids
        self._concepts = [self._concepts_of(each) for each in looks]
        self._scores: dict[int, dict[int, np.ndarray]] = {}
        self._rle = [dict(zip(n.masks["image_id"], n.masks["rle"], strict=True)) for n in found.networks]

    def rows(self, a: int, b: int, depths: tuple[float, ...]) -> list[dict[str, Any]]:
        """Return the rows of the first network beside the second."""
        first, second = self._looks[a], self._looks[b]
        rows = []
        for number, depth in enumerate(depths):
            rows.append(
                {
                    "model": self._found.networks[a].name,
                    "other": self._found.networks[b].name,
                    "depth": depth,
                    "layer": first.layers[number],
                    "other_layer": second.layers[number],
                    "n_images": len(self._ids),
                    **self._activations(a, b, number),
                    **(self._last(a, b) if number == len(depths) - 1 else {}),
                }
            )
        return rows

    def _activations(self, a: int, b: int, number: int) -> dict[str, float | None]:
        first, second = (self._looks[each].of_images[self._looks[each].layers[number]] for each in (a, b))
        found: dict[str, float | None] = {}
        for name, measure in (("cka", cka), ("wmppc", _wmppc)):
            found[name] = measure(first, second)
            found[f"{name}_null"] = shuffled(measure, first, second, n_draws=N_SHUFFLES, seed=self._settings.seed)
            found[f"{name}_seed"] = self._of_siblings(a, partial(self._compared, measure, number, a))
        for name, half in zip(("cka_half_1", "cka_half_2"), halves(range(len(first))), strict=True):
            found[name] = cka(first[half], second[half]) if len(half) > 1 else None
        return found

    def _compared(self, measure: Callable[[np.ndarray, np.ndarray], float], number: int, a: int, b: int) -> float:
        first, second = (self._looks[each] for each in (a, b))
        return measure(first.of_images[first.layers[number]], second.of_images[second.layers[number]])

    def _last(self, a: int, b: int) -> dict[str, Any]:
        other, own = self._concept_scores(a, b), self._concept_scores(a, a)
        return {
            **self._grids(a, b),
            "rsvc": _mean(other),
            "rsvc_self": _mean(own),
            "rsvc_seed": self._of_siblings(a, lambda c: _mean(self._concept_scores(a, c))),
            "rsvc_concepts": other,
            "rsvc_self_concepts": own,
            **self._masks(a, b),
        }

    def _of_siblings(self, a: int, measure: Callable[[int], float | None]) -> float | None:
        names = self._settings.siblings(self._found.networks[a].name)
        values = [measure(c) for c, network in enumerate(self._found.networks) if network.name in names]
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None

    def _grids(self, a: int, b: int) -> dict[str, float | None]:
        """Return the share of nearer pairs in the grids of the network's parts, and of all pairs."""
        network, first, second = self._found.networks[a], self._looks[a].near, self._looks[b].near
        place = {image_id: index for index, image_id in enumerate(self._ids)}
        shares = []
        for part in range(network.parts.n_parts):
            of_part = network.parts.part == part
            best = network.parts.image[of_part][np.argsort(-network.likeness[of_part], kind="stable")]
            ids = [self._found.image_ids[image] for image in dict.fromkeys(best.tolist())]
            grid = [place[image_id] for image_id in ids if image_id in place][: self._settings.n_grid]
            shares.append(nearer_share(first, second, np.array(grid, int)))
        return {
            "bsr": _mean(np.array(shares)),
            "bsr_null": nearer_share(first, second, np.arange(len(self._ids))),
        }

    def _concepts_of(self, looks: _Looks) -> np.ndarray | None:
        if looks.of_patches.min() < 0:
            return None  # a layer that is not rectified has no non-negative factors
        return self._settings.concepts.concepts(looks.of_patches, seed=self._settings.seed)

    def _concept_scores(self, a: int, b: int) -> np.ndarray | None:
        return self._scores_of(b).get(a)

    def _scores_of(self, b: int) -> dict[int, np.ndarray]:
        """Return how well a network's activations give the concepts of each other one, where that can be asked.

        All concepts at once: what is computed of the activations alone is computed once.
        """
        of_b = self._looks[b]
        if b in self._scores:
            return self._scores[b]
        concepts = {
            a: each
            for a, each in enumerate(self._concepts)
            if each is not None and len(each) == len(of_b.of_patches)  # other proportions are cut into other patches
        }
        self._scores[b] = {}
        if concepts and len(np.unique(of_b.patch_images)) >= self._settings.concepts.n_folds:
            every = np.concatenate(list(concepts.values()), axis=1)
            scores = self._settings.concepts.scores(every, of_b.of_patches, of_b.patch_images)
            ends = np.cumsum([each.shape[1] for each in concepts.values()])
            self._scores[b] = dict(zip(concepts, np.split(scores, ends[:-1]), strict=True))
        return self._scores[b]

    def _masks(self, a: int, b: int) -> dict[str, float | None]:
        first, second = (self._found.networks[each].packed for each in (a, b))
        shared = sorted(set(first) & set(second))
        others = [
            (image_id, shared[(number + step) % len(shared)])
            for number, image_id in enumerate(shared)
            for step in range(1, min(N_CHANCE, len(shared) - 1) + 1)
        ]
        return {
            "mask_overlap": self._mean_overlap(a, b, [(each, each) for each in shared]),
            "mask_overlap_null": self._mean_overlap(a, b, others),
        }

    def _mean_overlap(self, a: int, b: int, pairs: list[tuple[str, str]]) -> float | None:
        first, second = self._found.networks[a], self._found.networks[b]
        if first.run.size == second.run.size:
            found = [_overlap(first.packed[one], second.packed[other]) for one, other in pairs]
        else:
            found = [overlap(self._rle[a][one], self._rle[b][other]) for one, other in pairs]
        return float(np.mean(found)) if found else None


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Return intersection over union of two packed masks; 0 if both are empty."""
    common, either = (int(np.bitwise_count(each).sum(dtype=np.int64)) for each in (first & second, first | second))
    return common / either if either else 0.0


def _wmppc(a: np.ndarray, b: np.ndarray) -> float:
    """Return wMPPC; NaN where activations below 0 are no weights."""
    return wmppc(a, b) if a.min() >= 0 else float("nan")


def _mean(values: np.ndarray | None) -> float | None:
    if values is None or not np.isfinite(values).any():
        return None
    return float(np.nanmean(values))
