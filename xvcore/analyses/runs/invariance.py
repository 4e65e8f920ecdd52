"""Invariance: how features and decision follow when images are shifted, enlarged and turned."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from xvcore.analyses.analysis import Analysis, Figure, Results, analyses, image_by_image
from xvcore.analyses.questions.invariance import Invariance, invariance_curves, invariance_figure
from xvcore.analyses.questions.scores import Sample
from xvcore.report.findings import Finding, mean
from xvcore.report.wording import plural
from xvcore.runs.run import Run
from xvcore.runs.settings import ClassSettings

COLUMNS = ["model", "layer", "transformation", "amount", "distance", "distance_relative", "prob_target"]
VALUES: dict[Literal["distance_relative", "prob_target"], str] = {
    "distance_relative": "Distance of the features",
    "prob_target": "Probability of the target",
}

STEPS = {"translation": "Shifted by {:g} px", "scale": "Enlarged {:g} times", "rotation": "Turned by {:g}°"}
IDENTITY = {"translation": 0.0, "scale": 1.0, "rotation": 0.0}
"""The amount of each transformation that changes nothing."""


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


def findings(results: Results) -> Iterator[Finding]:
    """Say of each network and transformation what the furthest step takes from the probability of the class."""
    columns = ["model", "class_id", "image_id", "transformation", "amount", "prob_target"]
    table = results.read("invariance", columns).drop_duplicates(columns[:-1])
    for (model, kind), rows in table.groupby(["model", "transformation"], sort=False):
        wide = rows.pivot(index=["class_id", "image_id"], columns="amount", values="prob_target")
        away = np.abs(wide.columns.to_numpy(float) - IDENTITY[str(kind)])
        near, far = (float(wide.columns[int(place)]) for place in (away.argmin(), away.argmax()))
        if near == far:
            continue
        change = mean((wide[near] - wide[far]).to_numpy())
        told = Finding.of(model, f"probability lost by {kind} of {far:g}", change, 0.0)
        step = STEPS[str(kind)].format(far)
        lost = f"an image loses {change.words} of the class's probability in {model}"
        seen = "" if told.holds else ", which is not told from nothing"
        yield told.saying(f"{step}, {lost}{seen} ({plural(change.n, 'image')}).")


analyses.register("invariance")(
    Analysis(InvarianceOfClasses, (image_by_image("invariance", rows),), figures, findings=findings)
)
