"""Stage *explain*: what every patch says for the class; images, predictions → evidence, patch_sums."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from xvcore.data import Batch
from xvcore.errors import LabelError
from xvcore.evidence.method.bagnet_evidence import Evidence, Pass
from xvcore.evidence.method.top_patches import ORIGINS, PatchSummary, TopPatch, crop
from xvcore.evidence.settings import PatchEvidence
from xvcore.models import laid_out
from xvcore.runs.along import looked
from xvcore.runs.images import as_bytes, image_numbers, pictures
from xvcore.runs.run import Progress, Run
from xvcore.runs.summaries import keep, whole
from xvcore.store.encode import map_cell, picture
from xvcore.types import Scores

PatchPlace = tuple[int, tuple[float, float, float, float]]
"""Image number and box."""


def targets_of(run: Run[PatchEvidence]) -> dict[str, int]:
    """Return the output of every class of the dataset that one stands for, by class id, in the dataset's order.

    Where none does, a class is not explained, and its images count as those of another class.

    Raises
    ------
    LabelError
        Two classes share an output: the strongest patches for it would be those of both.
    """
    found = dict(run.targets)
    first = {target: class_id for class_id, target in reversed(found.items())}
    for class_id, target in found.items():
        if first[target] != class_id:
            raise LabelError(
                f"classes {first[target]!r} and {class_id!r} stand for the same output {target}: evidence needs an "
                "output of its own for each class: map all but one of them elsewhere, or leave them out of the dataset"
            )
    return found


def explain(run: Run[PatchEvidence], class_id: str, progress: Progress | None = None) -> int:
    """Write the maps of each image of a class and what they add to every class's strongest patches; return the images.

    ``evidence`` is written last: it says that the stage is done.
    """
    found, n_images = looked(run, class_id, Explained, progress)
    keep(run, class_id, found.summary)
    run.store.write("evidence", run.run_id, class_id, found.rows)
    return n_images


class Explained:
    """Rows of ``evidence`` and the strongest patches of the images of a class, batch by batch.

    Parameters
    ----------
    run : the run
    class_id : of the class
    """

    def __init__(self, run: Run[PatchEvidence], class_id: str) -> None:
        targets = targets_of(run)
        self.rows: list[dict[str, Any]] = []
        self.summary: PatchSummary | None = None
        self._run, self._class_id = run, class_id
        self._own, self._outputs = list(targets).index(class_id), torch.tensor(list(targets.values()))
        self._numbers = image_numbers(run, class_id)
        self._decision = replace(run.settings.evidence, resolution="decision")
        self._at_work: tuple[Batch, Tensor, Pass]

    def look(self, batch: Batch) -> Scores:
        """Make the pass of a batch and return the scores."""
        images = laid_out(self._run.classifier, batch.images)
        self._at_work = batch, images, self._decision.look(self._run.classifier, images)
        return self._at_work[2].logits

    def take(self, kept: Sequence[int], predicted: Sequence[int]) -> None:
        """Add the images of the batch that count, given the output that each is taken for."""
        if not kept:
            return
        settings, classifier = self._run.settings, self._run.classifier
        batch, images, seen = self._at_work
        image_ids = [batch.image_ids[place] for place in kept]
        foremost = torch.zeros(len(images), 1, dtype=torch.long)
        foremost[list(kept), 0] = torch.tensor(list(predicted))
        asked = torch.cat([self._outputs.expand(len(images), -1), foremost], dim=1).to(images.device)
        found = seen.evidence(asked, kept)
        asked = asked[list(kept)]
        members = torch.zeros(len(kept), len(self._outputs), dtype=torch.bool)
        members[:, self._own] = True
        numbers = torch.tensor([self._numbers[each] for each in image_ids])
        strongest = settings.top_patches.of_batch(found.values[:, :-1], numbers, members)
        self.summary = self.summary.merge(strongest) if self.summary else strongest
        places = (self._own, len(self._outputs))  # of the class and of the prediction
        if settings.evidence != self._decision:  # maps of another resolution need a pass of their own
            found, places = settings.evidence(classifier, images[list(kept)], asked[:, list(places)]), (0, 1)
        keys = self._run.keys(self._class_id)
        rows = _maps(image_ids, asked[:, [self._own, -1]], found, places, is_both=settings.prediction_too)
        self.rows.extend({**keys, **row} for row in rows)


def gather_patches(run: Run[PatchEvidence]) -> None:
    """Merge what the finished classes say into ``patches`` and ``evidence_means``, one part a class."""
    summary, counted = whole(run)
    if summary is None:
        return
    targets = targets_of(run)
    place = {class_id: index for index, class_id in enumerate(targets)}
    done = [each for each in counted if summary.n_images[place[each], ORIGINS.index("class")]]
    decision = replace(run.settings.evidence, resolution="decision")
    black = torch.zeros(1, 3, *run.size, device=run.classifier.device)
    shape = decision(run.classifier, black, torch.zeros(1, dtype=torch.long, device=run.classifier.device))
    classes = list(targets)
    found: dict[str, list[TopPatch]] = {each: [] for each in done}
    for patch in summary.rows(shape.boxes):
        if classes[patch.target] in found:
            found[classes[patch.target]].append(patch)
    places = {number: place for each in done for place, number in _places(run, each)}
    cells = _crops(run, [patch for patches in found.values() for patch in patches], places)
    for class_id, patches in found.items():
        keys = {**run.keys(class_id), "target_idx": targets[class_id]}
        rows = [{**keys, **_patch_row(patch, places, shape, cells)} for patch in patches]
        run.store.write("patches", run.run_id, class_id, rows)
        index = place[class_id]
        means = [
            {
                **keys,
                "origin": origin,
                "n_images": int(summary.n_images[index, place]),
                "mean_map": map_cell(summary.mean_maps[index, place].numpy())
                if summary.n_images[index, place]
                else None,
                "map_h": summary.sums.shape[2],
                "map_w": summary.sums.shape[3],
            }
            for place, origin in enumerate(ORIGINS)
        ]
        run.store.write("evidence_means", run.run_id, class_id, means)


def _maps(
    image_ids: Sequence[str], outputs: Tensor, found: Evidence, places: tuple[int, int], *, is_both: bool
) -> Iterator[dict[str, Any]]:
    """Yield the row of each image's class and, where it is another and asked for (``is_both``), of its prediction.

    ``outputs`` (images, 2) are the class's and the predicted output, ``places`` where their evidence is in ``found``.
    """
    for index, image_id in enumerate(image_ids):
        target, foremost = outputs[index].tolist()
        kinds = ("label", "prediction") if is_both and foremost != target else ("label",)
        for output, place, kind in zip((target, foremost), places, kinds, strict=False):
            values = found.values[index, place].cpu()
            yield {
                "image_id": image_id,
                "target_idx": output,
                "target_kind": kind,
                "resolution": found.resolution,
                "evidence_map": map_cell(values.numpy()),
                "map_h": values.shape[0],
                "map_w": values.shape[1],
                "patch_px": found.patches.patch_px if found.patches else None,
                "stride_px": found.patches.stride_px if found.patches else None,
                "padding_px": found.patches.padding_px if found.patches else None,
                "logit": float(found.logits[index, place]),
                "evidence_max": float(values.max()),
                "evidence_min": float(values.min()),
                "positive_frac": float((values > 0).float().mean()),
            }


def _places(run: Run[PatchEvidence], class_id: str) -> Iterator[tuple[tuple[str, str], int]]:
    for image_id, number in image_numbers(run, class_id).items():
        yield (class_id, image_id), number


def _crops(
    run: Run[PatchEvidence], patches: list[TopPatch], places: dict[int, tuple[str, str]]
) -> dict[PatchPlace, Any]:
    """Return the pixels of each patch by image number and box; every image is read once."""
    wanted: dict[str, dict[str, list[TopPatch]]] = {}
    for patch in patches:
        class_id, image_id = places[patch.image]
        wanted.setdefault(class_id, {}).setdefault(image_id, []).append(patch)
    cells: dict[PatchPlace, Any] = {}
    for class_id, by_image in wanted.items():
        for image, of_image in zip(pictures(run, class_id, list(by_image)), by_image.values(), strict=True):
            for patch in of_image:
                cells[patch.image, patch.box] = picture(as_bytes(crop(image, patch.box)))
    return cells


def _patch_row(
    patch: TopPatch,
    places: dict[int, tuple[str, str]],
    shape: Evidence,
    cells: dict[PatchPlace, Any],
) -> dict[str, Any]:
    class_id, image_id = places[patch.image]
    return {
        "origin": patch.origin,
        "position": patch.position,
        "image_id": image_id,
        "image_class_id": class_id,
        **dict(zip("xywh", (round(side) for side in patch.box), strict=True)),
        "is_local": shape.is_local,
        "evidence": patch.evidence,
        "crop": cells[patch.image, patch.box],
    }
