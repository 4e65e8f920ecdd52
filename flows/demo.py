"""The demo: PartBirds from drawing to report, measured against the truth that the dataset knows."""

import time
from collections.abc import Callable
from pathlib import Path

from flows.forms import filled_from
from flows.progress import watch
from flows.summarise import SettingsForm, SummariseRequest, summarise_classes
from xvcore.parameters import replaced
from xvcore.query import table
from xvcore.report import build
from xvcore.stages.originals import Originals
from xvcore.stages.settings import VisualSummaries
from xvcore.stages.train import TRAINING_SET, train
from xvcore.store import Store

NETWORKS = ("partbirds_wide", "partbirds_narrow")
DATASET = "partbirds"
N_CLASSES = 3
SETTINGS = {"max_images": "20"}
"""What the demo changes of the defaults, so that it ends in minutes on two cores."""


def run_demo(out: Path, *, seed: int, say: Callable[[str], None]) -> Path:
    """Train what is not trained yet, summarise, print how summaries and truth agree, and return the report's path."""
    started = time.monotonic()
    weights = {name: out / "weights" / f"{name}-seed{seed}.pt" for name in NETWORKS}
    for name, path in weights.items():
        if not path.exists():
            with watch(f"train {name}") as progress:
                train(name, TRAINING_SET, path, seed=seed, progress=progress)
    store = Store(out / "store")
    summarise_classes(
        SummariseRequest(
            dataset=DATASET,
            models=[f"{name}@{path}" for name, path in weights.items()],
            classes=_classes(),
            store=str(out / "store"),
            settings=filled_from(replaced(VisualSummaries(), SETTINGS), SettingsForm),
        )
    )
    index = build(store, out / "report", picture_of=Originals())
    say(agreement(store))
    say(f"{time.monotonic() - started:.0f} seconds; store: {out / 'store'}")
    say(f"open the report: {index}")
    return index


def agreement(store: Store) -> str:
    """Return a table: how pure the accepted summaries are and how many of the decisive parts they find."""
    frame = table(store, "summary_parts")
    return frame.to_string(index=False)


def _classes() -> list[str]:
    from xvcore.data import open_dataset

    return [info.class_id for info in open_dataset(DATASET).classes[:N_CLASSES]]
