"""What a class costs where a dataset has many: CPU seconds, memory and bytes of runs of few and of many classes.

Command: ``OMP_NUM_THREADS=1 PYTHONPATH=.:tests python tests/benchmarks/many_classes.py [--classes 50 1000] [--images N]``.
Images of 64 pixels are drawn, the network has three layers and 1000 outputs, so that next to nothing is computed: what
is left is what grows with the number of classes. Each run is a process of its own, by the library alone. Printed is a
table in Markdown: CPU milliseconds a class of the run (all classes, what is joined over them, publishing), of the
report, and of the report made again; CPU seconds of ``status``; the most memory; the bytes of the store, over those of
the parts of its classes; files and bytes of what is merged over classes; and the bytes of the first page.
"""

import argparse
import io
import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from xvcore.data import ClassInfo, ImageRecord, datasets
from xvcore.data.dataset import find_class
from xvcore.evidence.settings import PatchEvidence
from xvcore.models import Classifier, Preprocessing, wrap
from xvcore.parameters import replaced
from xvcore.report import build
from xvcore.runs import pipeline
from xvcore.runs.run import RunSpec, open_run
from xvcore.runs.settings import Settings
from xvcore.store import SCHEMAS, Store
from xvcore.units.settings import TopUnits

N_OUTPUTS = 1000
SETTINGS: dict[str, Settings] = {
    "evidence": PatchEvidence(),
    "units": replaced(TopUnits(), {"units_shown": "0"}),
}
COLUMNS = {
    "method": "method",
    "n_classes": "classes",
    "n_images": "images",
    "run_ms": "run, CPU ms a class",
    "report_ms": "report, CPU ms a class",
    "again_ms": "report again, CPU ms a class",
    "status_s": "status, CPU s",
    "peak_mib": "peak, MiB",
    "store_mib": "store, MiB",
    "over_parts": "store / parts of classes",
    "n_merged": "files merged",
    "merged_kib": "merged, KiB",
    "index_kib": "first page, KiB",
}


@dataclass(frozen=True)
class Noise:
    """A dataset of drawn classes: random pixels of the class's colour.

    Parameters
    ----------
    name : of the dataset
    classes : all of them
    n_images : of each class
    """

    name: str
    classes: tuple[ClassInfo, ...]
    n_images: int
    split: str = "all"

    def images(self, class_id: str) -> tuple[ImageRecord, ...]:
        """Return the images of a class."""
        find_class(self.name, self.classes, class_id)
        return tuple(ImageRecord(f"{class_id}/{index:04}", "", class_id) for index in range(self.n_images))

    def read(self, record: ImageRecord) -> bytes:
        """Return an image as a PNG file."""
        class_id, _, index = record.image_id.partition("/")
        generator = np.random.default_rng([int(class_id[1:]), int(index)])
        pixels = generator.integers(0, 200, (64, 64, 3)) + np.random.default_rng(int(class_id[1:])).integers(0, 55, 3)
        file = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG", compress_level=1)
        return file.getvalue()

    def parts(self, class_id: str) -> tuple[()]:
        """Return none."""
        find_class(self.name, self.classes, class_id)
        return ()


@datasets.register("noise")
def open_noise(path: str | None, *, classes: str, images: str) -> Noise:
    """Open ``noise?classes=N&images=N``."""
    infos = tuple(ClassInfo(f"n{number:08}", number, f"noise {number}") for number in range(int(classes)))
    return Noise(f"noise?classes={classes}&images={images}", infos, int(images))


def network() -> Classifier:
    """Return a small network of :data:`N_OUTPUTS` outputs, the same each time."""
    torch.manual_seed(0)
    layers = (
        *(nn.Conv2d(3, 16, 5, 4), nn.ReLU(), nn.Conv2d(16, 32, 3, 2), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, N_OUTPUTS)),
    )
    labels = [f"noise {number}" for number in range(N_OUTPUTS)]
    return wrap(nn.Sequential(*layers), preprocessing=Preprocessing((64, 64), None), labels=labels, name="small")


def measured(method: str, n_classes: int, n_images: int, folder: Path) -> dict[str, Any]:
    """Run classes, publish, make the report twice, and return the figures by the keys of :data:`COLUMNS`.

    Parameters
    ----------
    method : one of :data:`SETTINGS`
    n_classes, n_images : classes of the dataset, images of each
    folder : for the store and the pages
    """
    store = Store(folder / "store")
    spec = RunSpec(f"noise?classes={n_classes}&images={n_images}", "small", store.url, SETTINGS[method])
    figures: dict[str, Any] = {"method": method, "n_classes": n_classes, "n_images": n_images}
    with taken(figures, "run_ms", 1000 / n_classes):
        status = pipeline.complete_run(open_run(spec, network()))
    figures["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if status != "complete":
        raise SystemExit(f"{method} of {n_classes} classes: {status}")
    with taken(figures, "status_s", 1):
        found = store.status()
    if found["n_complete"].tolist() != [n_classes]:
        raise SystemExit(f"{found}")
    for name in ("report_ms", "again_ms"):
        with taken(figures, name, 1000 / n_classes):
            page = build(store, folder / "pages")
    tables = {each: [path.stat().st_size for path in (folder / "store/parts" / each).rglob("*")] for each in SCHEMAS}
    of_classes = sum(sum(sizes) for name, sizes in tables.items() if SCHEMAS[name].shard == "class_id")
    merged = [*(folder / "store/parts").glob("*_sums/*/*.parquet")]
    whole = sum(path.stat().st_size for path in (folder / "store").rglob("*.parquet"))
    return figures | {
        "store_mib": whole / 2**20,
        "over_parts": whole / of_classes,
        "n_merged": len(merged),
        "merged_kib": sum(path.stat().st_size for path in merged) / 1024,
        "index_kib": page.stat().st_size / 1024,
    }


@contextmanager
def taken(figures: dict[str, Any], name: str, factor: float) -> Iterator[None]:
    """Note the CPU seconds of all threads that the block takes, times a factor."""
    started = time.process_time()
    yield
    figures[name] = (time.process_time() - started) * factor


def table(found: Sequence[dict[str, Any]]) -> str:
    """Return figures as a table in Markdown."""
    lines = [[*COLUMNS.values()], ["---", *["---:"] * (len(COLUMNS) - 1)]]
    lines += [
        [each[name] if isinstance(each[name], str) else f"{each[name]:.4g}" for name in COLUMNS] for each in found
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure each method and number of classes in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--classes", type=int, nargs="+", default=[50, 1000])
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--methods", nargs="+", default=[*SETTINGS], choices=[*SETTINGS])
    parser.add_argument("--here", action="store_true", help="one measurement, in this process, as JSON")
    asked = parser.parse_args()
    if asked.here:
        logging.disable(logging.WARNING)
        with tempfile.TemporaryDirectory() as folder:
            sys.stdout.write(json.dumps(measured(asked.methods[0], asked.classes[0], asked.images, Path(folder))))
        return
    found = []
    for method in asked.methods:
        for n_classes in asked.classes:
            command = [sys.executable, __file__, "--here", "--methods", method, "--classes", str(n_classes)]
            answer = subprocess.run([*command, "--images", str(asked.images)], check=True, stdout=subprocess.PIPE)
            found.append(json.loads(answer.stdout))
            print(table(found[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    print(table(found))


if __name__ == "__main__":
    main()
