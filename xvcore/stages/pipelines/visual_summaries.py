"""Visual summaries: the stages from images to accepted summaries (Godi, Carletti et al., BMVC 2018)."""

import pandas as pd

from xvcore.stages.mask import mask
from xvcore.stages.match import match
from xvcore.stages.parts import locate_parts
from xvcore.stages.pipeline import Counts, Pipeline, Stage, pipelines, predicted
from xvcore.stages.predict import predict
from xvcore.stages.propose import propose
from xvcore.stages.run import Run
from xvcore.stages.settings import VisualSummaries
from xvcore.stages.summarise import summarise, trim


def count(run: Run[VisualSummaries], class_id: str) -> Counts:
    """Count the masks, regions, clusters and accepted summaries of a class."""

    def read(table: str, column: str) -> pd.Series:
        return run.store.read(table, run.run_id, class_id, columns=[column])[column]

    accepted = read("clusters", "accepted").astype(bool)
    return predicted(
        run,
        class_id,
        n_masks=int((read("masks", "kind") == "sharp").sum()),
        n_regions=len(read("regions", "region_id")),
        n_clusters=len(accepted),
        n_summaries=int(accepted.sum()),
    )


pipelines.register(VisualSummaries.method)(
    Pipeline(
        stages=(
            Stage("predict", "predictions", predict),
            Stage("mask", "masks", mask),
            Stage("propose", None, propose),
            Stage("match", "candidates", match, growth="image pairs"),
            Stage("summarise", "clusters", summarise, growth="regions"),
            Stage("trim", None, trim, growth="region pairs"),
            Stage("locate_parts", "summary_parts", locate_parts),
        ),
        count=count,
    )
)
