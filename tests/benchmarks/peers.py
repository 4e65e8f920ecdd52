"""What xv takes for what peers do too, and what its processes gain by keeping memory: images a CPU second.

Command: ``OMP_NUM_THREADS=1 PYTHONPATH=.:PEERS python tests/benchmarks/peers.py [--rounds N]``, some minutes. PEERS is
a folder with captum 0.9, zennit 0.5.1 and zennit-crp 0.6 (``pip install --no-deps --target PEERS captum==0.9.0
zennit==0.5.1 zennit-crp==0.6.0``); they are no part of xv, and rows of a peer that is not there are left out.

Networks have random weights, pictures are drawn and decoded already. Each row is measured in two processes, one with
glibc's allocator as it is and one as xv starts its own (:mod:`flows.allocator`), on one thread; the sides take turns
and the best round counts. Compared are

* the network alone, batches of 16: of SqueezeNet 1.1 and MobileNetV2, forward, and forward and backward to the pixels;
* the strongest images of all units of SqueezeNet 1.1: :class:`TopActivations`, and ``FeatureVisualization.run`` of
  zennit-crp with all convolutions and no composite, which ranks relevances too (by one backward pass) and has files;
* occlusion, a box of 32 pixels each 16: :class:`Occlusion`, and Captum's with as many boxes a pass;
* deconvnet of the target's logit: :class:`Deconvnet`, and Captum's, which leaves out the switches of max-pooling.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch

from flows.allocator import SWITCH, keep_memory
from xvcore.analyses.questions.occlusion import Occlusion
from xvcore.models import Classifier, load
from xvcore.units.method.deconvnet import Deconvnet
from xvcore.units.method.top_activations import TopActivations

BATCH, N_RANKED, N_OCCLUDED = 16, 96, 4
BOX_PX, STRIDE_PX = 32, 16


def has(package: str) -> bool:
    """Return whether a peer is installed."""
    return importlib.util.find_spec(package) is not None


def normalised(classifier: Classifier, images: torch.Tensor) -> torch.Tensor:
    """Return what a peer hands to the network itself."""
    mean, std = (
        torch.tensor(each)[:, None, None] for each in (classifier.preprocessing.mean, classifier.preprocessing.std)
    )
    return (images - mean) / std


def forward(classifier: Classifier, images: torch.Tensor) -> None:
    with torch.inference_mode():
        classifier.logits(images)


def backward(classifier: Classifier, images: torch.Tensor) -> None:
    asked = images.clone().requires_grad_()
    torch.autograd.grad(classifier.logits(asked).amax(dim=1).sum(), asked)


def ranked(classifier: Classifier, images: torch.Tensor) -> None:
    summary = TopActivations()
    state = summary.empty(classifier)
    for first in range(0, len(images), BATCH):
        batch = images[first : first + BATCH]
        state = summary.of_batch(classifier, batch, torch.arange(first, first + len(batch)), state)


def ranked_by_crp(classifier: Classifier, images: torch.Tensor) -> None:
    from crp.attribution import CondAttribution
    from crp.concepts import ChannelConcept
    from crp.helper import get_layer_names
    from crp.visualization import FeatureVisualization

    names = get_layer_names(classifier.network, [torch.nn.Conv2d])
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        found = FeatureVisualization(
            CondAttribution(classifier.network),
            [(image, 0) for image in images],
            dict.fromkeys(names, ChannelConcept()),
            preprocess_fn=partial(normalised, classifier),
            path=folder,
        )
        with contextlib.redirect_stderr(io.StringIO()):
            found.run(None, 0, len(images), BATCH, 500)


def occluded(classifier: Classifier, images: torch.Tensor) -> None:
    square = Occlusion(window=BOX_PX, stride=STRIDE_PX, padding=0)
    square(classifier, images, torch.zeros(len(images), dtype=torch.long), batch_size=BATCH)


def occluded_by_captum(classifier: Classifier, images: torch.Tensor) -> None:
    from captum.attr import Occlusion as Peer

    with torch.no_grad():
        Peer(classifier.probabilities).attribute(
            images, (3, BOX_PX, BOX_PX), strides=(3, STRIDE_PX, STRIDE_PX), target=0, perturbations_per_eval=BATCH
        )


def projected(classifier: Classifier, images: torch.Tensor) -> None:
    Deconvnet()(classifier, images, torch.zeros(len(images), dtype=torch.long))


def projected_by_captum(classifier: Classifier, images: torch.Tensor) -> None:
    from captum.attr import Deconvolution

    Deconvolution(classifier.network).attribute(normalised(classifier, images), target=0)


Work = Callable[[Classifier, torch.Tensor], None]
ROWS: tuple[tuple[str, str, int, Work, str, Work | None], ...] = (
    ("forward", "squeezenet1_1", BATCH, forward, "", None),
    ("forward and backward", "squeezenet1_1", BATCH, backward, "", None),
    ("forward", "mobilenet_v2", BATCH, forward, "", None),
    ("forward and backward", "mobilenet_v2", BATCH, backward, "", None),
    ("units ranked", "squeezenet1_1", N_RANKED, ranked, "crp", ranked_by_crp),
    ("occlusion", "squeezenet1_1", N_OCCLUDED, occluded, "captum", occluded_by_captum),
    ("deconvnet", "squeezenet1_1", BATCH, projected, "captum", projected_by_captum),
)


def rates(rounds: int) -> Iterator[tuple[str, float, float | None]]:
    """Yield of each row its name, and images a CPU second of ours and of the peer's."""
    for name, network, n_images, ours, peer, theirs in ROWS:
        classifier = load(f"{network}@random")
        images = torch.rand(n_images, 3, *classifier.preprocessing.input_px, generator=torch.Generator().manual_seed(0))
        sides = [ours, *([theirs] if theirs and has(peer) else [])]
        best = [float("inf")] * len(sides)
        for turn in range(rounds + 1):
            for side, work in enumerate(sides):
                started = time.process_time()
                work(classifier, images)
                if turn:  # the first warms up
                    best[side] = min(best[side], time.process_time() - started)
        found = [n_images / seconds for seconds in best]
        yield f"{name}, {network}", found[0], found[1] if len(found) > 1 else None


def main() -> None:
    """Measure in two processes, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--here", action="store_true", help="measure in this process, as JSON")
    asked = parser.parse_args()
    if asked.here:
        logging.disable(logging.WARNING)
        keep_memory()
        torch.set_num_threads(1)
        sys.stdout.write(json.dumps([*rates(asked.rounds)]))
        return
    command = [sys.executable, __file__, "--here", "--rounds", str(asked.rounds)]
    plain, kept = (
        json.loads(
            subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ | {SWITCH: switch}).stdout
        )
        for switch in "01"
    )
    print("| images a CPU second | xv, plain allocator | memory kept | gain | peer, plain | xv over peer, both plain |")
    print(f"|---|{'---:|' * 5}")
    for (name, before, peer), (_, after, _) in zip(plain, kept, strict=True):
        beside = ("", "") if peer is None else (f"{peer:.2f}", f"{before / peer:.2f}")
        print(f"| {name} | {before:.2f} | {after:.2f} | {after / before:.2f} | {' | '.join(beside)} |")


if __name__ == "__main__":
    main()
