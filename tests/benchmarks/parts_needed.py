"""Networks that were trained to need one, two and four parts of a class: do their distinct parts tell them apart?

    PYTHONPATH=. python tests/benchmarks/parts_needed.py --keep FOLDER

The birds are those of PartBirds, of classes in which crest, tail, wing and bill wear a pattern of the class. A network
that needs k parts was trained on birds of which the first k alone wear the patterns of their class, most of them absent
from an image, so that each has to suffice alone; the others wear those of a class drawn by lot, so that they tell
nothing, and a class of its own has none of the k. Pieces of the training images are hidden, by blur or one colour, so
that a piece of a pattern suffices too: else a network takes a bird whose pattern is torn in one place for one without,
and masks are such places. Its training is begun again with twice the steps until each of the k does suffice: on other
birds that wear that one alone it is right in ``LEAST_RIGHT`` of them. That asks the network, no mask and no summary;
what it says of each part is printed. All three are looked at in the same held-out birds, of which all four parts wear
the patterns of their class, and compared. Wanted: the distinct parts increase in this order, the intervals of their
mean over the classes do not meet, and the parts that are salient more than at random places are the needed ones. What
is in the folder is not computed again.
"""

import argparse
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from jaxtyping import UInt8
from PIL import Image

from xvcore.comparison.runs.networks import resolved
from xvcore.comparison.settings import Comparison
from xvcore.data import ClassInfo, ImageRecord, datasets
from xvcore.data.bird import PARTS, PATTERNS, Bird, draw_lots
from xvcore.data.dataset import find_class
from xvcore.data.partbirds import SPLITS, PartBirds
from xvcore.models import load
from xvcore.models.classifier import Classifier
from xvcore.parameters import parameter, replaced
from xvcore.query import table
from xvcore.runs.pipeline import complete_run, is_complete
from xvcore.runs.run import Run, RunSpec, open_run
from xvcore.runs.train import train
from xvcore.visual_summaries.settings import VisualSummaries

WORN = ("crest", "tail", "wing", "bill")
NEEDED = (1, 2, 4)
N_CLASSES = len(PATTERNS)
N_LOOKED = 6
NONE = "none"
"""The class of birds on which no needed part wears a pattern."""
LEAST_RIGHT = 0.75
"""Share of birds with one needed part alone on which a network must be right for its training to end."""
MOST_TRAININGS = 3
MOST_HIDDEN = 4
"""Pieces that are hidden of a training image, at most."""


@dataclass(frozen=True)
class Needed(PartBirds):
    """PartBirds of which the first ``n_needed`` parts tell the class."""

    n_needed: int = parameter(len(WORN), "Parts that tell the class", ge=1, le=len(WORN))
    absent: float = parameter(0.0, "Probability that one of these is absent, but for the one that stays", ge=0, le=1)
    alone: str = parameter("", "The only part that wears the pattern of the class; empty: see absent")

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """Classes of which no two share a part with its pattern, and the one without needed parts."""
        names = (*(f"n{number}" for number in range(N_CLASSES)), NONE)
        return tuple(ClassInfo(name, number, name) for number, name in enumerate(names))

    def bird(self, record: ImageRecord) -> Bird:
        """Return what is drawn: the needed parts as in the class, the others as in a class by lot."""
        own = find_class(self.name, self.classes, record.class_id).class_idx
        number = int(record.image_id.rpartition("-")[2])
        generator = np.random.default_rng([self.seed, SPLITS.index(self.split), own, number])
        lots = generator.integers(0, N_CLASSES, len(WORN))
        stays = generator.integers(0, self.n_needed)
        is_absent = generator.uniform(size=len(WORN)) < self.absent
        patterns = {}
        for place, (lot, part) in enumerate(zip(lots, WORN, strict=True)):
            is_needed = place < self.n_needed
            is_own = part == self.alone if self.alone else is_needed and (place == stays or not is_absent[place])
            if is_own and own < N_CLASSES:
                patterns[part] = pattern_of(own, part)
            elif not is_needed:
                patterns[part] = pattern_of(int(lot), part)
        return draw_lots(generator, patterns, 0.0)

    def picture(self, record: ImageRecord) -> UInt8[np.ndarray, "px px 3"]:
        """Return the RGB pixels of an image; of the training images with pieces hidden."""
        picture = super().picture(record)
        return hidden(picture, zlib.crc32(record.image_id.encode())) if self.split == "train" else picture

    def _patterns(self, class_id: str) -> dict[str, str]:
        number = find_class(self.name, self.classes, class_id).class_idx
        return {} if class_id == NONE else {part: pattern_of(number, part) for part in WORN[: self.n_needed]}


