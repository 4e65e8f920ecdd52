"""Invariance: how features and decision follow when images are shifted, enlarged and turned."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import pandas as pd

from xvcore.analyses.analysis import Analysis, Figure, Results, analyses, image_by_image
from xvcore.analyses.questions.invariance import Invariance, invariance_curves, invariance_figure
from xvcore.analyses.questions.scores import Sample
from xvcore.runs.run import Run
from xvcore.runs.settings import ClassSettings

COLUMNS = ["model", "layer", "transformation", "amount", "distance", "distance_relative", "prob_target"]
VALUES: dict[Literal["distance_relative", "prob_target"], str] = {
    "distance_relative": "Distance of the features",
    "prob_target": "Probability of the target",
}


@dataclass(frozen=True)
class InvarianceOfClasses(Invariance, ClassSettings):
    """Features and decisions of images that are shifted, enlarged and turned step by step (Zeiler & Fergus 2014)."""

    method: ClassVar[str] = "invariance"
    version: ClassVar[int] = 1


def rows(run: Run[InvarianceOfClasses], sample: Sample, _class_id: str) -> pd.DataFrame:
    """Return distances and probabilities of some images under every transformation."""
    targets = sample.targets_of(run.classifier, batch_size=run.spec.batch_size).to(sample.images.device)
    return run.settings(run.classifier, sample.images, targets, sample.image_ids, batch_size=run.spec.batch_size)


def figures(results: Results) -> Iterator[Figure]:
    """Draw distance and probability, means over the images, a chart for each transformation."""
    tables = (part for run in results.runs for _, part in results.by_class(run, "invariance", COLUMNS))
    curves = invariance_curves(tables)
    for transformation in dict.fromkeys(curves["transformation"]):
        for value, title in VALUES.items():
            draw = partial(invariance_figure, curves, transformation, value)
            yield Figure(f"{transformation} {value}", f"{title} under {transformation}", draw)


analyses.register("invariance")(Analysis(InvarianceOfClasses, (image_by_image("invariance", rows),), figures))
