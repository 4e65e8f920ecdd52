"""Stage *match*: which regions of a class look alike in a like place; masks, proposals → candidates, similarity."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from xvcore.runs.images import pictures, records
from xvcore.runs.run import Progress, Run
from xvcore.store.encode import rle_decode
from xvcore.visual_summaries.method.proposal_flow import ClassMatches, Proposals, match_all
from xvcore.visual_summaries.settings import VisualSummaries
from xvcore.visual_summaries.stages.masked import masked_images
from xvcore.visual_summaries.stages.propose import cached_boxes


def match(run: Run[VisualSummaries], class_id: str, progress: Progress | None = None) -> int:
    """Write the candidate regions of a class and the similarity of those kept; return the number kept.

    A candidate is a proposal that the crisp mask removes to more than ``pruning.coverage``; kept are those that are
    not redundant in their image. ``candidates`` is written last: it says that the stage is done.
    """
    images = masked_images(run, class_id)
    candidates = pd.DataFrame()
    pairs: pa.Table | list[dict[str, Any]] = []
    if len(images):
        proposals = described(run, class_id, list(images["image_id"]))
        covered = [
            run.settings.pruning.covered(rle_decode(row["rle"]), proposals[row["image_id"]].boxes)
            for row in records(images)
        ]
        matches = match_all(
            [proposals[image_id] for image_id in images["image_id"]],
            [is_candidate for _, is_candidate in covered],
            run.size,
            run.settings.flow,
            progress=progress,
        )
        candidates = _candidates(run, images, proposals, [share for share, _ in covered], matches)
        pairs = _pairs(run, class_id, candidates, symmetric(matches.scores))
    run.store.write("similarity", run.run_id, class_id, pairs)
    rows = [{**run.keys(class_id), **row} for row in records(candidates)]
    run.store.write("candidates", run.run_id, class_id, rows)
    return int(candidates["kept"].sum()) if len(candidates) else 0


def described(run: Run[VisualSummaries], class_id: str, image_ids: list[str]) -> dict[str, Proposals]:
    """Return boxes and descriptors of each named image, on the classifier's device; recomputed, never stored."""
    boxes = cached_boxes(run, class_id)
    found: dict[str, Proposals] = {}
    for image_id, image in zip(image_ids, pictures(run, class_id, image_ids), strict=True):
        on_device = boxes[image_id].to(run.classifier.device)
        found[image_id] = Proposals(on_device, run.settings.descriptor(image.to(run.classifier.device), on_device))
    return found


def symmetric(scores: torch.Tensor) -> torch.Tensor:
    """Return the mean of scores and their transpose.

    Blocks of two different images are symmetric by construction; the match of an image with itself is not, and a
    table of pairs i < j can hold one number per pair only.
    """
    return (scores + scores.T) / 2


def _candidates(
    run: Run[VisualSummaries],
    images: pd.DataFrame,
    proposals: dict[str, Proposals],
    shares: list[torch.Tensor],
    matches: ClassMatches,
) -> pd.DataFrame:
    image, box = matches.image.cpu().numpy(), matches.box.cpu().numpy()
    image_ids = images["image_id"].to_numpy()
    places = [proposals[image_ids[i]].boxes[b].cpu().tolist() for i, b in zip(image, box, strict=True)]
    frame = pd.DataFrame(places, columns=["x", "y", "w", "h"]).round().astype(int)
    frame.insert(0, "region_id", np.arange(len(frame)))
    frame.insert(1, "image_id", image_ids[image])
    frame["proposal_rank"] = box
    frame["mask_overlap"] = [float(shares[i][b]) for i, b in zip(image, box, strict=True)]
    frame["redundancy"] = matches.redundancy.cpu().numpy()
    frame["self_similarity"] = matches.scores.diagonal().cpu().numpy()
    kept = np.zeros(len(frame), dtype=bool)
    for index in range(len(images)):
        rows = np.flatnonzero(image == index)
        if len(rows):
            boxes = torch.tensor(frame.loc[rows, ["x", "y", "w", "h"]].to_numpy(np.float32))
            kept[rows] = run.settings.pruning.distinct(boxes, matches.redundancy[rows].cpu()).cpu().numpy()
    frame["kept"] = kept & _within_cap(frame["redundancy"].where(kept, -np.inf).to_numpy(), run.settings.max_regions)
    return frame


def _within_cap(score: np.ndarray, most: int) -> np.ndarray:
    order = np.argsort(-score, kind="stable")
    chosen = np.zeros(len(score), dtype=bool)
    chosen[order[:most]] = True
    return chosen


def _pairs(run: Run[VisualSummaries], class_id: str, candidates: pd.DataFrame, scores: torch.Tensor) -> pa.Table:
    ids = np.flatnonzero(candidates["kept"].to_numpy())
    chosen = scores.cpu().numpy()[np.ix_(ids, ids)]
    i, j = np.triu_indices(len(ids), k=1)
    columns = {name: pa.repeat(pa.scalar(value, pa.string()), len(i)) for name, value in run.keys(class_id).items()}
    return pa.table(
        {
            **columns,
            "region_i": pa.array(ids[i].astype(np.int32)),
            "region_j": pa.array(ids[j].astype(np.int32)),
            "score": pa.array(chosen[i, j].astype(np.float32)),
        }
    )
