"""Pictures of all units of a network on photographs: processor time, memory and bytes; beside one region at a time.

Command: ``OMP_NUM_THREADS=1 PYTHONPATH=. python tests/benchmarks/unit_pictures.py FOLDER``, half an hour on a loaded
machine; ``--units 16`` takes the first units of each layer alone. FOLDER holds ``imagenet-mini`` and ``weights``.

The images are scanned in one process; the pictures are made in a second one, by the library alone, as ``xv units``
makes them with ``units_shown`` none. Its peak is that of the whole process, so what it has in memory with the network
opened and the rankings read stands beside; pages of libraries, which processes share, are counted in both.

*One region at a time* is the way before pictures shared anything: of each activation the region that its unit sees goes
up to the layer and down to the pixels by itself, and crop and projection are stored at the size of the region, as JPEG
and PNG. It is measured on some activations of each layer, drawn at random, and extrapolated to all of them.
"""

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from flows.allocator import giving_back, keep_memory
from xvcore.ops.taps import UnitLayer
from xvcore.parameters import replaced
from xvcore.runs import pipeline
from xvcore.runs.images import as_bytes
from xvcore.runs.joining import told
from xvcore.runs.run import Run, RunSpec, announce, open_run
from xvcore.store.encode import picture
from xvcore.units.method.deconvnet import cut
from xvcore.units.settings import TopUnits
from xvcore.units.stages.project import Pixels
from xvcore.units.stages.rankings import layers_of, ranked

MB = 1e6


def opened(folder: Path, store: Path, images: int, units: int | None) -> Run[TopUnits]:
    """Return the run: the first images of each class."""
    weights = folder / "weights"
    changes = {"max_images": str(images), "units_shown": "none" if units is None else str(units)}
    return open_run(
        RunSpec(
            dataset=f"imagenet:{folder / 'imagenet-mini'}?split=train",
            model=f"squeezenet1_1@{weights / 'squeezenet1_1.pt'}?labels={weights / 'imagenet_wnids.txt'}",
            store=str(store),
            settings=replaced(TopUnits(), changes),
            device="cpu",
        )
    )


def scanned(run: Run[TopUnits]) -> None:
    """Do all classes, up to what is joined over them."""
    class_ids = [info.class_id for info in run.dataset.classes]
    announce(run, class_ids)
    for class_id in class_ids:
        pipeline.complete_class(run, class_id)


def memory(name: str) -> float:
    """Return a figure of this process, in MB: ``VmRSS``, ``VmHWM`` (its peak), ``RssFile`` (pages of libraries).

    The peak that the kernel tells with other costs of a process (``ru_maxrss``) is never below its parent's at the start.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / MB for line in lines if line.startswith(f"{name}:"))


def pictured(run: Run[TopUnits]) -> dict[str, float]:
    """Make the pictures and return what that took, in this process."""
    layers_of(run)
    ranked(run)
    at_rest = memory("VmRSS")
    start = time.process_time()
    with told(giving_back(lambda _done, _total: None)):
        pipeline.gather(run)
    return {
        "seconds": time.process_time() - start,
        "at rest": at_rest,
        "peak": memory("VmHWM"),
        "libraries": memory("RssFile"),
    }


def region_by_region(run: Run[TopUnits], layer: UnitLayer, n: int) -> float:
    """Return processor seconds of one activation of a layer, the mean of some."""
    columns = ["image_class_id", "image_id", "unit", "map_y", "map_x", "crop"]
    shown = run.store.read("unit_top", run.run_id, layer.name, columns)
    shown = shown[shown["crop"].notna()]
    rows = shown.iloc[np.random.default_rng(0).permutation(len(shown))[:n]]
    pixels, settings = Pixels(run), run.settings
    images = pixels(list(zip(rows["image_class_id"], rows["image_id"], strict=True)))
    seeds = torch.from_numpy(rows[["unit", "map_y", "map_x"]].to_numpy().astype(np.int64))
    start = time.process_time()
    for image, seed in zip(images, seeds, strict=True):
        found = settings.deconvnet._of_units(run.classifier, layer, image[None], seed[None])
        picture(as_bytes(found.shown(settings.contrast))[0], "png")
        picture(as_bytes(cut(image[None], found.boxes))[0], "jpeg")
    return (time.process_time() - start) / len(rows)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=30, help="of a class")
    parser.add_argument("--units", type=int, help="of a layer; default: all")
    parser.add_argument("--sample", type=int, default=8, help="activations of a layer that are made one at a time")
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    keep_memory()
    if asked.store:
        print(json.dumps(pictured(opened(asked.folder, asked.store, asked.images, asked.units))))
        return
    with tempfile.TemporaryDirectory() as store:
        run = opened(asked.folder, Path(store), asked.images, asked.units)
        scanned(run)
        said = subprocess.run([sys.executable, *sys.argv, "--store", store], check=True, stdout=subprocess.PIPE)
        found = json.loads(said.stdout)
        n_pictures, one_by_one = 0, 0.0
        for layer in layers_of(run):
            crops = run.store.read_arrow("unit_top", run.run_id, layer.name, ["crop"])["crop"]
            n_pictures += len(crops) - crops.null_count
            one_by_one += region_by_region(run, layer, asked.sample) * (len(crops) - crops.null_count)
        size = sum(path.stat().st_size for path in Path(store).rglob("parts/unit_top/*/*.parquet")) / MB
    print(f"{n_pictures} pictures of {sum(layer.n_units for layer in layers_of(run))} units: {found['seconds']:.0f} CPU s, "
          f"{size:.0f} MB of unit_top; peak {found['peak']:.0f} MB, of which {found['at rest']:.0f} before the first "
          f"picture and {found['libraries']:.0f} pages of libraries")  # fmt: skip
    print(f"one region at a time, extrapolated from {asked.sample} activations a layer: {one_by_one:.0f} CPU s, "
          f"{one_by_one / found['seconds']:.1f} × as long")  # fmt: skip


if __name__ == "__main__":
    main()
