"""Stage *predict*: what the network says about every image of a class; images → manifest, predictions."""

from typing import Any

import torch

from xvcore.data import Batch
from xvcore.runs.images import batches, frozen_manifest
from xvcore.runs.pipeline import Stage
from xvcore.runs.run import Progress, Run
from xvcore.runs.settings import Settings


def predict(run: Run[Settings], class_id: str, progress: Progress | None = None) -> int:
    """Write one row of ``predictions`` per image of the class and return their number.

    An image that cannot be read is a row whose ``error`` says why; one that the gate leaves out has
    ``skipped`` = ``misclassified``. A method that explains no class needs no output that stands for it.
    """
    target = run.target(class_id) if run.settings.explains_class else None
    listed = frozen_manifest(run, class_id)
    seen: dict[str, dict[str, Any]] = {}
    for batch in batches(run, class_id):
        seen.update(_predicted(run, batch, target))
        if progress:
            progress(len(seen), len(listed))
    rows = [
        {
            **run.keys(class_id),
            "image_id": row.image_id,
            "path": row.path,
            "sha256": row.sha256,
            "target_idx": target,
            **seen[row.image_id],
        }
        for row in listed
    ]
    run.store.write("predictions", run.run_id, class_id, rows)
    return len(rows)


def _predicted(run: Run[Settings], batch: Batch, target: int | None) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {image_id: {"error": message} for image_id, message in batch.failures}
    if not batch.image_ids:
        return rows
    with torch.inference_mode():
        probabilities = run.classifier.probabilities(batch.images.to(run.classifier.device)).float().cpu()
    best, index = probabilities.max(dim=1)
    for row, image_id in enumerate(batch.image_ids):
        rows[image_id] = {
            "width": batch.widths[row],
            "height": batch.heights[row],
            "pred_idx": int(index[row]),
            "prob_pred": float(best[row]),
        }
        if target is not None:
            is_correct = int(index[row]) == target
            rows[image_id] |= {
                "prob_target": float(probabilities[row, target]),
                "rank_target": int((probabilities[row] > probabilities[row, target]).sum()) + 1,
                "correct": is_correct,
                "skipped": "misclassified" if run.settings.skip_misclassified and not is_correct else None,
            }
    return rows


PREDICT = Stage("predict", "predictions", predict, also=("manifest",))
"""The first stage of every family and analysis."""
