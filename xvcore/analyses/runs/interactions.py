"""Interactions: whether the sum of the drops of single regions is the drop of all of them together."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from xvcore.analyses.analysis import Analysis, Figure, Results, analyses, image_by_image
from xvcore.analyses.questions.interactions import (
    InteractionCurve,
    InteractionTest,
    departure_figure,
    interaction_figure,
)
from xvcore.analyses.questions.scores import Sample
from xvcore.parameters import parameter
from xvcore.report.findings import Estimate, Finding
from xvcore.report.wording import percent, plural
from xvcore.runs.run import Run
from xvcore.runs.settings import ClassSettings


@dataclass(frozen=True)
class InteractionsOfClasses(InteractionTest, ClassSettings):
    """Do image parts interact? Single regions removed against all together, by distance (Brendel & Bethge 2019)."""

    method: ClassVar[str] = "interactions"
    version: ClassVar[int] = 1

    curve: InteractionCurve = parameter(InteractionCurve(), "Summing up by distance")


def rows(run: Run[InteractionsOfClasses], sample: Sample, _class_id: str) -> pd.DataFrame:
    """Return the blocks of some images."""
    return run.settings([run.classifier], sample, batch_size=run.spec.batch_size)


def figures(results: Results) -> Iterator[Figure]:
    """Draw correlation and departure from additivity by distance, a curve for each network."""
    table = results.read("interactions", ["model", "image_id", "gap_px", "sum_of_drops", "joint_drop"])

    def curves() -> Any:
        return results.settings.curve(table)

    yield Figure("correlation", "Interaction of image parts by distance", lambda: interaction_figure(curves()))
    yield Figure("departure", "Departure of the summed drops from the joint drop", lambda: departure_figure(curves()))


def findings(results: Results) -> Iterator[Finding]:
    """Say of each network whether parts side by side, and parts far apart, interact: a correlation of 1 is none."""
    table = results.read("interactions", ["model", "image_id", "gap_px", "sum_of_drops", "joint_drop"])
    curves = results.settings.curve(table)
    for model, rows in curves.groupby("model", sort=False):
        for row in (rows.iloc[0], rows.iloc[-1])[: len(rows)]:
            if not np.isfinite(row["low"]):
                continue
            value, low, high = (float(row[name]) for name in ("correlation", "low", "high"))
            found = Estimate(value, low, high, int(row["n_images"]))
            where = "side by side" if row["gap_px"] == 0 else f"{row['gap_px']:.0f} px apart"
            sentence = (
                f"Parts {where}: what they cost {model} one by one and what they cost together correlate by "
                f"{found.words}, where 1 is no interaction; the sums are off by {percent(float(row['departure']))} "
                f"({plural(found.n, 'image')})."
            )
            yield Finding.of(model, "correlation of summed and joint drop", found, 1.0).saying(sentence)


analyses.register("interactions")(
    Analysis(InteractionsOfClasses, (image_by_image("interactions", rows),), figures, findings=findings)
)