def hidden(picture: UInt8[np.ndarray, "px px 3"], seed: int) -> UInt8[np.ndarray, "px px 3"]:
    """Return a picture of which up to ``MOST_HIDDEN`` pieces are replaced by its blur or its mean colour."""
    generator = np.random.default_rng(seed)
    side = len(picture)
    changed = picture.copy()
    for _ in range(generator.integers(MOST_HIDDEN + 1)):
        width, height = generator.integers(side // 10, side // 4, 2)
        x, y = generator.integers(0, side - width), generator.integers(0, side - height)
        piece = np.s_[y : y + height, x : x + width]
        blurred = cv2.GaussianBlur(picture, (0, 0), generator.uniform(4, 12))
        changed[piece] = blurred[piece] if generator.random() < 0.5 else picture.mean((0, 1))
    return changed


def pattern_of(class_number: int, part: str) -> str:
    """Return what a part wears in a class; no two classes share a part with its pattern."""
    return PATTERNS[(class_number + WORN.index(part)) % len(PATTERNS)]


@datasets.register("needed")
def needed(path: str | None, *, parts: str = "4", images: str = "100", split: str = "val", absent: str = "0") -> Needed:
    """Open ``needed?parts=4&images=100&split=val&absent=0``."""
    del path
    name = f"needed?parts={parts}&images={images}&absent={absent}"
    given = {"n_needed": parts, "n_images": images, "split": split, "absent": absent, "name": name}
    return replaced(Needed(), given)


def told_alone(network: Classifier, k: int, n_images: int = 16) -> dict[str, float]:
    """Return how often a network that needs k parts is right where one part alone is the class's, by that part."""
    names = [output.name for output in network.outputs or ()]
    told = {}
    for part in WORN:
        birds = Needed(n_needed=k, n_images=n_images, seed=1, alone=part, name=f"alone {part}")
        right = []
        for name in names[:N_CLASSES]:
            shown = [Image.fromarray(birds.picture(record)) for record in birds.images(name)]
            with torch.no_grad():
                scores = network.logits(torch.stack([network.preprocessing.pixels(each) for each in shown]))
            right.append(float((scores.argmax(1) == names.index(name)).float().mean()))
        told[part] = round(float(np.mean(right)), 2)
    return told


def trained(k: int, arguments: argparse.Namespace) -> str:
    """Return the address of the network that needs k parts, each of which suffices, and print what it knows."""
    training = f"needed?parts={k}&images={arguments.train_images}&split=train&absent={arguments.absent}"
    for number in range(MOST_TRAININGS):
        steps = arguments.steps * 2**number
        weights = arguments.keep / f"{arguments.network}-needs{k}-seed{arguments.seed}-{steps}.pt"
        if not weights.exists():
            train(arguments.network, training, weights, steps=steps, seed=arguments.seed)
        address = f"{arguments.network}@{weights}?name=needs{k}"
        told = told_alone(load(address), k)
        print(f"needs {k}, {steps} steps, right by one part alone: {told}", flush=True)
        if min(told[part] for part in WORN[:k]) >= LEAST_RIGHT:
            break
    return address


def row(compared: Run[Comparison], k: int, class_id: str) -> dict[str, Any]:
    """Return the parts of a class in the eyes of the network that needs k."""
    model = f"needs{k}"

    def of_model(name: str) -> pd.DataFrame:
        rows = compared.store.read(name, compared.run_id, class_id)
        return rows[rows["model"] == model]

    told = of_model("comparison_classes").iloc[0]
    covered = of_model("part_coverage").set_index("part")
    named = covered.index[covered["share_low"] > 0]
    return {
        "needs": k,
        "class": class_id,
        "right": told["accuracy"],
        "masks": told["n_looked"],
        "summaries": told["n_summaries"],
        "parts": told["n_parts"],
        "low": told["parts_low"],
        "high": told["parts_high"],
        **{part: covered.loc[part, "share"] for part in (*WORN, *(each for each in PARTS if each not in WORN))},
        "salient": " ".join(sorted(named)),
        "needed": " ".join(sorted(WORN[:k])),
    }


def main() -> None:
    """Train, summarise, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="partbirds_wide")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train-images", type=int, default=300)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--absent", type=float, default=0.5, help="share of needed parts that are absent in training")
    parser.add_argument("--classes", type=int, default=N_LOOKED, help="the first so many")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="parameters, as of xv summarise")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.mkdtemp()), help="folder of weights and store")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    changes = dict(each.split("=", 1) for each in arguments.set)
    settings = replaced(VisualSummaries(max_images=arguments.images), changes)
    models = [trained(k, arguments) for k in NEEDED]
    store = str(arguments.keep / f"store-{arguments.seed}")
    dataset = f"needed?images={arguments.images}"
    class_ids = [info.class_id for info in Needed().classes[: arguments.classes]]
    for model in models:
        run = open_run(RunSpec(dataset, model, store, settings, device="cpu", batch_size=32))
        complete_run(run, class_ids)
        if not all(is_complete(run, each) for each in class_ids):
            raise SystemExit(f"{run.run_id} failed")
    spec = RunSpec(dataset, models[0], store, Comparison(others=tuple(models[1:])), device="cpu", batch_size=32)
    compared = open_run(resolved(spec))
    complete_run(compared, class_ids)
    if not all(is_complete(compared, each) for each in class_ids):
        raise SystemExit(f"{compared.run_id} failed")
    rows = pd.DataFrame([row(compared, k, class_id) for k in NEEDED for class_id in class_ids])
    print(rows.round(2).to_string(index=False))
    networks = table(compared.store, "comparison_networks", run_id=compared.run_id)
    shown = ["model", "accuracy", "mean_summaries", "mean_parts", "mean_parts_low", "mean_parts_high"]
    print(networks[shown].round(2).to_string(index=False))
    print(rows.groupby("needs")[list(PARTS)].mean().round(2).to_string())
    is_right = rows["salient"] == rows["needed"]
    print(f"classes of which the needed parts alone are salient: {is_right.sum()} of {len(rows)}")


if __name__ == "__main__":
    main()
