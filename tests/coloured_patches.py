"""Images of a tint and a small patch, a network that sees the tint alone, and a run whose summaries are the patches."""

import datetime
from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn

from xvcore.models import Architecture, Preprocessing, architectures
from xvcore.runs.predict import PREDICT
from xvcore.runs.run import Run, RunSpec, announce, open_run
from xvcore.store.encode import picture
from xvcore.visual_summaries.settings import VisualSummaries

SIDE, PATCH = 32, 8
CLASSES = ("blue", "green", "red")
COLOURS = {"blue": (0.0, 0.0, 1.0), "green": (0.0, 1.0, 0.0), "red": (1.0, 0.0, 0.0)}
N_SUMMARISED = 24


def build(n_classes: int) -> nn.Sequential:
    """Scores are mean colours over the whole image: a patch of a sixteenth of it drowns in the tint."""
    maps, head = nn.Conv2d(3, 3, 1, bias=False), nn.Linear(3, n_classes, bias=False)
    nn.init.dirac_(maps.weight)
    nn.init.eye_(head.weight)
    head.weight.data = 12 * head.weight.data.flip(0)
    return nn.Sequential(nn.AvgPool2d(4), maps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


architectures.register("tint")(Architecture("tint", build, Preprocessing((SIDE, SIDE), None), len(CLASSES)))


def drawn(class_id: str, number: int, *, is_telling: bool, seed: int = 0) -> tuple[np.ndarray, tuple[int, int]]:
    """Return an image and where its patch is: its colour tells the class, or nothing does but the tint."""
    rng = np.random.default_rng([seed, CLASSES.index(class_id), number])
    tint = 0.45 + rng.normal(0, 0.08, 3) + 0.06 * np.array(COLOURS[class_id])
    x, y = rng.integers(0, SIDE - PATCH + 1, 2)
    image = np.broadcast_to(tint, (SIDE, SIDE, 3)) + rng.normal(0, 0.02, (SIDE, SIDE, 3))
    shown = class_id if is_telling else CLASSES[int(rng.integers(3))]
    image[y : y + PATCH, x : x + PATCH] = COLOURS[shown]
    return (image.clip(0, 1) * 255).astype(np.uint8), (int(x), int(y))


def write_images(folder: Path, n_images: int, *, is_telling: bool, first: int = 0, seed: int = 0) -> None:
    for class_id in CLASSES:
        (folder / class_id).mkdir(parents=True, exist_ok=True)
        for number in range(first, n_images):
            pixels, _ = drawn(class_id, number, is_telling=is_telling, seed=seed)
            Image.fromarray(pixels).save(folder / class_id / f"{number:03d}.png")


def write_run(folder: Path, store: Path, *, is_telling: bool) -> Run:
    """A run of the first images of each class, whose one summary a class is of their patches."""
    settings = VisualSummaries(max_images=N_SUMMARISED)
    outputs = tuple((each, str(place)) for place, each in enumerate(CLASSES))
    run = open_run(RunSpec(f"imagefolder:{folder}", "tint@random", str(store), settings, outputs, "cpu"))
    announce(run, CLASSES)
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    for class_id in CLASSES:
        PREDICT.work(run, class_id, None)
        regions = []
        for number in range(N_SUMMARISED):
            pixels, (x, y) = drawn(class_id, number, is_telling=is_telling)
            cut = picture(np.ascontiguousarray(pixels[y : y + PATCH, x : x + PATCH]), "png")
            regions.append(
                {"region_id": number, "image_id": f"{class_id}/{number:03d}.png", "x": x, "y": y, "w": PATCH, "h": PATCH,
                 "cluster_id": 0, "is_exemplar": not number, "sim_exemplar": 1.0, "kept": True, "crop": cut}
            )  # fmt: skip
        run.store.write("regions", run.run_id, class_id, regions)
        cluster = {
            "cluster_id": 0,
            "position": 1,
            "n_regions": N_SUMMARISED,
            "n_images": N_SUMMARISED,
            "accepted": True,
        }
        run.store.write("clusters", run.run_id, class_id, [cluster])
        record = {"status": "complete", "attempt": 1, "n_images": N_SUMMARISED, "n_summaries": 1, "finished_at": now}
        run.store.write("class_runs", run.run_id, class_id, [record])
    return run
