"""Images a second of whole runs over real images, against a bare loop that decodes and runs the network.

Command: ``OMP_NUM_THREADS=1 PYTHONPATH=. python tests/benchmarks/throughput.py FOLDER [--methods …] [--networks …]``,
about six minutes. FOLDER holds ``caltech101-12`` (787 photographs of 12 classes) and ``weights``. The loop is
``load_batches`` and ``Classifier.logits``: as many threads that decode, the same threads of the network, the same
batches, all images in one stream. A run is the whole command but the start of the process: the network opened and
looked at, every class, what is joined over them, publishing. Both take turns in one process, a run each time into a
store of its own; printed are the best of each, in seconds of the clock and of the processor (which a loaded machine
moves little), and their ratios. Without ``--pictures`` units have none: pictures are a cost of their own.
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
from xvcore.models import Classifier, load
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


def loop(classifier: Classifier, dataset: Dataset, rows: Sequence[ManifestRow]) -> None:
    """Decode and look at images."""
    with torch.inference_mode():
        for batch in load_batches(dataset, rows, classifier.preprocessing.pixels, batch_size=BATCH):
            classifier.logits(batch.images)


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
        "| run | images | bare loop, images/s | run, images/s | ratio | loop, CPU s | run, CPU s | ratio |", flush=True
    )
    print(f"|---|{'---:|' * 7}", flush=True)
    for network in asked.networks:
        model = NETWORKS[network].format(asked.folder / "weights")
        classifier = load(model)
        for method in asked.methods:
            command = COMMANDS[method]
            settings = SETTINGS[method]() if asked.pictures else replaced(SETTINGS[method](), BARE[method])
            loops, runs = [], []
            for _ in range(asked.rounds):
                loops.append(timed(partial(loop, classifier, images, rows)))
                with tempfile.TemporaryDirectory() as folder:
                    request = command.request.filled(settings, models=[model], store=folder, **options)
                    opened.cache_clear()
                    runs.append(timed(partial(orchestration.run, command.flow, request)))
            (loop_clock, loop_cpu), (clock, cpu) = (tuple(map(min, zip(*each, strict=True))) for each in (loops, runs))
            print(
                f"| {method}, {network} | {n_images} | {n_images / loop_clock:.1f} | {n_images / clock:.1f} | "
                f"{loop_clock / clock:.2f} | {loop_cpu:.1f} | {cpu:.1f} | {loop_cpu / cpu:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
