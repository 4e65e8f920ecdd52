"""What a store holds, compared with that of an undisturbed run; and the line that each fault leaves in the output."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from flows.families.summarise import COMMAND
from xvcore.data import open_dataset
from xvcore.query import table
from xvcore.runs import pipeline
from xvcore.runs.run import RunSpec, announce, conclude, open_run
from xvcore.store import SCHEMAS, Store

DATASET = "partbirds?classes=2&images=4"
CLASSES = [info.class_id for info in open_dataset(DATASET).classes[:2]]
QUICK, SLOW = 12, 200
"""Steps of a mask: a class takes about two seconds, or five."""
OF_TIME = {
    "device",
    "seconds",
    "seconds_by_stage",
    "finished_at",
    "created_at",
    "attempt",
    "images_per_second",
    "gpu_bytes",
}


def request(store: Path | str, steps: int = SLOW) -> dict[str, Any]:
    """Return the request of a flow: two classes of four images, an image a batch."""
    return {
        "dataset": DATASET,
        "models": ["partbirds_narrow@random?classes=3"],
        "classes": CLASSES,
        "store": str(store),
        "class_map": {class_id: str(index) for index, class_id in enumerate(CLASSES)},
        "batch_size": 1,
        "settings": {
            "skip_misclassified": False,
            "least_drop": None,
            "mask": {
                "smooth_steps": steps,
                "crisp_steps": 4,
                # A random network gives no reason to remove anything: without a price of area the first disc stays.
                "smooth_area_weight": 0,
                "crisp_area_weight": 0,
                "crisp_variation_weight": 0,
            },
            "proposals": {"n_boxes": 60},
            "pruning": {"coverage": 0.3},
        },
    }


def spec(store: Path | str, steps: int = QUICK) -> RunSpec:
    """Return the same for the library."""
    (found,) = COMMAND.request(**request(store, steps)).specs()
    return found


def summarise(
    store: Path | str,
    steps: int = QUICK,
    progress: Callable[[str, str], None] | None = None,
    batch_size: int = 1,
) -> None:
    """Do what the flow does, in this process; ``progress`` is called with class and verb whenever a batch is done."""
    run = open_run(dataclasses.replace(spec(store, steps), batch_size=batch_size))
    announce(run, CLASSES)
    for class_id in CLASSES:
        pipeline.complete_class(
            run, class_id, progress and (lambda verb, *_, class_id=class_id: progress(class_id, verb))
        )
    conclude(run)


def results(store: Store) -> dict[str, pd.DataFrame]:
    """Return every table of a store as a reader sees it, without the columns that tell where and how long."""
    found = {}
    for name in SCHEMAS:
        rows = table(store, name)
        rows = rows.drop(columns=OF_TIME.intersection(rows.columns))
        found[name] = rows.sort_values([each for each in SCHEMAS[name].grain if each in rows], ignore_index=True)
    return found


def assert_same_results(store: Store, undisturbed: Store) -> None:
    """Compare all that readers see; a row that is there twice, or is missing, is a difference too."""
    one, other = results(store), results(undisturbed)
    assert len(one["class_runs"]) == len(CLASSES)
    assert one["runs"]["status"].tolist() == ["complete"]
    assert one["runs"]["published"].tolist() == [True]
    for name, rows in one.items():
        pd.testing.assert_frame_equal(rows, other[name], obj=name)
    for name in ("predictions", "masks", "regions", "clusters"):
        assert len(one[name]) > 0


def finished(folder: Path, class_id: str = CLASSES[0]) -> dict[Path, bytes]:
    """Return the files of a finished class, all but its entry in the caches of the dataset."""
    return {path: path.read_bytes() for path in folder.glob(f"parts/*/*/{class_id}.parquet")}


def assert_whole(folder: Path) -> None:
    """Read every file of a store on a disk: a torn one would raise."""
    paths = list(folder.rglob("*.parquet"))
    assert paths
    for path in paths:
        pd.read_parquet(path)


def told(fault: str, seconds: float, seen: str, after: str) -> None:
    """Print a row of the table of faults."""
    print(f"\n| {fault} | {seconds:.1f} s | {seen} | {after} |")
