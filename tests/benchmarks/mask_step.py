"""What a mask step of the published schedule costs, as a multiple of a bare forward and backward-to-input pass.

Command: ``PYTHONPATH=. python tests/benchmarks/mask_step.py [--threads N]``, about a minute on two quiet cores. All
variants take turns in one run and medians are compared, so that a loaded machine matters little. The bare pass gets its
pictures in whichever memory order is faster for it. The bound of 1.3 is the project's; the exit status is 1 where it
is broken.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median

import torch
from torch import nn

from xvcore.models import Architecture, Classifier, Preprocessing, architectures
from xvcore.visual_summaries.method.sparse_mask import SparseMask

BATCH = 8
BOUND = 1.3


def classifier(name: str, build: Callable[[int], nn.Module], px: int) -> Classifier:
    preprocessing = Preprocessing(input_px=(px, px))
    architecture = Architecture(name, build, preprocessing, 1000)
    return Classifier(name, architecture, preprocessing, build(1000), "random", "0" * 64, 1000)


def bare(model: Classifier, images: torch.Tensor, targets: torch.Tensor) -> None:
    images = images.detach().requires_grad_()
    total = model.probabilities(images).gather(1, targets[:, None]).sum()
    torch.autograd.grad(total, images)


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def steps_of(model: Classifier, images: torch.Tensor, targets: torch.Tensor, n: int) -> dict[str, Callable[[], object]]:
    """Return the mask steps as differences can be taken of: runs of each stage with n steps, and with none."""
    runs = {"none": (0, 0), "smooth": (n, 0), "crisp": (0, n)}
    published = SparseMask.published()
    methods = {
        name: replace(published, smooth_steps=smooth, crisp_steps=crisp) for name, (smooth, crisp) in runs.items()
    }
    return {name: partial(method, model, images, targets) for name, method in methods.items()}


def ratios(model: Classifier, px: int, *, n_steps: int, rounds: int) -> tuple[float, dict[str, float]]:
    images = torch.rand((BATCH, 3, px, px), generator=torch.Generator().manual_seed(0))
    targets = torch.zeros(BATCH, dtype=torch.long)
    passes = {
        "bare": partial(bare, model, images, targets),
        "bare_last": partial(bare, model, images.contiguous(memory_format=torch.channels_last), targets),
    }
    runs = steps_of(model, images, targets, n_steps)
    times: dict[str, list[float]] = {name: [] for name in [*passes, *runs]}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(seconds(run))
            for bare_name, bare_pass in passes.items():
                times[bare_name].extend(seconds(bare_pass) for _ in range(max(1, n_steps // 2)))
    middle = {name: median(values[1:]) for name, values in times.items()}
    pass_s = min(middle["bare"], middle["bare_last"])
    return pass_s, {name: (middle[name] - middle["none"]) / n_steps / pass_s for name in ("smooth", "crisp")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    from torchvision import models

    cases = {
        "squeezenet1_1 @ 224": (lambda n: models.squeezenet1_1(num_classes=n), 224),
        "mobilenet_v2 @ 225": (lambda n: models.mobilenet_v2(num_classes=n), 225),
        "partbirds_wide @ 128": (architectures["partbirds_wide"].build, 128),
        "partbirds_narrow @ 128": (architectures["partbirds_narrow"].build, 128),
    }
    worst = 0.0
    for name, (build, px) in cases.items():
        n_steps = arguments.steps if px > 200 else 5 * arguments.steps
        pass_s, found = ratios(classifier(name, build, px), px, n_steps=n_steps, rounds=arguments.rounds)
        worst = max(worst, *found.values())
        print(
            f"{name:26} pass {pass_s * 1e3:7.2f} ms   smooth × {found['smooth']:.2f}   crisp × {found['crisp']:.2f}",
            flush=True,
        )
    print(f"worst × {worst:.2f} (bound {BOUND})")
    return int(worst > BOUND)


if __name__ == "__main__":
    sys.exit(main())
