"""Stage *mask*: which pixels the decision stands on, image by image; images, predictions → masks."""

from collections.abc import Iterator
from typing import Any

import torch

from xvcore.data import Batch
from xvcore.ops.components import count_components
from xvcore.runs.images import batches, passed_images
from xvcore.runs.run import Progress, Run
from xvcore.store.encode import map_cell, rle_encode
from xvcore.types import Images, Targets
from xvcore.visual_summaries.method.judged_masks import JUDGES, JudgedMasks
from xvcore.visual_summaries.settings import VisualSummaries
from xvcore.visual_summaries.stages.draft import Draft, rows_so_far


def mask(run: Run[VisualSummaries], class_id: str, progress: Progress | None = None) -> int:
    """Write two rows of ``masks`` (smooth, sharp) per image that passed the gate; return the number of images.

    After each batch what is done so far is kept in ``masks_so_far``, and within one, in ``masks_begun``, how far its
    optimisation is (:class:`~xvcore.visual_summaries.stages.draft.Draft`): whoever is killed goes on from there.
    Methods other than sparse masks begin a batch anew.
    """
    image_ids = passed_images(run, class_id)
    target = run.target(class_id)
    rows = rows_so_far(run, class_id, "masks_so_far")
    done = {row["image_id"] for row in rows}
    left = [each for each in image_ids if each not in done]
    for batch in batches(run, class_id, left) if left else ():
        images = batch.images.to(run.classifier.device)
        targets = torch.full((len(images),), target, device=images.device)
        found = _masks(run, class_id, batch, images, targets)
        rows.extend({**run.keys(class_id), **row} for row in _rows(batch, found, run.settings))
        if len(rows) < 2 * len(image_ids):
            run.store.write("masks_so_far", run.run_id, class_id, rows)
        if progress:
            progress(len(rows) // 2, len(image_ids))
    run.store.write("masks", run.run_id, class_id, rows)
    for table in ("masks_so_far", "masks_begun"):
        run.store.remove(table, run.run_id, class_id)
    return len(rows) // 2


def _masks(run: Run[VisualSummaries], class_id: str, batch: Batch, images: Images, targets: Targets) -> JudgedMasks:
    settings = run.settings
    if settings.mask_method == "extremal_perturbation":
        return settings.extremal(run.classifier, images, targets)
    if settings.mask_method == "rise":
        return settings.rise(run.classifier, images, targets)
    return settings.mask(run.classifier, images, targets, Draft.of(run, class_id, batch.image_ids))


def _rows(batch: Batch, masks: JudgedMasks, settings: VisualSummaries) -> Iterator[dict[str, Any]]:
    least_drop = settings.least_drop
    stages = {
        "smooth": (masks.smooth, masks.prob_smooth, masks.smooth_objective, masks.smooth_iterations),
        "sharp": (masks.crisp, masks.prob_crisp, masks.crisp_objective, masks.crisp_iterations),
    }
    settled = {"smooth": masks.smooth_settled, "sharp": masks.crisp_settled}
    for index, image_id in enumerate(batch.image_ids):
        drops = dict(zip(JUDGES, masks.drop_by_baseline[index].tolist(), strict=True))
        for kind, (maps, probability, objective, iterations) in stages.items():
            values = maps[index, 0].cpu()
            salient = (values < 0.5).numpy()
            full, masked = float(masks.prob_full[index]), float(probability[index])
            drop = (full - masked) / full
            low = masks.low[index, 0].cpu().numpy() if kind == "smooth" else None
            yield {
                "image_id": image_id,
                "kind": kind,
                "rle": rle_encode(salient),
                "soft_map": None if low is None else map_cell(low),
                "soft_h": None if low is None else low.shape[0],
                "soft_w": None if low is None else low.shape[1],
                "area_frac": float(salient.mean()),
                "crispness": float((values * (1 - values)).mean()),
                "n_components": count_components(salient),
                "prob_full": full,
                "prob_masked": masked,
                "prob_blurred": float(masks.prob_blurred[index]),
                "prob_drop": drop,
                "iterations": int(iterations[index]),
                "objective": None if objective is None else float(objective[index]),
                "stopped": "tolerance" if settled[kind][index] else "steps",
                "reached": least_drop is None or drop >= least_drop,
                "mask_method": settings.mask_method,
                **{f"drop_{each}": found if kind == "sharp" else None for each, found in drops.items()},
            }
