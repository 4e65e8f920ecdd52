"""The demo: PartBirds from drawing to report, measured against the truth that the dataset knows."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel

from flows.evidence import EvidenceForm, EvidenceRequest, bagnet_evidence
from flows.forms import filled_from
from flows.progress import watch
from flows.summarise import SettingsForm, SummariseRequest, summarise_classes
from flows.units import UnitsForm, UnitsRequest, top_activations
from xvcore.data import open_dataset
from xvcore.evidence.settings import PatchEvidence
from xvcore.models import find
from xvcore.ops.parts import part_recall, share_on_parts
from xvcore.parameters import replaced
from xvcore.query import table
from xvcore.report import build
from xvcore.runs.originals import Originals
from xvcore.runs.settings import Settings
from xvcore.runs.train import TRAINING_SET, Recipe, train
from xvcore.store import Store
from xvcore.units.settings import TopUnits
from xvcore.visual_summaries.query.counts import summary_counts
from xvcore.visual_summaries.settings import VisualSummaries

NETWORKS = ("partbirds_wide", "partbirds_narrow")
"""Looked at by visual summaries; the first by its units too."""
BAGNET = "partbirds_bagnet17"
STEPS = {BAGNET: 200}
"""Steps of training where fewer than usual will do."""
DATASET = "partbirds"
N_CLASSES = 3
IMAGES = "20"
UNITS_SHOWN = "16"
"""Like the few images, so that the demo ends in minutes on two cores."""


def run_demo(out: Path, *, seed: int, say: Callable[[str], None]) -> Path:
    """Train what is not trained yet, summarise, print how summaries and truth agree, and return the report's path."""
    started = time.monotonic()
    models = {name: _trained(name, out / "weights" / f"{name}-seed{seed}.pt", seed) for name in (*NETWORKS, BAGNET)}
    store = Store(out / "store")
    common: dict[str, Any] = {"dataset": DATASET, "classes": _classes(), "store": str(out / "store")}
    looked_at = [models[name] for name in NETWORKS]
    settings = _few(VisualSummaries(), SettingsForm)
    summarise_classes(SummariseRequest(models=looked_at, settings=settings, **common))
    settings = _few(PatchEvidence(), EvidenceForm)
    bagnet_evidence(EvidenceRequest(models=[models[BAGNET]], settings=settings, **common))
    settings = _few(TopUnits(), UnitsForm, units_shown=UNITS_SHOWN)
    top_activations(UnitsRequest(models=looked_at[:1], settings=settings, **common))
    index = build(store, out / "report", picture_of=Originals())
    say("accepted summaries against the truth that the drawings know:")
    say(agreement(store).round(3).to_string(index=False))
    share, random_share = patches_on_parts(store)
    say(f"strongest patches of {BAGNET} that lie on a decisive part: {share:.0%}, random ones {random_share:.0%}")
    say(f"{time.monotonic() - started:.0f} seconds; store: {out / 'store'}")
    say(f"open the report: {index}")
    return index


def patches_on_parts(store: Store) -> tuple[float, float]:
    """Return the share of the strongest patches of each class that lie on one of its decisive parts, and by chance."""
    patches = table(store, "patches", filters={"origin": "class"})
    decisive = table(store, "parts", filters={"decisive": True})
    return share_on_parts(patches, decisive, find(BAGNET).preprocessing.input_px)


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


def _trained(name: str, path: Path, seed: int) -> str:
    """Return the network's address, trained now unless its weights are there."""
    if not path.exists():
        with watch(f"train {name}") as progress:
            train(name, TRAINING_SET, path, steps=STEPS.get(name, Recipe().steps), seed=seed, progress=progress)
    return f"{name}@{path}"


def _few(settings: Settings, form: type[BaseModel], **changes: str) -> Any:
    return filled_from(replaced(settings, {"max_images": IMAGES, **changes}), form)


def _classes() -> list[str]:
    return [info.class_id for info in open_dataset(DATASET).classes[:N_CLASSES]]
