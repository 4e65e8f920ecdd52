"""Stage *explain*: what every patch says for the class; images, predictions → evidence, patch_sums."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from xvcore.data import Batch
from xvcore.errors import LabelError
from xvcore.evidence.method.bagnet_evidence import Evidence
from xvcore.evidence.method.top_patches import ORIGINS, PatchSummary, TopPatch, crop
from xvcore.evidence.settings import PatchEvidence
from xvcore.runs.images import as_bytes, batches, image_numbers, passed_images, pictures
from xvcore.runs.run import Progress, Run
from xvcore.runs.summaries import keep, whole
from xvcore.store.encode import map_cell, picture

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
    image_ids = passed_images(run, class_id)
    targets = targets_of(run)
    own = list(targets).index(class_id)
    outputs = torch.tensor(list(targets.values()))
    numbers = image_numbers(run, class_id)
    predicted = run.store.read("predictions", run.run_id, class_id, columns=["image_id", "pred_idx"])
    prediction = dict(zip(predicted["image_id"], predicted["pred_idx"], strict=True))
    decision = replace(run.settings.evidence, resolution="decision")
    rows: list[dict[str, Any]] = []
    summary: PatchSummary | None = None
    n_done = 0
    for batch in batches(run, class_id, image_ids) if image_ids else ():
        images = batch.images.to(run.classifier.device)
        foremost = torch.tensor([int(prediction[each]) for each in batch.image_ids])
        asked = torch.cat([outputs.expand(len(images), -1), foremost[:, None]], dim=1).to(images.device)
        found = decision(run.classifier, images, asked)
        members = torch.zeros(len(images), len(targets), dtype=torch.bool)
        members[:, own] = True
        of_batch = torch.tensor([numbers[each] for each in batch.image_ids])
        strongest = run.settings.top_patches.of_batch(found.values[:, :-1], of_batch, members)
        summary = summary.merge(strongest) if summary else strongest
        places = (own, len(targets))  # of the class and of the prediction
        if run.settings.evidence != decision:  # maps of another resolution need a pass of their own
            found, places = run.settings.evidence(run.classifier, images, asked[:, list(places)]), (0, 1)
        rows.extend({**run.keys(class_id), **row} for row in _maps(run, batch, asked[:, [own, -1]], found, places))
        n_done += len(batch.image_ids)
        if progress:
            progress(n_done, len(image_ids))
    keep(run, class_id, summary)
    run.store.write("evidence", run.run_id, class_id, rows)
    return n_done


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
    run: Run[PatchEvidence], batch: Batch, outputs: Tensor, found: Evidence, places: tuple[int, int]
) -> Iterator[dict[str, Any]]:
    """Yield the row of each image's class and, where it is another and asked for, of its prediction.

    ``outputs`` (images, 2) are the class's and the predicted output, ``places`` where their evidence is in ``found``.
    """
    for index, image_id in enumerate(batch.image_ids):
        target, foremost = outputs[index].tolist()
        kinds = ("label", "prediction") if run.settings.prediction_too and foremost != target else ("label",)
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
