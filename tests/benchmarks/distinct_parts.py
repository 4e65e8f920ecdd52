"""How many distinct parts are found of PartBirds classes, against the decisive parts that the drawings know.

Command: ``PYTHONPATH=. python tests/benchmarks/distinct_parts.py [--seeds 0 1 2] [--images N] [--set NAME=VALUE …]``.
Networks are trained where their weights are not in ``--keep``; of a class that is in the store there nothing is computed
again. Wanted: the two numbers differ by at most one in 90 % of the classes with decisive parts; the class ``plain``,
which has none, is shown beside.
"""

import argparse
import tempfile
from pathlib import Path

import pandas as pd
import torch

from xvcore.data import open_dataset
from xvcore.data.partbirds import PLAIN
from xvcore.parameters import replaced
from xvcore.runs.pipeline import complete_run
from xvcore.runs.run import RunSpec, open_run
from xvcore.runs.train import TRAINING_SET, train
from xvcore.store import Store
from xvcore.visual_summaries.settings import VisualSummaries

DATASET = "partbirds"
LEAST_SHARE = 0.9


def found(store: Store, run_id: str, class_id: str) -> dict[str, object]:
    """Return the counts of a class: decisive parts, parts that the summaries contain by their boxes, distinct parts."""
    record = store.read("class_runs", run_id, class_id).iloc[0]
    clusters = store.read("clusters", run_id, class_id)
    counts = store.read("part_counts", run_id, class_id)
    whole = counts[counts["is_whole"]].iloc[0]
    shown = store.read("summary_parts", run_id, class_id).merge(clusters, on="cluster_id", suffixes=("", "_of_cluster"))
    drops = store.read("summary_drops", run_id, class_id)
    joint = drops[drops["kind"] == "joint"]
    decisive = len(open_dataset(DATASET).decisive_parts(class_id))
    return {
        "class": class_id[:5],
        "masks": record["n_masks"],
        "decisive": decisive,
        "summaries": record["n_summaries"],
        "contained": shown["part"].nunique(),
        "parts": record["n_parts"],
        "low": whole["parts_low"],
        "high": whole["parts_high"],
        "joint_drop": joint["prob_drop"].max(),
        "random": joint["random_drop"].max(),
        "mixed": sum(group["part"].nunique() > 1 for _, group in shown.groupby("distinct_part")),
        "within_one": abs(record["n_parts"] - decisive) <= 1,
        "seconds": record["seconds"],
    }


def main() -> None:
    """Train, summarise, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="partbirds_wide")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--classes", type=int, default=7, help="the first so many; 7 are all, plain included")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="parameters, as of xv summarise")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.mkdtemp()), help="folder of weights and store")
    options = parser.parse_args()
    torch.set_num_threads(1)
    changes = dict(each.split("=", 1) for each in options.set)
    settings = replaced(VisualSummaries(max_images=options.images), changes)
    classes = [info.class_id for info in open_dataset(DATASET).classes[: options.classes]]
    rows = []
    for seed in options.seeds:
        weights = options.keep / f"{options.network}-seed{seed}.pt"
        if not weights.exists():
            train(options.network, TRAINING_SET, weights, seed=seed)
        spec = RunSpec(DATASET, f"{options.network}@{weights}", str(options.keep / "store"), settings, device="cpu")
        run = open_run(spec)
        for class_id in classes:
            complete_run(run, [class_id])
            rows.append({"seed": seed, **found(run.store, run.run_id, class_id)})
            print(pd.DataFrame(rows[-1:]).round(3).to_string(index=False, header=len(rows) == 1), flush=True)
    frame = pd.DataFrame(rows)
    patterned = frame[frame["class"] != PLAIN]
    share = float(patterned["within_one"].mean())
    print(f"parts within one of the decisive parts: {share:.3f} of {len(patterned)} classes (wanted {LEAST_SHARE})")
    print(f"groups of summaries that contain several parts: {int(patterned['mixed'].sum())}")


if __name__ == "__main__":
    main()
