"""PF-WILLOW: PCK of NAM, PHM and LOM on the sub-classes at hand (Ham et al., CVPR 2016, raw flow, keypoint box).

Run ``python tests/benchmarks/pf_willow.py FOLDER``.
"""

import itertools
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.io import loadmat

from xvcore.summaries.visual.descriptors import WhitenedHog
from xvcore.summaries.visual.proposal_flow import ProposalFlow, Proposals, match
from xvcore.summaries.visual.proposals import SelectiveSearch

FLOWS = {
    "nam": ProposalFlow(kind="nam"),
    "phm": ProposalFlow(kind="phm"),
    "lom, order-free": ProposalFlow(),
    "lom, sequential": ProposalFlow(order="sequential"),
}
THRESHOLDS = (0.05, 0.1, 0.2)


def pck(folder: Path, search: SelectiveSearch | None = None) -> dict[str, dict[str, tuple[float, ...]]]:
    """Return PCK at each threshold, by flow and sub-class."""
    found: dict[str, dict[str, tuple[float, ...]]] = {name: {} for name in FLOWS}
    for subclass in sorted(each for each in folder.iterdir() if each.is_dir()):
        pictures, points = _load(subclass)
        with ThreadPoolExecutor() as pool:
            boxes = list(pool.map(search or SelectiveSearch(), pictures))
        described = [_proposals(picture, each) for picture, each in zip(pictures, boxes, strict=True)]
        pairs = list(itertools.permutations(range(len(pictures)), 2))
        for name, flow in FLOWS.items():
            shares = []
            for a, b in pairs:
                size = pictures[b].shape[:2]
                confidence = match(described[a], described[b], size, flow)
                moved = transferred(points[a], described[a].boxes, described[b].boxes, confidence)
                distance = np.linalg.norm(moved - points[b], axis=1)
                side = np.ptp(points[b], axis=0).max()
                shares.append([(distance < each * side).mean() for each in THRESHOLDS])
            found[name][subclass.name] = tuple(np.mean(shares, axis=0))
    return found


def transferred(points: np.ndarray, boxes_a, boxes_b, confidence) -> np.ndarray:
    """Move each point with the best match of the most confident region that holds it (raw flow, whole pixels)."""
    best, counterpart = confidence.max(dim=1)
    order = best.argsort(descending=True).numpy()
    a, b = boxes_a.numpy()[order], boxes_b.numpy()[counterpart.numpy()[order]]
    confident = best.numpy()[order] > 0
    moved = np.full_like(points, np.inf)
    for index, point in enumerate(points):
        inside = confident & (point >= a[:, :2]).all(axis=1) & (point <= a[:, :2] + a[:, 2:]).all(axis=1)
        if inside.any():
            k = int(np.argmax(inside))
            moved[index] = point + np.round(b[k, :2] + (point - a[k, :2]) * b[k, 2:] / a[k, 2:] - point)
    return moved


def _load(folder: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    pictures, points = [], []
    for path in sorted(folder.glob("*.mat")):
        pictures.append(cv2.cvtColor(cv2.imread(str(path.with_suffix(".png"))), cv2.COLOR_BGR2RGB))
        points.append(loadmat(path)["pts_coord"].T[:, :2].astype(float))
    return pictures, points


def _proposals(picture: np.ndarray, boxes: torch.Tensor) -> Proposals:
    tensor = torch.from_numpy(picture).movedim(-1, 0) / 255
    return Proposals(boxes, WhitenedHog()(tensor, boxes))


if __name__ == "__main__":
    for name, by_class in pck(Path(sys.argv[1])).items():
        mean = np.mean(list(by_class.values()), axis=0)
        classes = "  ".join(f"{key} {value[1]:.3f}" for key, value in by_class.items())
        sys.stdout.write(f"{name:16s} mean @.05 {mean[0]:.3f}  @.1 {mean[1]:.3f}  @.2 {mean[2]:.3f}   ({classes})\n")
