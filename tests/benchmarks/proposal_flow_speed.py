"""Speed of all-pairs local offset matching: 100 images of 500 boxes, against a literal version, one pair at a time.

python tests/benchmarks/proposal_flow_speed.py [--images 100] [--threads 2] [--device cpu]
"""

import argparse
import resource
import time

import numpy as np
import torch

from xvcore.visual_summaries.method.proposal_flow import ProposalFlow, Proposals, match, match_all

SIZE = (224, 224)


def images(n_images: int, n_boxes: int = 500, dimensions: int = 1984, seed: int = 0) -> list[Proposals]:
    """Return boxes anywhere with descriptors of random numbers; half of them resemble those of the first image."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.tensor([SIZE[1], SIZE[0]])
    model = torch.randn(n_boxes, dimensions, generator=generator)
    found = []
    for _ in range(n_images):
        sides = (15 + torch.rand(n_boxes, 2, generator=generator) ** 2 * (side - 20)).floor()
        corner = (torch.rand(n_boxes, 2, generator=generator) * (side - sides)).floor()
        descriptors = torch.randn(n_boxes, dimensions, generator=generator)
        descriptors[: n_boxes // 2] += 0.5 * model[: n_boxes // 2]
        found.append(Proposals(torch.cat([corner, sides], dim=1), descriptors / dimensions**0.5))
    return found


def literal_pair(a: Proposals, b: Proposals, iterations: int = 20) -> np.ndarray:
    """Return LOM of one pair as it is written down: region by region, the median by re-weighted iterations."""
    boxes_a, boxes_b = a.boxes.numpy(), b.boxes.numpy()
    ratio = (boxes_b[:, 2] / boxes_b[:, 3])[None] / (boxes_a[:, 2] / boxes_a[:, 3])[:, None]
    c = np.maximum(a.descriptors.numpy() @ b.descriptors.numpy().T, 0) * ((ratio > 0.5) & (ratio < 2))
    centre_a, centre_b = boxes_a[:, :2] + boxes_a[:, 2:] / 2, boxes_b[:, :2] + boxes_b[:, 2:] / 2
    area_a, area_b = boxes_a[:, 2:].prod(axis=1), boxes_b[:, 2:].prod(axis=1)
    best, counterpart = c.max(axis=1), c.argmax(axis=1)
    offsets = np.column_stack([centre_a - centre_b[counterpart], area_a / area_b[counterpart]])
    low, high = boxes_a[:, :2], boxes_a[:, :2] + boxes_a[:, 2:]
    result = np.zeros_like(c)
    for i in range(len(c)):
        shared = np.minimum(high[i], high) - np.maximum(low[i], low)
        near = (shared > 0).all(axis=1)
        median = np.ones(3)
        for _ in range(iterations):
            weight = 1 / (np.abs(offsets[near] - median) + 1e-9)
            median = (weight * offsets[near]).sum(axis=0) / weight.sum(axis=0)
        support = best[near].sum() / best.sum()
        distance = np.linalg.norm(centre_a[i] - centre_b - median[:2], axis=1)
        scale = np.abs(area_a[i] / area_b - median[2])
        result[i] = c[i] * np.exp(-0.05 * distance - 0.3 * scale) * support
    return result


def literal_seconds(regions: list[Proposals], n_similar: int = 100) -> float:
    """Return seconds per pair of the literal version, with its share of the redundancy score."""
    pairs = [(i, j) for i in range(len(regions)) for j in range(i, len(regions))]
    start = time.perf_counter()
    for i, j in pairs:
        confidence = literal_pair(regions[i], regions[j])
        np.sort(confidence, axis=1)[:, -n_similar:].mean(axis=1)
        np.sort(confidence, axis=0)[-n_similar:].mean(axis=0)
    return (time.perf_counter() - start) / len(pairs)


def batched_seconds(regions: list[Proposals], share: float = 0.2) -> float:
    """Return seconds per pair of :func:`match_all`, with this share of the regions as candidates."""
    generator = torch.Generator().manual_seed(1)
    device = regions[0].boxes.device
    candidates = [(torch.rand(len(each.boxes), generator=generator) < share).to(device) for each in regions]
    start = time.perf_counter()
    match_all(regions, candidates, SIZE, ProposalFlow()).redundancy.cpu()
    return (time.perf_counter() - start) / (len(regions) * (len(regions) + 1) / 2)


def difference(a: Proposals, b: Proposals) -> float:
    """Return the largest difference of our confidence from the literal one, as a share of its largest value."""
    literal = literal_pair(a, b, iterations=400)
    return float(np.abs(match(a, b, SIZE, ProposalFlow()).numpy() - literal).max() / literal.max())


def main() -> None:
    """Print seconds, peak memory and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    few = images(4)
    print(f"largest difference from the literal version: {difference(few[0], few[1]):.1e} of the largest value")
    literal = literal_seconds(few)
    print(f"literal: {literal * 1e3:.0f} ms a pair")
    regions = [
        Proposals(each.boxes.to(chosen.device), each.descriptors.to(chosen.device)) for each in images(chosen.images)
    ]
    batched_seconds(regions[:3])
    batched = batched_seconds(regions)
    n_pairs = chosen.images * (chosen.images + 1) // 2
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"batched: {batched * 1e3:.1f} ms a pair, {n_pairs} pairs in {batched * n_pairs:.0f} s, {memory:.2f} GiB")
    print(f"ratio: {literal / batched:.1f}")


if __name__ == "__main__":
    main()
