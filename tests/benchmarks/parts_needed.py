"""Networks that were trained to need one, two and four parts of a class: do their distinct parts tell them apart?

    PYTHONPATH=. python tests/benchmarks/parts_needed.py --keep FOLDER

The birds are those of PartBirds, of four classes in which crest, tail, wing and bill wear a pattern of the class. A network
that needs k parts was trained on birds of which the first k alone wear the patterns of their class; the others wear those
of a class drawn by lot, so that they tell nothing. All three are looked at in the same held-out birds, of which all four
parts wear the patterns of their class. Wanted: the distinct parts increase in this order, the intervals of their mean over
the classes do not meet, and the parts that the summaries contain are the needed ones. What is in the folder is not
computed again.
"""

import argparse
import itertools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from xvcore.data import ClassInfo, ImageRecord, datasets
from xvcore.data.bird import PATTERNS, Bird, draw_lots
from xvcore.data.dataset import find_class
from xvcore.data.partbirds import ABSENT, SPLITS, PartBirds
from xvcore.parameters import parameter, replaced
from xvcore.runs.pipeline import complete_run
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

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """Four classes."""
        return tuple(ClassInfo(f"n{number}", number, f"n{number}") for number in range(N_CLASSES))

    def bird(self, record: ImageRecord) -> Bird:
        """Return what is drawn: the first draw in which one of the needed parts wears the pattern of its class."""
        own = find_class(self.name, self.classes, record.class_id).class_idx
        number = int(record.image_id.rpartition("-")[2])
        for attempt in itertools.count():
            generator = np.random.default_rng([self.seed, SPLITS.index(self.split), own, number, attempt])
            lots = generator.integers(0, N_CLASSES, len(WORN))
            lots[: self.n_needed] = own
            patterns = {part: pattern_of(int(lot), part) for lot, part in zip(lots, WORN, strict=True)}
            bird = draw_lots(generator, patterns, ABSENT)
            if any(bird.wears(part) == pattern_of(own, part) for part in WORN[: self.n_needed]):
                return bird
        raise AssertionError

    def _patterns(self, class_id: str) -> dict[str, str]:
        number = find_class(self.name, self.classes, class_id).class_idx
        return {part: pattern_of(number, part) for part in WORN[: self.n_needed]}


def pattern_of(class_number: int, part: str) -> str:
    """Return what a part wears in a class; no two classes share a part with its pattern."""
    return PATTERNS[(class_number + WORN.index(part)) % len(PATTERNS)]


@datasets.register("needed")
def needed(path: str | None, *, parts: str = "4", images: str = "100", split: str = "val") -> Needed:
    """Open ``needed?parts=4&images=100&split=val``."""
    del path
    given = {"n_needed": parts, "n_images": images, "split": split, "name": f"needed?parts={parts}&images={images}"}
    return replaced(Needed(), given)


def found(run: Run[VisualSummaries], class_id: str) -> dict[str, Any]:
    """Return the distinct parts of a class with their interval, and the parts that its summaries contain."""
    counts = run.store.read("part_counts", run.run_id, class_id)
    record = run.store.record(run.run_id, class_id).to_pylist()[0]
    shown = run.store.read("summary_parts", run.run_id, class_id)
    named = shown.loc[(shown["share"] >= LEAST_SHARE) & (shown["share"] > shown["random_share"]), "part"]
    whole = counts[counts["is_whole"]]
    low, high = (float(whole[name].iloc[0]) if len(whole) else 0.0 for name in ("parts_low", "parts_high"))
    return {
        "class": class_id,
        "masks": record["n_masks"],
        "summaries": record["n_summaries"],
        "parts": record["n_parts"] or 0,
        "low": low,
        "high": high,
        "contained": " ".join(sorted(set(named.dropna()))),
    }


def main() -> None:
    """Train, summarise, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="partbirds_narrow")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--train-images", type=int, default=200)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--classes", type=int, default=N_CLASSES, help="the first so many")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="parameters, as of xv summarise")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.mkdtemp()), help="folder of weights and store")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    changes = dict(each.split("=", 1) for each in arguments.set)
    settings = replaced(VisualSummaries(max_images=arguments.images), changes)
    rows = []
    for k in NEEDED:
        weights = arguments.keep / f"{arguments.network}-needs{k}.pt"
        if not weights.exists():
            training = f"needed?parts={k}&images={arguments.train_images}&split=train"
            train(arguments.network, training, weights, steps=arguments.steps)
        address = f"{arguments.network}@{weights}?name=needs{k}"
        run = open_run(RunSpec("needed", address, str(arguments.keep / "store"), settings, device="cpu", batch_size=32))
        for info in run.dataset.classes[: arguments.classes]:
            complete_run(run, [info.class_id])
            right = " ".join(sorted(WORN[:k]))
            rows.append({"needs": k, **found(run, info.class_id), "needed": right})
            print(pd.DataFrame(rows[-1:]).round(2).to_string(index=False, header=len(rows) == 1), flush=True)
    frame = pd.DataFrame(rows)
    print(frame.groupby("needs")[["summaries", "parts", "low", "high"]].mean().round(2).to_string())
    print(
        f"classes whose summaries contain the needed parts and no other: {(frame['contained'] == frame['needed']).sum()}"
    )


if __name__ == "__main__":
    main()
