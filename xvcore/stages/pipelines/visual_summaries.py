"""Visual summaries: the stages from images to accepted summaries (Godi, Carletti et al., BMVC 2018)."""

import pandas as pd

from xvcore.stages.mask import mask
from xvcore.stages.match import match
from xvcore.stages.parts import locate_parts
from xvcore.stages.pipeline import Pipeline, Stage, pipelines
from xvcore.stages.predict import predict
from xvcore.stages.propose import propose
from xvcore.stages.run import Run
from xvcore.stages.settings import VisualSummaries
from xvcore.stages.summarise import summarise, trim


def count(run: Run[VisualSummaries], class_id: str) -> dict[str, int]:
    """Return how many masks, regions, clusters and accepted summaries a class has."""

    def read(table: str, column: str) -> pd.Series:
        return run.store.read(table, run.run_id, class_id, columns=[column])[column]

    accepted = read("clusters", "accepted").astype(bool)
    return {
        "n_masks": int((read("masks", "kind") == "sharp").sum()),
        "n_regions": len(read("regions", "region_id")),
        "n_clusters": len(accepted),
        "n_summaries": int(accepted.sum()),
    }


pipelines.register(VisualSummaries.method)(
    Pipeline(
        stages=(
            Stage("predict", "predictions", predict),
            Stage("mask", "masks", mask),
            Stage("propose", None, propose),
            Stage("match", "candidates", match),
            Stage("summarise", "clusters", summarise),
            Stage("trim", None, trim),
            Stage("locate_parts", "summary_parts", locate_parts),
        ),
        count=count,
    )
)
