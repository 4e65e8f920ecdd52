"""What a scan of all units costs against a bare forward pass, and batched projections against one at a time.

Command: ``PYTHONPATH=. python tests/benchmarks/top_activations.py [--threads N]``, about two minutes on two quiet cores.
Weights and images are random. Both sides of each ratio take turns in one run and medians are compared. Bounds of the
project: a scan costs at most 1.15 forward passes, batched projections are at least 4 times faster; exit status 1
where one is broken. The scan is measured after ``--seen`` images: the more were seen, the rarer a maximum enters.

*One at a time* is the plain way: per activation one forward pass of the whole image up to the layer, and one backward
pass to the image.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import torch

from xvcore.models import Classifier, load
from xvcore.units.method.deconvnet import Deconvnet
from xvcore.units.method.top_activations import TopActivations, UnitTops

SCAN_BOUND, PROJECTION_BOUND = 1.15, 4.0
MIDDLE = {"squeezenet1_1": "features.6.squeeze_activation", "vgg16": "features.15", "alexnet": "features.7"}
"""A layer in the middle of each network: conv3_3 of VGG-16."""


def seconds(function: Callable[[], object]) -> float:
    """Return the time of a call: that of the processor for one thread, so that a loaded machine matters little."""
    is_alone = torch.get_num_threads() == 1 and not torch.cuda.is_available()
    clock = time.process_time if is_alone else time.perf_counter
    start = clock()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start


def ratio_of(first: Callable[[], object], second: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Return the median times of both, taken in turns."""
    first(), second()
    times = [(seconds(first), seconds(second)) for _ in range(rounds)]
    return median(a for a, _ in times), median(b for _, b in times)


def scan_ratio(classifier: Classifier, images: torch.Tensor, *, rounds: int, seen: int) -> tuple[float, int]:
    """Return scan over bare pass, and the number of units; as if ``seen`` images were ranked before."""
    summary = TopActivations()
    steps = torch.arange(len(images))
    state = [ranked(summary.of_batch(classifier, images, steps, summary.empty(classifier)), len(images), seen)]

    def scan() -> None:
        state[0] = summary.of_batch(classifier, images, state[0].last_image + 1 + steps, state[0])

    @torch.no_grad()
    def bare() -> None:
        classifier.logits(images)

    with_scan, without = ratio_of(scan, bare, rounds)
    return with_scan / without, len(state[0].values)


def ranked(tops: UnitTops, n: int, seen: int) -> UnitTops:
    """Return rankings as of ``seen`` images, whose activations are drawn as a unit's on the first ``n`` are spread."""
    first = tops.values[:, :n]
    mean, spread = first.mean(1, keepdim=True), first.std(1, keepdim=True)
    drawn = torch.randn(len(first), seen, device=first.device).mul_(spread).add_(mean).clamp_min_(0)
    values, images = drawn.topk(tops.kept, 1)
    return replace(tops, values=values, images=images, last_image=seen)


def projection_rates(classifier: Classifier, layer_name: str, *, n: int, rounds: int) -> tuple[float, float]:
    """Return projections per second, batched and one at a time."""
    device = classifier.device
    (layer,) = TopActivations().layers(classifier, [layer_name])
    height, width = classifier.preprocessing.input_px
    images = torch.rand(n, 3, height, width, device=device)
    generator = torch.Generator().manual_seed(0)
    seeds = torch.stack([torch.randint(0, size, (n,), generator=generator) for size in (layer.n_units, *layer.size)], 1)
    batched, single = Deconvnet(), Deconvnet(region="image")
    n_single = max(1, n // 8)

    def one_at_a_time() -> None:
        for index in range(n_single):
            single.project(classifier, layer, images[index : index + 1], seeds[index : index + 1])

    together, alone = ratio_of(lambda: batched.project(classifier, layer, images, seeds), one_at_a_time, rounds)
    return n / together, n_single / alone


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--models", nargs="+", default=["squeezenet1_1", "vgg16"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seen", type=int, default=2000)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    is_within = True
    for name in arguments.models:
        classifier = load(f"{name}@random", device=arguments.device)
        images = torch.rand(arguments.batch, 3, *classifier.preprocessing.input_px, device=arguments.device)
        ratio, n_units = scan_ratio(classifier, images, rounds=arguments.rounds, seen=arguments.seen)
        fast, slow = projection_rates(classifier, MIDDLE[name], n=32, rounds=max(2, arguments.rounds // 2))
        print(
            f"{name:14} scan of {n_units} units × {ratio:.3f} of a forward pass   "
            f"projections of {MIDDLE[name]}: {fast:.1f}/s batched, {slow:.1f}/s one at a time, × {fast / slow:.1f}",
            flush=True,
        )
        is_within &= ratio <= SCAN_BOUND and fast >= PROJECTION_BOUND * slow
    print(f"bounds: scan ≤ × {SCAN_BOUND}, projections ≥ × {PROJECTION_BOUND}: {'kept' if is_within else 'BROKEN'}")
    return int(not is_within)


if __name__ == "__main__":
    sys.exit(main())
