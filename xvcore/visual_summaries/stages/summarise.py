"""Stage *summarise*: what the network looks at regularly; candidates, similarity, masks → regions, clusters."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from xvcore.runs.images import as_bytes, pictures, records
from xvcore.runs.run import Progress, Run
from xvcore.store.encode import picture, rle_decode
from xvcore.visual_summaries.method.clustering import Clusters
from xvcore.visual_summaries.method.coherence import ClassImages, Summary
from xvcore.visual_summaries.method.dense_flow import window
from xvcore.visual_summaries.method.montage import montage
from xvcore.visual_summaries.method.proposal_flow import ClassMatches, Proposals
from xvcore.visual_summaries.settings import VisualSummaries
from xvcore.visual_summaries.stages.masked import masked_images
from xvcore.visual_summaries.stages.match import described
from xvcore.visual_summaries.stages.propose import cached_boxes


def summarise(run: Run[VisualSummaries], class_id: str, progress: Progress | None = None) -> int:
    """Cluster the regions of a class, judge the clusters, write ``regions`` and ``clusters``; return those accepted.

    ``clusters`` is written last: it says that the stage is done.
    """
    found = _load(run, class_id)
    regions = pd.DataFrame()
    clusters: list[dict[str, Any]] = []
    if found is not None:
        groups = run.settings.clustering(found.matches.scores, seed=run.settings.seed)
        summaries = run.settings.coherence(found.images, found.matches, groups, run.settings.flow, progress)
        regions = _region_rows(found, groups, summaries)
        clusters = _cluster_rows(run, class_id, found, groups, summaries)
    rows = [{**run.keys(class_id), **row} for row in records(regions)]
    run.store.write("regions", run.run_id, class_id, rows)
    run.store.write("clusters", run.run_id, class_id, [{**run.keys(class_id), **row} for row in clusters])
    return sum(row["accepted"] for row in clusters)


def trim(run: Run[VisualSummaries], class_id: str, _progress: Progress | None = None) -> int:
    """Keep of the pairs in ``similarity`` what the settings ask for, and return their number.

    Doing it twice changes nothing. A stage of its own: until the clusters are written every pair is needed.
    """
    wish = run.settings.similarity
    pairs = run.store.read("similarity", run.run_id, class_id)
    if wish == "full":
        return len(pairs)
    kept = pairs.iloc[:0] if wish == "none" else pairs[_among_best(pairs, 50)]
    run.store.write("similarity", run.run_id, class_id, records(kept))
    return len(kept)


@dataclass(frozen=True)
class _Loaded:
    """The kept regions of a class with their images, numbered anew from 0."""

    regions: pd.DataFrame
    images: ClassImages
    matches: ClassMatches


def _load(run: Run[VisualSummaries], class_id: str) -> _Loaded | None:
    """Return what the earlier stages left, or None where no region was kept."""
    candidates = run.store.read("candidates", run.run_id, class_id)
    if candidates.empty or not candidates["kept"].any():
        return None
    regions = candidates[candidates["kept"].astype(bool)].reset_index(drop=True)
    masks = masked_images(run, class_id)
    masks = masks[masks["image_id"].isin(set(regions["image_id"]))].reset_index(drop=True)
    image_ids = list(masks["image_id"])
    if run.settings.coherence.alignment == "flow":
        proposals = described(run, class_id, image_ids)
    else:  # no image is matched again, and descriptors would take most of the stage's time
        boxes = cached_boxes(run, class_id)
        proposals = {each: Proposals(boxes[each], torch.zeros(len(boxes[each]), 0)) for each in image_ids}
    images = ClassImages(
        images=pictures(run, class_id, image_ids),
        salient=torch.from_numpy(np.stack([rle_decode(cell) for cell in masks["rle"]])),
        proposals=[proposals[image_id] for image_id in image_ids],
    )
    number = {image_id: index for index, image_id in enumerate(image_ids)}
    matches = ClassMatches(
        image=torch.tensor([number[image_id] for image_id in regions["image_id"]]),
        box=torch.tensor(regions["proposal_rank"].to_numpy(np.int64)),
        scores=_scores(run, class_id, regions),
        redundancy=torch.tensor(regions["redundancy"].to_numpy(np.float32)),
    )
    return _Loaded(regions, images, matches)


def _scores(run: Run[VisualSummaries], class_id: str, regions: pd.DataFrame) -> Tensor:
    """Return the similarity of the kept regions as a matrix, from the table of pairs and the stored diagonal."""
    pairs = run.store.read("similarity", run.run_id, class_id)
    place = pd.Series(np.arange(len(regions)), index=regions["region_id"].to_numpy())
    scores = np.diag(regions["self_similarity"].to_numpy(np.float32))
    i, j = place[pairs["region_i"]].to_numpy(), place[pairs["region_j"]].to_numpy()
    scores[i, j] = scores[j, i] = pairs["score"].to_numpy(np.float32)
    return torch.from_numpy(scores)


def _region_rows(found: _Loaded, groups: Clusters, summaries: tuple[Summary, ...]) -> pd.DataFrame:
    frame = found.regions[["region_id", "image_id", "x", "y", "w", "h", "proposal_rank", "mask_overlap"]].copy()
    labels = groups.labels.cpu().numpy()
    exemplars = groups.exemplars.cpu().numpy()
    scores = found.matches.scores.numpy()
    rows = np.arange(len(frame))
    frame["cluster_id"] = labels
    frame["is_exemplar"] = np.isin(rows, exemplars)
    frame["sim_exemplar"] = np.where(labels >= 0, scores[exemplars[labels], rows], np.nan) if len(exemplars) else np.nan
    shown = {member: kept for each in summaries for member, kept in zip(each.members, each.kept, strict=True)}
    frame["kept"] = [shown.get(row, False) for row in range(len(frame))]
    pixels = as_bytes(found.images.images)
    image = found.matches.image.tolist()
    boxes = frame[["x", "y", "w", "h"]].to_numpy(np.float64)
    crops = [
        picture(np.ascontiguousarray(pixels[image[row]][window(boxes[row])])) if row in shown else None
        for row in range(len(frame))
    ]
    frame["crop"] = pd.Series(crops, dtype=object)
    return frame


def _cluster_rows(
    run: Run[VisualSummaries], class_id: str, found: _Loaded, groups: Clusters, summaries: tuple[Summary, ...]
) -> list[dict[str, Any]]:
    pixels, salient = as_bytes(found.images.images), found.images.salient.numpy()
    boxes = found.regions[["x", "y", "w", "h"]].to_numpy(np.float64)
    image = found.matches.image.numpy()
    scores = found.matches.scores.numpy()
    labels = groups.labels.cpu().numpy()
    rows = []
    for position, summary in enumerate(sorted(summaries, key=_order), start=1):
        members = np.array([member for member, kept in zip(summary.members, summary.kept, strict=True) if kept])
        of_cluster = np.flatnonzero(labels == summary.cluster_id)
        where = image[members]
        rows.append(
            {
                "cluster_id": summary.cluster_id,
                "position": position,
                "exemplar_region_id": int(found.regions["region_id"][summary.exemplar]),
                "n_regions": summary.n_regions,
                "n_images": len(set(image[of_cluster])),
                "mean_similarity": float(scores[summary.exemplar, of_cluster].mean()),
                "ssim_median": _number(summary.ssim_median),
                "score": _number(summary.score),
                "accepted": summary.accepted,
                "rejected": summary.rejected,
                "prob_drop": _median_drop(run, class_id, found, members),
                "montage": picture(montage(pixels[where], salient[where], boxes[members])),
                "converged": groups.converged,
                "n_iter": groups.n_iter,
            }
        )
    return rows


def _median_drop(run: Run[VisualSummaries], class_id: str, found: _Loaded, members: np.ndarray) -> float:
    """Return the median relative drop when the summary's region is blurred in each of its images."""
    boxes = torch.tensor(found.regions[["x", "y", "w", "h"]].to_numpy(np.float32)[members])
    images = found.images.images[found.matches.image[members]]
    targets = torch.full((len(members),), run.target(class_id))
    drops = run.settings.drop(run.classifier, images, targets, boxes, batch_size=run.spec.batch_size)
    return float(drops.median())


def _order(summary: Summary) -> tuple[bool, float, int]:
    """Sort accepted clusters first, then by score, the best first; what has no score comes last."""
    return not summary.accepted, -summary.score if math.isfinite(summary.score) else math.inf, summary.cluster_id


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _among_best(pairs: pd.DataFrame, n_best: int) -> np.ndarray:
    both = pd.concat(
        [
            pairs[["region_i", "score"]].rename(columns={"region_i": "region"}),
            pairs[["region_j", "score"]].rename(columns={"region_j": "region"}),
        ]
    )
    best = both.groupby("region")["score"].rank(method="first", ascending=False).to_numpy() <= n_best
    return best[: len(pairs)] | best[len(pairs) :]
