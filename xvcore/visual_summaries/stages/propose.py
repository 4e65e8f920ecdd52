"""Stage *propose*: region proposals of every image, cached without the network; images → proposals."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from xvcore.keys import digest
from xvcore.parameters import as_dict
from xvcore.runs.images import as_bytes, batches, records
from xvcore.runs.run import Progress, Run
from xvcore.types import Boxes
from xvcore.visual_summaries.settings import VisualSummaries
from xvcore.visual_summaries.stages.masked import masked_images

PROPOSALS_VERSION = 1
"""Counted up whenever a change of the code moves the boxes."""


def proposals_id(run: Run[VisualSummaries]) -> str:
    """Return the name of the cache: dataset, split, geometry of the input and parameters of the proposals, no network.

    Two networks with the same input size and crop share it.
    """
    identity = {
        "dataset": run.dataset.name,
        "split": run.dataset.split,
        "preprocessing": run.classifier.preprocessing.key(),
        "params": as_dict(run.settings.proposals),
        "version": PROPOSALS_VERSION,
    }
    return f"proposals-{digest(identity)}"


def propose(run: Run[VisualSummaries], class_id: str, progress: Progress | None = None) -> int:
    """Add what is missing to the cached ``proposals`` of the class; return the number of images computed now.

    An image counts as cached when a row has its id **and** its SHA-256.
    """
    name = proposals_id(run)
    images = masked_images(run, class_id)
    predictions = run.store.read("predictions", run.run_id, class_id, columns=["image_id", "sha256"])
    sha256 = dict(zip(predictions["image_id"], predictions["sha256"], strict=True))
    cached: dict[str, dict[str, Any]] = {}
    if run.store.has("proposals", name, class_id):
        cached = {row["image_id"]: row for row in records(run.store.read("proposals", name, class_id))}
    missing = [each for each in images["image_id"] if cached.get(each, {}).get("sha256") != sha256[each]]
    if not missing and cached:
        return 0
    n_done = 0
    # Selective Search of OpenCV works outside the interpreter's lock: as many threads as the run was given.
    with ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="propose") as pool:
        for batch in batches(run, class_id, missing) if missing else ():
            found = pool.map(run.settings.proposals, as_bytes(batch.images))
            for image_id, boxes in zip(batch.image_ids, found, strict=True):
                cached[image_id] = {"image_id": image_id, "sha256": sha256[image_id], **_columns(boxes)}
            n_done += len(batch.image_ids)
            if progress:
                progress(n_done, len(missing))
    rows = [cached[image_id] for image_id in sorted(cached)]
    run.store.write("proposals", name, class_id, rows)
    return n_done


def cached_boxes(run: Run[VisualSummaries], class_id: str) -> dict[str, Boxes]:
    """Return the cached boxes of each image of a class: float32 (boxes, 4) x, y, w, h in pixels of the input."""
    rows = records(run.store.read("proposals", proposals_id(run), class_id))
    return {
        row["image_id"]: torch.from_numpy(np.stack([row[side] for side in "xywh"], axis=1).astype(np.float32))
        for row in rows
    }


def _columns(boxes: Boxes) -> dict[str, list[int]]:
    whole = boxes.round().int()
    return {name: whole[:, column].tolist() for column, name in enumerate("xywh")}
