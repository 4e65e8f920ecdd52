"""A small store with drawn pictures: every kind of class that a report can meet, and names that try to break it."""

import datetime
import functools
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from xvcore.store import Store
from xvcore.store.encode import map_cell, picture, rle_encode
from xvcore.visual_summaries.method.montage import montage

SIDE = 96
WIDE, HOSTILE_MODEL = "partbirds_wide", "timm/<b>narrow</b>&'co'"
HOSTILE = "<script>alert(1)</script>"
IMAGE_IDS = ("a/b c#1?.png", "<img src=x onerror=alert(1)>", "100%25.jpg", 'quo"te', "index", "plain_1.JPEG")
NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
CLASSES = {
    "robin": "American robin",
    HOSTILE: f"{HOSTILE} & co",
    "empty class": "empty class",
    "broken": "broken",
    "no.clusters here": "no clusters",
    "pending": "pending",
}


@functools.cache
def drawn(seed: int, side: int = SIDE) -> np.ndarray:
    """A bird of a sort: body, head and ground, (side, side, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    image = np.stack([0.55 + 0.2 * y, 0.7 - 0.15 * y, 0.8 - 0.4 * y], axis=2)
    image += rng.normal(0, 0.015, image.shape)
    for (cx, cy), (rx, ry), colour in parts(seed):
        image[((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1] = colour
    return (image.clip(0, 1) * 255).astype(np.uint8)


def parts(seed: int) -> list[tuple[tuple[float, float], tuple[float, float], tuple[float, float, float]]]:
    """Centre, radii and colour of tail, body and head, as fractions of the side."""
    rng = np.random.default_rng(seed + 1)
    dx, dy = rng.uniform(-0.08, 0.08, 2)
    return [
        ((0.24 + dx, 0.62 + dy), (0.16, 0.06), (0.3, 0.25, 0.2)),
        ((0.5 + dx, 0.56 + dy), (0.22, 0.17), (0.75, 0.35, 0.15)),
        ((0.72 + dx, 0.36 + dy), (0.11, 0.11), (0.2, 0.2, 0.25)),
    ]


def salient(seed: int, side: int = SIDE) -> np.ndarray:
    """The pixels of head and body."""
    y, x = np.mgrid[:side, :side] / side
    found = np.zeros((side, side), dtype=bool)
    for (cx, cy), (rx, ry), _ in parts(seed)[1:]:
        found |= ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 0.8
    return found


def box_of(seed: int, part: int, side: int = SIDE) -> tuple[int, int, int, int]:
    """The box of a part: x, y, w, h in pixels."""
    (cx, cy), (rx, ry), _ = parts(seed)[part]
    x, y = round((cx - rx) * side), round((cy - ry) * side)
    return max(0, x), max(0, y), round(2 * rx * side), round(2 * ry * side)


def seed_of(image_id: str) -> int:
    return sum(map(ord, image_id)) % 1000


def picture_of(run: dict, image_id: str, class_id: str) -> np.ndarray | None:
    return drawn(seed_of(image_id))


def run_row(run_id: str, model: str, class_ids: Iterable[str], *, minute: int = 0) -> dict:
    return {
        "run_id": run_id,
        "model": model,
        "created_at": NOW + datetime.timedelta(minutes=minute),
        "status": "running",
        "method": "visual-summaries",
        "weights": "weights/" + model,
        "weights_sha256": "ab" * 32,
        "dataset": "partbirds",
        "split": "val",
        "input_px": SIDE,
        "class_ids": sorted(class_ids),
        "seed": 0,
        "params": {"mask": {"smooth_steps": 300}, "max_images": 100},
        "params_hash": "0123456789ab",
        "env": {"torch": "2", "preprocessing": {"input_px": [SIDE, SIDE], "resize_px": SIDE, "mean": [0], "std": [1]}},
    }


def record(class_id: str, status: str = "complete", **columns: object) -> dict:
    return {
        "class_id": class_id,
        "class_name": CLASSES.get(class_id, class_id),
        "status": status,
        "attempt": 1,
        "seconds": 12.5,
        "seconds_by_stage": {"mask": 10.0, "match": 2.5},
        "finished_at": NOW,
        **columns,
    }


def write_class(
    store: Store, run_id: str, class_id: str, image_ids: Iterable[str], *, n_parts: int = 2, judged: bool = True
) -> None:
    """One class with a bad image, a misclassified one, a cluster a part, and a rejected cluster.

    Not ``judged`` is one of a run that did not ask on which parts the summaries lie.
    """
    ids = sorted(image_ids)
    good = ids[:-1]
    predictions = [
        {
            "image_id": image_id,
            "path": f"/data/{image_id}",
            "sha256": f"{seed_of(image_id):064x}",
            "width": 200,
            "height": 150,
            "target_idx": 3,
            "pred_idx": 3 if image_id in good else 5,
            "prob_target": 0.9 if image_id in good else 0.2,
            "prob_pred": 0.9 if image_id in good else 0.7,
            "rank_target": 1 if image_id in good else 2,
            "correct": image_id in good,
            "skipped": None if image_id in good else "misclassified",
        }
        for image_id in ids
    ]
    predictions.append({"image_id": "torn.jpg", "error": "ImageError: <i>truncated</i> file"})
    store.write("predictions", run_id, class_id, predictions)
    store.write("masks", run_id, class_id, [row for image_id in good for row in mask_rows(image_id)])
    clusters, regions = [], []
    for part in range(n_parts):
        members = [(image_id, box_of(seed_of(image_id), 2 - part)) for image_id in good]
        regions += region_rows(members, cluster_id=part, first=len(regions))
        clusters.append(cluster_row(members, part, accepted=True, part=("head", "body", "tail")[part]))
    if n_parts:
        members = [(image_id, box_of(seed_of(image_id), 0)) for image_id in good[:2]]
        regions += region_rows(members, cluster_id=n_parts, first=len(regions))
        clusters.append(cluster_row(members, n_parts, accepted=False, part=None))
    if judged:
        clusters = [{**row, **judgement(row["cluster_id"])} if row["accepted"] else row for row in clusters]
        regions = [{**row, **lost_in_image(row)} if row["cluster_id"] < n_parts else row for row in regions]
        store.write("summary_drops", run_id, class_id, drop_rows(n_parts))
        store.write("part_counts", run_id, class_id, count_rows(len(good), n_parts))
    store.write("regions", run_id, class_id, regions)
    store.write("clusters", run_id, class_id, clusters)
    shares = [
        {"cluster_id": part, "part": ("head", "body", "tail")[part], "share": 0.9, "random_share": 0.2, "n_regions": 5}
        for part in range(n_parts)
    ]
    store.write("summary_parts", run_id, class_id, shares)
    counts = {
        "n_images": len(predictions),
        "n_errors": 1,
        "n_correct": len(good),
        "n_masks": len(good),
        "n_regions": len(regions),
        "n_clusters": len(clusters),
        "n_summaries": n_parts,
        "n_parts": n_parts if judged else None,
    }
    store.write("class_runs", run_id, class_id, [record(class_id, **counts)])


def judgement(cluster_id: int) -> dict:
    """The first summary costs no more than random regions, the others do."""
    return {
        "distinct_part": cluster_id + 1,
        "greedy_rank": cluster_id + 1,
        "joint_gain": 0.3,
        "random_drop": 0.01,
        "above_random": cluster_id > 0,
    }


def lost_in_image(region: dict) -> dict:
    """Nothing is lost in the image of the third region of a summary; no region stands for it where none agrees."""
    if not region["kept"]:
        return {}
    return {"prob_drop": -0.03 if region["sim_exemplar"] == 8.0 else 0.6, "random_drop": 0.01}


def drop_rows(n: int) -> list[dict]:
    numbers = {"n_images": 4, "area_frac": 0.1, "random_drop": 0.02, "p_value": 0.01, "above_random": True}
    alone = [{"kind": "alone", "step": k + 1, "cluster_id": k, "prob_drop": 0.6, **numbers} for k in range(n)]
    steps = [
        {"kind": "greedy", "step": k + 1, "cluster_id": k, "n_images": 4, "prob_drop": 0.4 * (k + 1), "gain": 0.3}
        for k in range(n)
    ]
    return [*alone, *steps, {"kind": "joint", "step": 1, "prob_drop": 0.93, **numbers}] if n else []


def count_rows(n_images: int, n: int) -> list[dict]:
    half = {"is_whole": False, "n_samples": 100, "n_summaries": n - 0.5, "n_parts": n - 0.5}
    whole = {"is_whole": True, "n_samples": 1, "n_summaries": n, "n_parts": n}
    ends = {"summaries_low": n - 0.6, "summaries_high": n + 1.4, "parts_low": n - 0.5, "parts_high": n + 0.5}
    return [{"n_images": n_images // 2, **half, **ends}, {"n_images": n_images, **whole, **ends}]


def mask_rows(image_id: str) -> list[dict]:
    seed = seed_of(image_id)
    crisp = salient(seed)
    low = 1 - salient(seed, 12).astype(np.float32)
    shared = {"image_id": image_id, "n_components": 2, "prob_full": 0.9, "prob_blurred": 0.01, "iterations": 150}
    sharp = {
        "rle": rle_encode(crisp),
        "area_frac": float(crisp.mean()),
        "prob_masked": 0.02,
        "prob_drop": 0.978,
        "crispness": 0.001,
    }
    smooth = {"rle": rle_encode(crisp), "soft_map": map_cell(low), "soft_h": 12, "soft_w": 12, "area_frac": 0.2}
    return [
        {**shared, "kind": "smooth", **smooth, "prob_masked": 0.05, "prob_drop": 0.94, "crispness": 0.08},
        {**shared, "kind": "sharp", **sharp},
    ]


def region_rows(members: list, cluster_id: int, first: int) -> list[dict]:
    rows = []
    for index, (image_id, (x, y, w, h)) in enumerate(members):
        crop = np.ascontiguousarray(drawn(seed_of(image_id))[y : y + h, x : x + w])
        rows.append(
            {
                "region_id": first + index,
                "image_id": image_id,
                **dict(zip("xywh", (x, y, w, h), strict=True)),
                "proposal_rank": index,
                "mask_overlap": 0.8,
                "cluster_id": cluster_id,
                "is_exemplar": index == 1,
                "sim_exemplar": 10.0 - index,
                "kept": index != 3,
                "crop": picture(crop),
            }
        )
    return rows


def cluster_row(members: list, cluster_id: int, *, accepted: bool, part: str | None) -> dict:
    images = np.stack([drawn(seed_of(image_id)) for image_id, _ in members])
    masks = np.stack([salient(seed_of(image_id)) for image_id, _ in members])
    boxes = np.array([box for _, box in members], dtype=float)
    return {
        "cluster_id": cluster_id,
        "position": cluster_id + 1,
        "exemplar_region_id": 1,
        "n_regions": len(members),
        "n_images": len(members),
        "mean_similarity": 8.5,
        "ssim_median": 0.5,
        "score": 1.2 - 0.2 * cluster_id,
        "accepted": accepted,
        "rejected": None if accepted else "coherence",
        "prob_drop": 0.6,
        "part": part,
        "montage": picture(montage(images, masks, boxes)),
        "converged": True,
        "n_iter": 120,
    }


def write_bare(store: Store, run_id: str, class_id: str) -> None:
    """A class with masks and without a region."""
    row = {"image_id": "only.png", "prob_target": 0.9, "pred_idx": 3, "correct": True, "width": 90, "height": 90}
    store.write("predictions", run_id, class_id, [row])
    store.write("masks", run_id, class_id, mask_rows("only.png"))
    for name in ("regions", "clusters", "summary_parts", "summary_drops"):
        store.write(name, run_id, class_id, [])
    none = {"n_images": 0, "is_whole": True, "n_samples": 1, "n_summaries": 0, "n_parts": 0}
    store.write("part_counts", run_id, class_id, [none])
    counts = {"n_images": 1, "n_correct": 1, "n_masks": 1, "n_regions": 0, "n_clusters": 0, "n_summaries": 0}
    store.write("class_runs", run_id, class_id, [record(class_id, **counts)])


def write_store(folder: Path) -> Store:
    store = Store(folder)
    for minute, (run_id, model) in enumerate((("wide-run", WIDE), ("narrow-run", HOSTILE_MODEL))):
        store.write_run(run_row(run_id, model, CLASSES, minute=minute))
        write_class(store, run_id, "robin", [f"robin_{i:02d}.jpg" for i in range(6)], n_parts=2 - minute)
        write_class(store, run_id, HOSTILE, IMAGE_IDS, judged=minute == 0)
        write_bare(store, run_id, "no.clusters here")
        error = "CUDA error: <device> lost\n  at step 3"
        store.write("class_runs", run_id, "broken", [record("broken", "failed", error=error, seconds=None)])
        empty = {"n_images": 0, "n_correct": 0, "n_masks": 0, "n_regions": 0, "n_clusters": 0, "n_summaries": 0}
        store.write("class_runs", run_id, "empty class", [record("empty class", "skipped", error="no images", **empty)])
    for index, (class_id, name) in enumerate(CLASSES.items()):
        store.write("classes", "partbirds", class_id, [{"class_idx": index, "class_name": name}])
    return store
