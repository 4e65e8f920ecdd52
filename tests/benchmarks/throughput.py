"""Images a second of whole runs over real images, against a bare loop that decodes and runs the network.

Command: ``OMP_NUM_THREADS=1 PYTHONPATH=. python tests/benchmarks/throughput.py FOLDER [--methods …] [--networks …]``,
about six minutes. FOLDER holds ``caltech101-12`` (787 photographs of 12 classes) and ``weights``. The bare loop is
``load_batches`` and torch's own forward pass, as anybody writes it: as many threads that decode, the same threads of
the network, the same batches, all images in one stream. The quick loop gives the network its pictures in the layout
that xv chose for it (``laid_out``). A run is the whole command but the start of the process: the network opened and
looked at, every class, what is joined over them, publishing. They take turns in one process, a run each time into a
store of its own; printed are the best of each, in seconds of the clock and of the processor (which a loaded machine
moves little), and the ratios of each loop to the run. Without ``--pictures`` units have none: pictures are a cost of their own.
"""

import argparse
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from flows import orchestration
from flows.allocator import keep_memory
from flows.families import evidence, units
from xvcore.data import Dataset, ManifestRow, load_batches, manifest, open_dataset
from xvcore.evidence.settings import PatchEvidence
from xvcore.models import Classifier, laid_out, load
from xvcore.parameters import replaced
from xvcore.runs.run import opened
from xvcore.runs.settings import Settings
from xvcore.units.settings import TopUnits

NETWORKS = {
    "squeezenet1_1": "squeezenet1_1@{}/squeezenet1_1.pt",
    "mobilenet_v2": "mobilenet_v2@{}/mobilenet_v2.pt?input=225",
}
COMMANDS = {"evidence": evidence.COMMAND, "units": units.COMMAND}
SETTINGS: dict[str, type[Settings]] = {"evidence": PatchEvidence, "units": TopUnits}
BARE: dict[str, dict[str, str]] = {"evidence": {}, "units": {"units_shown": "0"}}
BATCH = 16


def loop(classifier: Classifier, dataset: Dataset, rows: Sequence[ManifestRow], *, is_quick: bool) -> None:
    """Decode and look at images."""
    with torch.inference_mode():
        for batch in load_batches(dataset, rows, classifier.preprocessing.pixels, batch_size=BATCH):
            if is_quick:
                classifier.logits(laid_out(classifier, batch.images))
            else:
                classifier.network(classifier.preprocessing.normalise(batch.images))


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return seconds of the clock and of the processor."""
    clock, processor = time.monotonic(), time.process_time()
    work()
    return time.monotonic() - clock, time.process_time() - processor


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", nargs="+", default=[*COMMANDS], choices=[*COMMANDS])
    parser.add_argument("--networks", nargs="+", default=[*NETWORKS], choices=[*NETWORKS])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--pictures", action="store_true", help="of all units")
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    keep_memory()
    dataset = f"imagefolder:{asked.folder / 'caltech101-12'}"
    images = open_dataset(dataset)
    rows = [row for info in images.classes for row in manifest(images, info.class_id, max_images=None)]
    n_images = len(rows)
    classes = (asked.folder / "caltech101-12" / "classes.txt").read_text().split("\n")
    outputs = {line.split()[0]: line.split()[1] for line in classes if line}
    options = {"device": "cpu", "batch_size": BATCH, "class_map": outputs, "dataset": dataset}
    print(
        "| run | images | bare loop, s | quick loop, s | run, s | ratios | bare loop, CPU s | quick loop, CPU s | "
        "run, CPU s | ratios |",
        flush=True,
    )
    print(f"|---|{'---:|' * 9}", flush=True)
    for network in asked.networks:
        model = NETWORKS[network].format(asked.folder / "weights")
        classifier = load(model)
        for method in asked.methods:
            command = COMMANDS[method]
            settings = SETTINGS[method]() if asked.pictures else replaced(SETTINGS[method](), BARE[method])
            bare, quick, runs = [], [], []
            for _ in range(asked.rounds):
                bare.append(timed(partial(loop, classifier, images, rows, is_quick=False)))
                quick.append(timed(partial(loop, classifier, images, rows, is_quick=True)))
                with tempfile.TemporaryDirectory() as folder:
                    request = command.request.filled(settings, models=[model], store=folder, **options)
                    opened.cache_clear()
                    runs.append(timed(partial(orchestration.run, command.flow, request)))
            clock, processor = zip(*(map(min, zip(*each, strict=True)) for each in (bare, quick, runs)), strict=True)
            cells = (
                f"{one:.1f} | {other:.1f} | {run:.1f} | {one / run:.2f}, {other / run:.2f}"
                for one, other, run in (clock, processor)
            )
            print(f"| {method}, {network} | {n_images} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
