"""The demo: PartBirds from drawing to report, measured against the truth that the dataset knows."""

import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from flows.forms import filled_from
from flows.progress import watch
from flows.summarise import SettingsForm, SummariseRequest, summarise_classes
from xvcore.analyses.parts import part_recall
from xvcore.parameters import replaced
from xvcore.query import table
from xvcore.query.counts import summary_counts
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
    say("accepted summaries against the truth that the drawings know:")
    say(agreement(store).round(3).to_string(index=False))
    say(f"{time.monotonic() - started:.0f} seconds; store: {out / 'store'}")
    say(f"open the report: {index}")
    return index


def agreement(store: Store) -> pd.DataFrame:
    """Return one row per network: how well its accepted summaries agree with the truth.

    ``purity`` is the mean share of a summary's regions that cover its majority part, ``random_purity`` the same for
    random regions of equal size, ``recall`` the mean share of a class's decisive parts that some summary covers.
    """
    shares = table(store, "summary_parts")
    truth = table(store, "parts", filters={"decisive": True})
    decisive = truth.groupby("class_id")["part"].agg(set)
    counts = summary_counts(store)
    rows = []
    for model in counts["model"].unique():
        of_model = shares[shares["model"] == model]
        classes = counts.loc[counts["model"] == model, "class_id"]
        recalls = [part_recall(of_model[of_model["class_id"] == each], decisive[each]) for each in classes]
        rows.append(
            {
                "network": model,
                "classes": len(classes),
                "summaries": int(counts.loc[counts["model"] == model, "n_summaries"].sum()),
                "purity": of_model["share"].mean(),
                "random_purity": of_model["random_purity"].mean(),
                "recall": sum(recalls) / len(recalls),
            }
        )
    return pd.DataFrame(rows)


def _classes() -> list[str]:
    from xvcore.data import open_dataset

    return [info.class_id for info in open_dataset(DATASET).classes[:N_CLASSES]]
