"""Networks that were trained to need one, two and four parts of a class: do their distinct parts tell them apart?

    PYTHONPATH=. python tests/benchmarks/parts_needed.py --keep FOLDER

The birds are those of PartBirds, of classes in which crest, tail, wing and bill wear a pattern of the class. A network
that needs k parts was trained on birds of which the first k alone wear the patterns of their class; the others wear those
of a class drawn by lot, so that they tell nothing. All three are looked at in the same held-out birds, of which all four
parts wear the patterns of their class, and compared. Wanted: the distinct parts increase in this order, the intervals of
their mean over the classes do not meet, and the parts that the masks cover, in half of the images or more and more than
at random places, are the needed ones. What is in the folder is not computed again.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from xvcore.comparison.runs.networks import resolved
from xvcore.comparison.settings import Comparison
from xvcore.data import ClassInfo, ImageRecord, datasets
from xvcore.data.bird import PARTS, PATTERNS, Bird, draw_lots
from xvcore.data.dataset import find_class
from xvcore.data.partbirds import ABSENT, SPLITS, PartBirds
from xvcore.parameters import parameter, replaced
from xvcore.query import table
from xvcore.runs.pipeline import complete_run, is_complete
from xvcore.runs.run import Run, RunSpec, open_run
from xvcore.runs.train import train
from xvcore.visual_summaries.settings import VisualSummaries

WORN = ("crest", "tail", "wing", "bill")
NEEDED = (1, 2, 4)
N_CLASSES = 4
LEAST_SHARE = 0.5


@dataclass(frozen=True)
class Needed(PartBirds):
    """PartBirds of which the first ``n_needed`` parts tell the class."""

    n_needed: int = parameter(len(WORN), "Parts that tell the class", ge=1, le=len(WORN))
    absent: float = parameter(0.0, "Probability that one of these is absent, but for the one that stays", ge=0, le=1)

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """Classes of which no two share a part with its pattern."""
        return tuple(ClassInfo(f"n{number}", number, f"n{number}") for number in range(N_CLASSES))

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
            if place >= self.n_needed:
                patterns[part] = pattern_of(int(lot), part)
            elif place == stays or not is_absent[place]:
                patterns[part] = pattern_of(own, part)
        return draw_lots(generator, patterns, 0.0)

    def _patterns(self, class_id: str) -> dict[str, str]:
        number = find_class(self.name, self.classes, class_id).class_idx
        return {part: pattern_of(number, part) for part in WORN[: self.n_needed]}


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


def row(compared: Run[Comparison], k: int, class_id: str) -> dict[str, Any]:
    """Return the parts of a class in the eyes of the network that needs k."""
    model = f"needs{k}"

    def of_model(name: str) -> pd.DataFrame:
        rows = compared.store.read(name, compared.run_id, class_id)
        return rows[rows["model"] == model]

    told = of_model("comparison_classes").iloc[0]
    covered = of_model("part_coverage").set_index("part")
    named = covered.index[(covered["covered"] >= LEAST_SHARE) & (covered["low"] > 0)]
    return {
        "needs": k,
        "class": class_id,
        "right": told["accuracy"],
        "masks": told["n_looked"],
        "summaries": told["n_summaries"],
        "parts": told["n_parts"],
        "low": told["parts_low"],
        "high": told["parts_high"],
        **{part: covered.loc[part, "covered"] for part in (*WORN, *(each for each in PARTS if each not in WORN))},
        "covered": " ".join(sorted(named)),
        "needed": " ".join(sorted(WORN[:k])),
    }


def main() -> None:
    """Train, summarise, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="partbirds_narrow")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train-images", type=int, default=300)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--classes", type=int, default=N_CLASSES, help="the first so many")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="parameters, as of xv summarise")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.mkdtemp()), help="folder of weights and store")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    changes = dict(each.split("=", 1) for each in arguments.set)
    settings = replaced(VisualSummaries(max_images=arguments.images), changes)
    models = []
    for k in NEEDED:
        weights = arguments.keep / f"{arguments.network}-needs{k}-seed{arguments.seed}.pt"
        if not weights.exists():
            training = f"needed?parts={k}&images={arguments.train_images}&split=train&absent={ABSENT}"
            train(arguments.network, training, weights, steps=arguments.steps, seed=arguments.seed)
        models.append(f"{arguments.network}@{weights}?name=needs{k}")
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
    print(
        f"classes of which the masks cover the needed parts alone: {(rows['covered'] == rows['needed']).sum()}", end=" "
    )
    print(f"of {len(rows)}")


if __name__ == "__main__":
    main()
