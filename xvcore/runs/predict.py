"""Stage *predict*: what the network says about every image of a class; images → manifest, predictions."""

import hashlib
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from xvcore.data import Batch
from xvcore.data.loader import processors
from xvcore.ops.probability import n_not_finite, ranks
from xvcore.runs.along import Along
from xvcore.runs.images import COPY, batches, frozen_manifest
from xvcore.runs.run import Progress, Run
from xvcore.runs.settings import Settings
from xvcore.runs.stage import Stage

logger = logging.getLogger(__name__)

NAMED = 5
"""Copies that are named in the log; the table names all."""
NOT_FINITE = "output not finite"
"""How the error of an image begins for which the network overflows."""


def predict(run: Run[Settings], class_id: str, progress: Progress | None = None) -> int:
    """Write one row of ``predictions`` per image of the class and return their number.

    An image that cannot be read is a row whose ``error`` says why, and so is one for which the network's outputs are
    not all finite; one that the gate leaves out has ``skipped`` = ``misclassified``. An image is correct where its
    class is the only output of the highest score. A method that explains no class needs no output that stands for it.
    """
    return _predict(run, class_id, progress)


def predict_distinct(run: Run[Settings], class_id: str, progress: Progress | None = None) -> int:
    """Do what :func:`predict` does, and leave out what shows the network the same pixels as an image before it.

    Such an image has ``skipped`` = ``copy of`` the first one's id, whatever the gate says of both.
    """
    return _predict(run, class_id, progress, Copies())


def predict_judged(run: Run[Settings], class_id: str, progress: Progress | None = None) -> int:
    """Do what :func:`predict_distinct` does, and say of each image whether it is correct, if an output is its class's.

    For methods that explain no class and tell how often the network is right beside it.
    """
    return _predict(run, class_id, progress, Copies(), target=run.targets.get(class_id))


class Copies:
    """Finds images that are the same to the network: files that are equal, or whose pixels are at its input size.

    Batches are looked at one after the other, in threads: the network may work meanwhile.
    """

    def __init__(self) -> None:
        self._first: dict[bytes, str] = {}
        self._threads = ThreadPoolExecutor(processors(), thread_name_prefix="copies")
        self._digests: Iterator[bytes] = iter(())

    def begin(self, batch: Batch) -> None:
        """Begin to look at a batch."""
        self._digests = self._threads.map(_digest, batch.images)

    def found(self, batch: Batch) -> dict[str, str]:
        """Return the id of the first equal image, of the batch begun or an earlier one, by the id of each copy."""
        found = {}
        for image_id, pixels in zip(batch.image_ids, self._digests, strict=True):
            first = self._first.setdefault(pixels, image_id)
            if first != image_id:
                found[image_id] = first
        return found


def _digest(image: Tensor) -> bytes:
    pixels: Any = image.contiguous().numpy()
    return hashlib.sha256(pixels).digest()


def _predict(
    run: Run[Settings],
    class_id: str,
    progress: Progress | None,
    copies: Copies | None = None,
    *,
    target: int | None = None,
) -> int:
    if run.settings.explains_class:
        target = run.target(class_id)
    listed = frozen_manifest(run, class_id)
    seen: dict[str, dict[str, Any]] = {}
    copied: dict[str, str] = {}
    along = Along(run, class_id)
    for batch in batches(run, class_id, are_read_again=not along.is_last):
        if copies:
            copies.begin(batch)
        found = _predicted(run, batch, along, target)
        of_batch = copies.found(batch) if copies else {}
        for image_id, first in of_batch.items():
            if not found[image_id].get("error"):
                found[image_id]["skipped"] = f"{COPY}{first}"
        if batch.image_ids:
            along.take(batch, found)
        seen.update(found)
        copied |= of_batch
        if progress:
            progress(len(seen), len(listed))
    if copied:
        named = ", ".join(f"{image_id} (as {first})" for image_id, first in list(copied.items())[:NAMED])
        more = ", …" if len(copied) > NAMED else ""
        logger.warning(
            "%s: %d of %d images show the same as another one and are left out: %s%s",
            class_id, len(copied), len(listed), named, more,
        )  # fmt: skip
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
    along.keep()
    return len(rows)


def _predicted(run: Run[Settings], batch: Batch, along: Along, target: int | None) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {image_id: {"error": message} for image_id, message in batch.failures}
    if not batch.image_ids:
        return rows
    scores = along.scores(batch)
    with torch.inference_mode():
        probabilities, index = scores.softmax(dim=1).float().cpu(), scores.argmax(dim=1).tolist()
        places = None if target is None else ranks(scores, torch.full((len(scores),), target)).tolist()
    lost = n_not_finite(scores).tolist()
    for row, image_id in enumerate(batch.image_ids):
        rows[image_id] = {"width": batch.widths[row], "height": batch.heights[row]}
        if lost[row]:
            rows[image_id]["error"] = f"{NOT_FINITE}: {lost[row]} of {scores.shape[1]} are NaN or infinite"
            continue
        rows[image_id] |= {"pred_idx": index[row], "prob_pred": float(probabilities[row, index[row]])}
        if target is not None and places is not None:
            is_correct = places[row] == 1
            rows[image_id] |= {
                "prob_target": float(probabilities[row, target]),
                "rank_target": places[row],
                "correct": is_correct,
                "skipped": "misclassified" if run.settings.skip_misclassified and not is_correct else None,
            }
    return rows


PREDICT = Stage("predict", "predictions", predict, also=("manifest",))
"""The first stage of every family and analysis."""
PREDICT_DISTINCT = Stage("predict", "predictions", predict_distinct, also=("manifest",))
"""The first stage of a family for which an image that comes several times in a class is no further evidence."""
PREDICT_JUDGED = Stage("predict", "predictions", predict_judged, also=("manifest",))
"""The same for a method that explains no class, where it is to be told how often the network is right."""
