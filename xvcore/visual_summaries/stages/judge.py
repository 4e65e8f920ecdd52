"""What the accepted summaries of a class amount to: how many parts they lie on, and what is lost without them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xvcore.runs.run import Run
from xvcore.visual_summaries.method.clustering import Clusters
from xvcore.visual_summaries.method.coherence import Summary
from xvcore.visual_summaries.method.distinct_parts import occurrences
from xvcore.visual_summaries.method.joint_drop import JointDrops, SetDrop
from xvcore.visual_summaries.method.recount import Counts, Recount, supporting
from xvcore.visual_summaries.settings import VisualSummaries
from xvcore.visual_summaries.stages.loaded import Loaded


@dataclass(frozen=True)
class Judgement:
    """What is found of the summaries of a class.

    Parameters
    ----------
    of_cluster : further columns of ``clusters``, by number of the cluster
    of_region : further columns of ``regions``, by place of the region among those of the class
    drops : rows of ``summary_drops``
    counts : rows of ``part_counts``
    """

    of_cluster: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    of_region: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    drops: Sequence[Mapping[str, Any]] = ()
    counts: Sequence[Mapping[str, Any]] = ()


def no_regions() -> Judgement:
    """Return what is found where the class has no regions: no summary and no part."""
    row = {"n_images": 0, "is_whole": True, "n_samples": 1, "n_summaries": 0.0, "n_parts": 0.0}
    return Judgement(counts=[row])


def judge(
    run: Run[VisualSummaries], class_id: str, found: Loaded, groups: Clusters, summaries: Sequence[Summary]
) -> Judgement:
    """Return what the accepted summaries amount to.

    Parameters
    ----------
    run, class_id : whose they are
    found : regions and images of the class
    groups : the clusters
    summaries : those accepted, in the order of their score
    """
    settings = run.settings
    places = settings.distinct_parts.places(
        found.images.salient.numpy(),
        found.matches.image.numpy(),
        found.regions[["x", "y", "w", "h"]].to_numpy(np.float64),
        found.matches.scores.numpy(),
        seed=settings.seed,
    )
    regions_of = [supporting(each, groups, found.matches) for each in summaries]
    parts = settings.distinct_parts(places, occurrences(regions_of, places.image))
    n_images = len(found.images.images)
    drops = settings.joint_drop(
        settings.drop,
        run.classifier,
        found.images.images,
        torch.full((n_images,), run.target(class_id)),
        _boxes(found, regions_of, n_images),
        seed=settings.seed,
        batch_size=run.spec.batch_size,
    )
    recount = Recount(
        found.images,
        found.matches,
        places,
        settings.clustering,
        settings.coherence,
        settings.distinct_parts,
        settings.flow,
        settings.seed,
    )
    samples = settings.count_interval(recount, n_images, seed=settings.seed)
    return Judgement(
        of_cluster=_of_cluster(run, summaries, parts.tolist(), drops),
        of_region=_of_region(found, regions_of, drops),
        drops=_drop_rows(run, summaries, drops),
        counts=_count_rows(run, n_images, (len(summaries), len(set(parts.tolist()))), samples),
    )


def _boxes(found: Loaded, regions_of: Sequence[Sequence[int]], n_images: int) -> Float[Tensor, "summaries images 4"]:
    boxes = torch.zeros(len(regions_of), n_images, 4)
    places = torch.tensor(found.regions[["x", "y", "w", "h"]].to_numpy(np.float32))
    for of_summary, regions in zip(boxes, regions_of, strict=True):
        of_summary[found.matches.image[regions]] = places[regions]
    return boxes


def _of_cluster(
    run: Run[VisualSummaries], summaries: Sequence[Summary], parts: Sequence[int], drops: JointDrops
) -> dict[int, dict[str, Any]]:
    columns: dict[int, dict[str, Any]] = {}
    for index, (summary, part, alone) in enumerate(zip(summaries, parts, drops.alone, strict=True)):
        place = drops.order.index(index)
        columns[summary.cluster_id] = {
            "distinct_part": part + 1,
            "greedy_rank": place + 1,
            "joint_gain": drops.gains[place],
            "random_drop": alone.random,
            "above_random": run.settings.joint_drop.is_above_random(alone),
        }
    return columns


def _of_region(found: Loaded, regions_of: Sequence[Sequence[int]], drops: JointDrops) -> dict[int, dict[str, Any]]:
    """Return what is lost in its image without each region that stands for a summary there."""
    columns: dict[int, dict[str, Any]] = {}
    for regions, alone in zip(regions_of, drops.alone, strict=True):
        of_image = {each.image: each for each in alone.of_images}
        for region in regions:
            each = of_image[int(found.matches.image[region])]
            columns[region] = {"prob_drop": each.drop, "random_drop": each.random}
    return columns


def _drop_rows(run: Run[VisualSummaries], summaries: Sequence[Summary], drops: JointDrops) -> list[dict[str, Any]]:
    if not summaries:
        return []

    def row(kind: str, step: int, found: SetDrop) -> dict[str, Any]:
        return {
            "kind": kind,
            "step": step,
            "n_images": found.n_images,
            "area_frac": found.area,
            "prob_drop": found.drop,
            "random_drop": found.random,
            "p_value": found.p_value,
            "above_random": run.settings.joint_drop.is_above_random(found),
        }

    alone = [
        {**row("alone", step, found), "cluster_id": summary.cluster_id}
        for step, (summary, found) in enumerate(zip(summaries, drops.alone, strict=True), start=1)
    ]
    greedy = [
        {
            "kind": "greedy",
            "step": step,
            "cluster_id": summaries[index].cluster_id,
            "n_images": drops.joint.n_images,
            "prob_drop": so_far,
            "gain": gain,
        }
        for step, (index, gain, so_far) in enumerate(zip(drops.order, drops.gains, drops.so_far, strict=True), start=1)
    ]
    return [*alone, *greedy, row("joint", 1, drops.joint)]


def _count_rows(
    run: Run[VisualSummaries], n_images: int, whole: tuple[int, int], samples: Sequence[Counts]
) -> list[dict[str, Any]]:
    interval = run.settings.count_interval
    half = interval.n_images_of(0.5, n_images)
    halves = next((each for each in samples if each.n_images == half), None)
    rows = [
        {
            "n_images": each.n_images,
            "is_whole": False,
            "n_samples": len(each.parts),
            "n_summaries": float(each.summaries.mean()),
            "n_parts": float(each.parts.mean()),
            **_ends("summaries", interval.quantiles(each.summaries)),
            **_ends("parts", interval.quantiles(each.parts)),
        }
        for each in samples
    ]
    n_summaries, n_parts = whole
    ends = {}
    if halves is not None:
        of_summaries = interval.interval(n_summaries, halves.summaries)
        ends = {**_ends("summaries", of_summaries), **_ends("parts", interval.interval(n_parts, halves.parts))}
    found = {"is_whole": True, "n_samples": 1, "n_summaries": float(n_summaries), "n_parts": float(n_parts)}
    return [*rows, {"n_images": n_images, **found, **ends}]


def _ends(name: str, ends: tuple[float, float]) -> dict[str, float]:
    return {f"{name}_low": ends[0], f"{name}_high": ends[1]}
