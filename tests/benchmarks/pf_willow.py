"""PF-WILLOW: how well NAM, PHM and LOM carry keypoints from one image to another.

Protocol of Ham et al., CVPR 2016: all ordered pairs of a sub-class; PCK at α is the share of keypoints that land nearer
than α times the larger side of the box around the target's keypoints. The flow is raw (no SD filter), in whole pixels:
each keypoint goes with the most confident region that holds it.

    python tests/benchmarks/pf_willow.py ../shared/data/pf-willow
"""

import itertools
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.io import loadmat

from xvcore.visual_summaries.method.descriptors import WhitenedHog
from xvcore.visual_summaries.method.proposal_flow import ProposalFlow, Proposals, match
from xvcore.visual_summaries.method.proposals import SelectiveSearch

FLOWS = {
    "nam": ProposalFlow(kind="nam"),
    "phm": ProposalFlow(kind="phm"),
    "lom": ProposalFlow(),
    "lom, sequential": ProposalFlow(order="sequential"),
}
THRESHOLDS = (0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Annotated:
    """A picture with its keypoints (points, 2) as x, y in pixels, and its regions."""

    size: tuple[int, int]
    points: np.ndarray
    proposals: Proposals


def annotated(
    folder: Path, search: SelectiveSearch | None = None, describe: WhitenedHog | None = None
) -> list[Annotated]:
    """Return the pictures of one sub-class."""
    paths = sorted(folder.glob("*.mat"))
    pictures = [cv2.cvtColor(cv2.imread(str(path.with_suffix(".png"))), cv2.COLOR_BGR2RGB) for path in paths]
    with ThreadPoolExecutor() as pool:
        boxes = list(pool.map(search or SelectiveSearch(), pictures))
    found = []
    for path, picture, each in zip(paths, pictures, boxes, strict=True):
        descriptors = (describe or WhitenedHog())(torch.from_numpy(picture).movedim(-1, 0) / 255, each)
        points = loadmat(path)["pts_coord"].T[:, :2].astype(float)
        found.append(Annotated(picture.shape[:2], points, Proposals(each, descriptors)))
    return found


def pck(images: Sequence[Annotated], flow: ProposalFlow) -> tuple[float, ...]:
    """Return PCK at each threshold, mean over all ordered pairs of images."""
    shares = []
    for a, b in itertools.permutations(images, 2):
        confidence = match(a.proposals, b.proposals, b.size, flow)
        moved = carried(a.points, a.proposals.boxes.numpy(), b.proposals.boxes.numpy(), confidence)
        distance = np.linalg.norm(moved - b.points, axis=1)
        side = np.ptp(b.points, axis=0).max()
        shares.append([(distance < each * side).mean() for each in THRESHOLDS])
    return tuple(np.mean(shares, axis=0).tolist())


def carried(points: np.ndarray, boxes_a: np.ndarray, boxes_b: np.ndarray, confidence: torch.Tensor) -> np.ndarray:
    """Return where each point lands; one that no region holds stays in place."""
    best, counterpart = (each.numpy() for each in confidence.max(dim=1))
    order = np.argsort(-best, kind="stable")
    order = order[best[order] > 0]
    a, b = boxes_a[order], boxes_b[counterpart[order]]
    moved = points.copy()
    for index, point in enumerate(points):
        inside = (point >= a[:, :2]).all(axis=1) & (point <= a[:, :2] + a[:, 2:]).all(axis=1)
        if inside.any():
            k = int(np.argmax(inside))
            moved[index] += np.round(b[k, :2] + (point - a[k, :2]) * b[k, 2:] / a[k, 2:] - point)
    return moved


def table(folder: Path, flows: Mapping[str, ProposalFlow] = FLOWS) -> dict[str, dict[str, tuple[float, ...]]]:
    """Return PCK by flow and sub-class; says on the way what it found."""
    found: dict[str, dict[str, tuple[float, ...]]] = {name: {} for name in flows}
    for each in sorted(each for each in folder.iterdir() if each.is_dir()):
        images = annotated(each)
        for name, flow in flows.items():
            start = time.process_time()
            found[name][each.name] = pck(images, flow)
            shown = "  ".join(f"@{t} {p:.3f}" for t, p in zip(THRESHOLDS, found[name][each.name], strict=True))
            print(f"{each.name:15s} {name:16s} {shown}   ({time.process_time() - start:.0f} s cpu)", flush=True)
    for name, by_class in found.items():
        mean = np.mean(list(by_class.values()), axis=0)
        print(
            f"mean            {name:16s} " + "  ".join(f"@{t} {p:.3f}" for t, p in zip(THRESHOLDS, mean, strict=True))
        )
    return found


if __name__ == "__main__":
    table(Path(sys.argv[1]))
