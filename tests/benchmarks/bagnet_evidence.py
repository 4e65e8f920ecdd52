"""What evidence costs: against a plain forward pass of the same batch, and against its definition patch by patch.

Command: ``PYTHONPATH=. python tests/benchmarks/bagnet_evidence.py [--threads N]``, some minutes on two quiet cores. Plain
pass and evidence of ten targets take turns in one run, and the least processor time of each is compared, so that a
loaded machine matters little. The full-resolution map of the authors
(one patch a pixel, 50 176 at 224 px) is timed on a sample of its patches and **extrapolated**; so is the grid's own
definition (576 patches for q = 33). The bounds of 1.15 and 50 are the project's; the exit status is 1 where one is
broken.
"""

import argparse
import sys
import time
from collections.abc import Callable

import torch

from xvcore.evidence.method.bagnet_evidence import BagNetEvidence
from xvcore.models import load

N_TARGETS = 10
MOST, LEAST = 1.15, 50.0


def seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


@torch.no_grad()
def ratio_to_plain(name: str, batch: int, rounds: int) -> tuple[float, float]:
    """Return the least seconds of a plain pass, and those of the evidence as a multiple."""
    classifier = load(f"{name}@random")
    images = torch.rand(batch, 3, *classifier.preprocessing.input_px, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(N_TARGETS).remainder(classifier.n_classes).expand(batch, -1)
    method, pairs = BagNetEvidence(), []
    for turn in range(rounds + 1):
        runs = [lambda: classifier.logits(images), lambda: method(classifier, images, targets)]
        if turn % 2:
            pairs.append(tuple(reversed([seconds(run) for run in reversed(runs)])))
        else:
            pairs.append(tuple(seconds(run) for run in runs))
    plain, evidence = (min(each) for each in zip(*pairs[1:], strict=True))
    return plain, evidence / plain


@torch.no_grad()
def against_patches(side: int, n_sampled: int, rounds: int) -> dict[str, float]:
    """Return how many times faster one image is than its patches one by one, extrapolated from a sample of them."""
    classifier = load(f"bagnet{side}@random")
    px = classifier.preprocessing.input_px[0]
    image = torch.rand(1, 3, px, px, generator=torch.Generator().manual_seed(0))
    patches = image.unfold(2, side, 8).unfold(3, side, 8).flatten(2, 3)[0].transpose(0, 1)
    sample = patches[torch.randperm(len(patches), generator=torch.Generator().manual_seed(1))[:n_sampled]]
    targets = torch.arange(N_TARGETS)[None]
    grid, of_sample = [], []
    for _ in range(rounds + 1):
        grid.append(seconds(lambda: BagNetEvidence()(classifier, image, targets)))
        of_sample.append(seconds(lambda: classifier.logits(sample)))
    one_patch = min(of_sample[1:]) / len(sample)
    dense = min(grid[1:])
    return {
        "patches": len(patches),
        "dense_s": dense,
        "grid": one_patch * len(patches) / dense,
        "map": one_patch * px * px / dense,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--patches", type=int, default=48, help="patches of the sample")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    worst = 0.0
    for name in ("partbirds_bagnet17", "squeezenet1_1", "mobilenet_v2", "bagnet33"):
        rounds = arguments.rounds if name.startswith("bagnet") else 2 * arguments.rounds
        batch = (8 if name.startswith("partbirds") else 1) * arguments.batch  # a pass of milliseconds measures Python
        plain, ratio = ratio_to_plain(name, batch, rounds)
        worst = max(worst, ratio)
        print(f"{name:20} plain pass {plain * 1e3:8.1f} ms   evidence of {N_TARGETS} targets × {ratio:.3f}", flush=True)
    print(f"worst × {worst:.3f} (bound {MOST})")

    fastest = 0.0
    for side in (17, 33):
        found = against_patches(side, arguments.patches, arguments.rounds)
        fastest = found["map"] if side == 33 else fastest
        print(
            f"bagnet{side:<3} evidence of one image {found['dense_s']:.2f} s; patch by patch (extrapolated from "
            f"{arguments.patches} patches): × {found['grid']:.1f} for the same {found['patches']:.0f} patches, "
            f"× {found['map']:.0f} for the authors' map of 224 × 224",
            flush=True,
        )
    print(f"against the definition, q = 33: × {fastest:.0f} (bound {LEAST:.0f})")
    return int(worst > MOST or fastest < LEAST)


if __name__ == "__main__":
    sys.exit(main())
