"""Two networks whose parts of a drawn class are known: one shows crest, wing and tail, the other wing and tail alone."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from xvcore.comparison.runs.networks import resolved
from xvcore.comparison.settings import Comparison
from xvcore.data import open_dataset
from xvcore.parameters import replaced
from xvcore.runs import pipeline
from xvcore.runs.parts import parts_in_input
from xvcore.runs.run import RunSpec, announce, conclude, open_run
from xvcore.store import Store
from xvcore.store.encode import rle_encode
from xvcore.visual_summaries.settings import VisualSummaries

DATASET = "partbirds?classes=2&images=9"
CLASS = open_dataset(DATASET).classes[0].class_id
NARROW, WIDE = "partbirds_narrow@random?classes=3", "partbirds_wide@random?classes=3"
SHOWN = {NARROW: ("crest", "wing", "tail"), WIDE: ("wing", "tail")}
QUICK = {"n_flow": "4", "n_deleted": "4", "n_concept_images": "5", "matching.n_draws": "100", "probe.n_shuffles": "20"}


def summaries_of(model: str, store: Path) -> RunSpec[VisualSummaries]:
    settings = replaced(VisualSummaries(), {"skip_misclassified": "false", "max_images": "9"})
    return RunSpec(DATASET, model, str(store), settings, class_map=((CLASS, "0"),), batch_size=4)


def write_summaries(model: str, store: Path, class_id: str = CLASS) -> str:
    """Write visual summaries whose parts are the true ones, as a complete run, and return its id."""
    run = open_run(summaries_of(model, store))
    announce(run, [class_id])
    pipeline.begin(run, class_id)
    pipeline.run_stage(run, class_id, "predict")
    truth = parts_in_input(run, class_id)
    truth = truth[truth["visible"].astype(bool)]
    masks, regions, clusters = [], [], []
    for image_id, rows in truth.groupby("image_id", sort=True):
        mask = np.zeros(run.size, bool)
        for x, y, w, h in (
            rows.loc[rows["part"].isin(SHOWN[model]), ["x", "y", "w", "h"]].to_numpy().round().astype(int)
        ):
            mask[max(0, y) : y + h, max(0, x) : x + w] = True
        cells = {"image_id": image_id, "rle": rle_encode(mask), "area_frac": float(mask.mean()), "prob_drop": 0.9}
        masks += [{**cells, "kind": kind} for kind in ("smooth", "sharp")]
    for cluster, part in enumerate(SHOWN[model]):
        members = truth[truth["part"] == part]
        for row in members.to_dict("records"):
            box = {side: int(max(row[side], 2 if side in "wh" else 0)) for side in "xywh"}
            shared = {"region_id": len(regions), "image_id": row["image_id"], **box, "cluster_id": cluster}
            regions.append({**shared, "is_exemplar": False, "sim_exemplar": 1.0, "kept": True})
        of = {"cluster_id": cluster, "position": cluster + 1, "n_regions": len(members), "n_images": len(members)}
        clusters.append({**of, "accepted": True})
    n = len(SHOWN[model])
    counts = {"n_images": 9, "is_whole": True, "n_samples": 1, "n_summaries": n, "n_parts": n}
    intervals = {"summaries_low": n - 1, "summaries_high": n + 2, "parts_low": n - 1, "parts_high": n + 1}
    for table, part_rows in (
        ("masks", masks), ("similarity", []), ("candidates", []), ("regions", regions), ("clusters", clusters),
        ("summary_parts", []), ("summary_drops", []), ("part_counts", [counts | intervals]),
    ):  # fmt: skip
        run.store.write(table, run.run_id, class_id, part_rows)
    pipeline.finish(run, class_id)
    assert conclude(run) == "complete"
    return run.run_id


def spec_of(store: Path, **changes: str) -> RunSpec[Comparison]:
    given = summaries_of(NARROW, store)
    settings = replaced(dataclasses.replace(Comparison(), others=(WIDE,)), {**QUICK, **changes})
    return resolved(dataclasses.replace(given, settings=settings))


@pytest.fixture(scope="session")
def summaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the summaries of both networks and no comparison; copy it before you write."""
    store = tmp_path_factory.mktemp("summaries") / "store"
    for model in SHOWN:
        write_summaries(model, store)
    return store


@pytest.fixture(scope="session")
def compared(summaries: Path) -> tuple[Store, str]:
    """The same store with the comparison, and the comparison's id."""
    run = open_run(spec_of(summaries))
    assert pipeline.complete_run(run, [CLASS]) == "complete"
    return run.store, run.run_id


def rows(compared: tuple[Store, str], table: str) -> pd.DataFrame:
    store, run_id = compared
    return store.read(table, run_id, CLASS)
