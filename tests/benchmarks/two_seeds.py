"""Two networks that differ by their seed alone: how often is a part of one found to be missed by the other?

    PYTHONPATH=. python tests/benchmarks/two_seeds.py --seeds 0 1 2 --images 12 --keep FOLDER

Every two of the seeds are compared, over all classes of PartBirds, in one comparison. A verdict "could but does not use",
"cannot" or "does not use" counts as false here: both networks were trained to need the same parts (what a seed did not learn all the
same counts against us, so the figure is an upper bound; the parts that the drawings call decisive are told beside it).
Wanted: at most 5 % of the parts. What is in the folder is not computed again.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from xvcore.comparison.method.verdict import MISSED
from xvcore.comparison.runs.networks import resolved
from xvcore.comparison.settings import Comparison
from xvcore.data import open_dataset
from xvcore.parameters import replaced
from xvcore.query import table
from xvcore.runs.pipeline import complete_run
from xvcore.runs.run import Run, RunSpec, open_run
from xvcore.runs.train import TRAINING_SET, train
from xvcore.visual_summaries.settings import VisualSummaries

DATASET = "partbirds"
MOST_FALSE = 0.05


def networks(arguments: argparse.Namespace) -> list[str]:
    """Return the addresses of the networks of all seeds, trained where their weights are not in the folder."""
    found = []
    for seed in arguments.seeds:
        weights = arguments.keep / f"{arguments.network}-seed{seed}.pt"
        if not weights.exists():
            train(arguments.network, TRAINING_SET, weights, seed=seed)
        found.append(f"{arguments.network}@{weights}?name=seed{seed}")
    return found


def compared(arguments: argparse.Namespace, models: list[str]) -> Run[Comparison]:
    """Return the complete comparison of all the networks."""
    changes = dict(each.split("=", 1) for each in arguments.set)
    settings = replaced(VisualSummaries(max_images=arguments.images), changes)
    classes = [info.class_id for info in open_dataset(DATASET).classes[: arguments.classes]]
    store = str(arguments.keep / "store")
    for model in models:
        run = open_run(RunSpec(DATASET, model, store, settings, device="cpu", batch_size=32))
        if complete_run(run, classes) != "complete":
            raise SystemExit(f"{run.run_id} failed")
    names = "+".join(f"seed{seed}" for seed in arguments.seeds)
    asked = replaced(Comparison(others=tuple(models[1:])), {"seeds": names})
    spec = resolved(RunSpec(DATASET, models[0], store, asked, device="cpu", batch_size=32))
    run = open_run(spec)
    if complete_run(run, classes) != "complete":
        raise SystemExit(f"{run.run_id} failed")
    return run


def rows(run: Run[Comparison]) -> pd.DataFrame:
    """Return a row for each two networks: parts, and how many of each verdict."""
    verdicts = table(run.store, "part_verdicts", run_id=run.run_id)
    found: list[dict[str, Any]] = []
    for (model, other), group in verdicts.groupby(["model", "other"]):
        counts = group["verdict"].value_counts()
        found.append(
            {
                "network": model,
                "other": other,
                "parts": len(group),
                **{name: int(counts.get(name, 0)) for name in ("shared", *MISSED, "undecided")},
                "only": int(group["verdict"].isin(MISSED).sum()),
            }
        )
    return pd.DataFrame(found)


def main() -> None:
    """Print a row for each two networks, every false verdict, and their share."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="partbirds_narrow")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--classes", type=int, default=6, help="the first so many; 6 are all that have decisive parts")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="parameters, as of xv summarise")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.mkdtemp()), help="folder of weights and store")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    run = compared(arguments, networks(arguments))
    frame = rows(run)
    print(frame.to_string(index=False))
    verdicts = table(run.store, "part_verdicts", run_id=run.run_id)
    false = verdicts[verdicts["verdict"].isin(MISSED)]
    columns = [
        "class_id",
        "model",
        "part_id",
        "other",
        "n_images",
        "verdict",
        "own_loss",
        "other_loss",
        "probe_accuracy",
    ]
    print(false[columns].to_string(index=False) if len(false) else "no false verdict")
    share = len(false) / max(1, len(verdicts))
    print(f"found in one alone: {len(false)} of {len(verdicts)} = {share:.3f} (wanted at most {MOST_FALSE})")


if __name__ == "__main__":
    main()
