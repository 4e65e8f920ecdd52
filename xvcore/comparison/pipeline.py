"""A comparison: the stages from visual summaries to verdicts, and what all classes tell together."""

from collections.abc import Iterator

import pandas as pd

from xvcore.comparison.method.verdict import MISSED, SHARED, VERDICTS
from xvcore.comparison.runs.class_parts import forget
from xvcore.comparison.runs.delete import delete
from xvcore.comparison.runs.join import join
from xvcore.comparison.runs.judge import judge
from xvcore.comparison.runs.liken import liken
from xvcore.comparison.runs.match import match
from xvcore.comparison.runs.networks import check_summaries, summary_runs
from xvcore.comparison.settings import Comparison
from xvcore.runs.run import Progress, Run
from xvcore.runs.stage import Counts, Pipeline, Stage, pipelines
from xvcore.runs.thumbnails import Thumbnail, bars


def check(run: Run[Comparison], class_id: str, _progress: Progress | None = None) -> int:
    """Refuse a class whose visual summaries are not complete in every network, and return the number of networks."""
    forget()
    runs = summary_runs(run)
    check_summaries(runs, [class_id])
    return len(runs)


def count(run: Run[Comparison], class_id: str) -> Counts:
    """Count the images of the network that has most, and the verdicts."""
    verdicts = run.store.read("part_verdicts", run.run_id, class_id, columns=["verdict"])["verdict"]
    images = run.store.read("comparison_classes", run.run_id, class_id, columns=["n_images", "n_looked"]).max()
    columns = {
        "n_images": int(images["n_images"]),
        "n_parts_compared": len(verdicts),
        "n_parts_shared": int((verdicts == SHARED).sum()),
        "n_parts_missed": int(verdicts.isin(MISSED).sum()),
    }
    return Counts(int(images["n_images"]), int(images["n_looked"]), columns)


def shares(run: Run[Comparison], done: pd.DataFrame) -> Iterator[Thumbnail]:
    """Yield for each verdict which share of a network's parts, over all classes, gets it with regard to another."""
    columns = ["model", "other", "verdict"]
    found = [run.store.read("part_verdicts", run.run_id, class_id, columns) for class_id in sorted(done["class_id"])]
    rows = pd.concat(found) if found else pd.DataFrame(columns=columns)
    for verdict in VERDICTS:
        told = (rows["verdict"] == verdict).groupby(rows["model"] + " → " + rows["other"]).mean()
        if told.any():
            names = {str(pair): float(share) for pair, share in told.items()}
            yield Thumbnail(f"{verdict}: share of a network's parts, with regard to another network", bars(names))


pipelines.register(Comparison.method)(
    Pipeline(
        settings=Comparison,
        order=50,
        stages=(
            Stage("check", None, check),
            Stage("match", "part_matches", match),
            Stage("delete", "cross_deletions", delete, also=("part_deletions",)),
            Stage("liken", "network_likeness", liken),
            Stage("judge", "comparison_classes", judge, also=("part_verdicts", "shown_parts", "part_coverage")),
        ),
        count=count,
        gather=join,
        gathers_by="class",
        pictures=shares,
    )
)
