"""Stage *summarise*: what the network looks at regularly, and how many parts that is.

candidates, similarity, masks → regions, clusters, summary_drops, part_counts.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from xvcore.runs.images import as_bytes, records
from xvcore.runs.run import Progress, Run
from xvcore.store.encode import picture
from xvcore.types import Boxes, Images, Targets
from xvcore.visual_summaries.method.clustering import Clusters
from xvcore.visual_summaries.method.coherence import Summary
from xvcore.visual_summaries.method.dense_flow import window
from xvcore.visual_summaries.method.drop import WorstDrop
from xvcore.visual_summaries.method.montage import montage
from xvcore.visual_summaries.settings import VisualSummaries
from xvcore.visual_summaries.stages.judge import judge, no_regions
from xvcore.visual_summaries.stages.loaded import Loaded, load


def summarise(run: Run[VisualSummaries], class_id: str, progress: Progress | None = None) -> int:
    """Cluster the regions of a class, judge the clusters, say how many parts they are; return the number accepted.

    ``clusters`` is written last: it says that the stage is done.
    """
    found = load(run, class_id)
    regions: list[dict[str, Any]] = []
    clusters: list[dict[str, Any]] = []
    judgement = no_regions()
    if found is not None:
        groups = run.settings.clustering(found.matches.scores, seed=run.settings.seed)
        judged = run.settings.coherence(found.images, found.matches, groups, run.settings.flow, progress)
        summaries = sorted(judged, key=_order)
        judgement = judge(run, class_id, found, groups, [each for each in summaries if each.accepted])
        of_regions = records(_region_rows(found, groups, summaries))
        regions = [{**row, **judgement.of_region.get(place, {})} for place, row in enumerate(of_regions)]
        clusters = _cluster_rows(run, class_id, found, groups, summaries)
    tables: dict[str, Sequence[Mapping[str, Any]]] = {
        "regions": regions,
        "summary_drops": judgement.drops,
        "part_counts": judgement.counts,
        "clusters": [{**row, **judgement.of_cluster.get(row["cluster_id"], {})} for row in clusters],
    }
    for table, rows in tables.items():
        run.store.write(table, run.run_id, class_id, [{**run.keys(class_id), **row} for row in rows])
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


def _region_rows(found: Loaded, groups: Clusters, summaries: Sequence[Summary]) -> pd.DataFrame:
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
    run: Run[VisualSummaries], class_id: str, found: Loaded, groups: Clusters, summaries: Sequence[Summary]
) -> list[dict[str, Any]]:
    pixels, salient = as_bytes(found.images.images), found.images.salient.numpy()
    boxes = found.regions[["x", "y", "w", "h"]].to_numpy(np.float64)
    image = found.matches.image.numpy()
    scores = found.matches.scores.numpy()
    labels = groups.labels.cpu().numpy()
    rows = []
    for position, summary in enumerate(summaries, start=1):
        members = np.array([member for member, kept in zip(summary.members, summary.kept, strict=True) if kept])
        of_cluster = np.flatnonzero(labels == summary.cluster_id)
        where = image[members]
        worst = _worst_drop(run, class_id, found, members) if summary.accepted else None
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
                "worst_drop": worst and worst.drop,
                "worst_baseline": worst and worst.baseline,
                "montage": picture(montage(pixels[where], salient[where], boxes[members])),
                "converged": groups.converged,
                "n_iter": groups.n_iter,
            }
        )
    return rows


def _median_drop(run: Run[VisualSummaries], class_id: str, found: Loaded, members: np.ndarray) -> float:
    """Return the median relative drop when the summary's region is blurred in each of its images."""
    drops = run.settings.drop(run.classifier, *_members(run, class_id, found, members), batch_size=run.spec.batch_size)
    return float(drops.median())


def _worst_drop(run: Run[VisualSummaries], class_id: str, found: Loaded, members: np.ndarray) -> WorstDrop:
    """Return the same for the baseline under which least is lost."""
    return run.settings.drop.worst(
        run.classifier, *_members(run, class_id, found, members), batch_size=run.spec.batch_size
    )


def _members(
    run: Run[VisualSummaries], class_id: str, found: Loaded, members: np.ndarray
) -> tuple[Images, Targets, Boxes]:
    """Return image, target and box of each region of a summary."""
    boxes = torch.tensor(found.regions[["x", "y", "w", "h"]].to_numpy(np.float32)[members])
    images = found.images.images[found.matches.image[members]]
    return images, torch.full((len(members),), run.target(class_id)), boxes


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
