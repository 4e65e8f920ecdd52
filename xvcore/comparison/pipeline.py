"""A comparison: the stages from visual summaries to verdicts, and what all classes tell together."""

from xvcore.comparison.method.verdict import CANNOT, COULD, SHARED
from xvcore.comparison.runs.class_parts import class_parts
from xvcore.comparison.runs.delete import delete
from xvcore.comparison.runs.join import join
from xvcore.comparison.runs.judge import judge
from xvcore.comparison.runs.liken import liken
from xvcore.comparison.runs.match import match
from xvcore.comparison.runs.networks import check_summaries, summary_runs
from xvcore.comparison.settings import Comparison
from xvcore.runs.run import Progress, Run
from xvcore.runs.stage import Counts, Pipeline, Stage, pipelines


def check(run: Run[Comparison], class_id: str, _progress: Progress | None = None) -> int:
    """Refuse a class whose visual summaries are not complete in every network, and return the number of networks."""
    runs = summary_runs(run)
    check_summaries(runs, [class_id])
    return len(runs)


def count(run: Run[Comparison], class_id: str) -> Counts:
    """Count the images that any network was looked at in, and the verdicts."""
    verdicts = run.store.read("part_verdicts", run.run_id, class_id, columns=["verdict"])["verdict"]
    n_images = len(class_parts(run, class_id).image_ids)
    columns = {
        "n_images": n_images,
        "n_compared": len(verdicts),
        "n_shared": int((verdicts == SHARED).sum()),
        "n_missed": int(verdicts.isin([COULD, CANNOT]).sum()),
    }
    return Counts(n_images, n_images, columns)


pipelines.register(Comparison.method)(
    Pipeline(
        settings=Comparison,
        order=50,
        stages=(
            Stage("check", None, check),
            Stage("match", "part_matches", match),
            Stage("delete", "cross_deletions", delete, also=("part_deletions",)),
            Stage("liken", "network_likeness", liken),
            Stage("judge", "comparison_classes", judge, also=("part_verdicts",)),
        ),
        count=count,
        gather=join,
        gathers_by="class",
    )
)
