"""Correspondence: whether features change alike when the same part is hidden in several images of a class."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import pandas as pd

from xvcore.analyses.analysis import Analysis, Figure, Results, analyses
from xvcore.analyses.questions.correspondence import RANDOM, Correspondence
from xvcore.analyses.questions.figures import Frame, Series, line_chart
from xvcore.comparison.method.resampling import holm
from xvcore.errors import XvError
from xvcore.report.findings import LEVEL, Finding
from xvcore.report.wording import plural
from xvcore.runs.images import passed_images, pictures, records
from xvcore.runs.parts import parts_in_input
from xvcore.runs.run import Progress, Run
from xvcore.runs.settings import ImageSettings
from xvcore.runs.stage import Stage

COLUMNS = ["model", "class_id", "part", "layer", "reading", "delta"]
SHOWN = {
    "mismatch_mean": "share of the signs that differ",
    "flip_share": "share of opposite signs, without zeros",
}


@dataclass(frozen=True)
class CorrespondenceOfClasses(Correspondence, ImageSettings):
    """How alike features change when the same part is hidden, for annotated parts (Zeiler & Fergus 2014)."""

    method: ClassVar[str] = "correspondence"
    version: ClassVar[int] = 1


def correspond(run: Run[CorrespondenceOfClasses], class_id: str, _progress: Progress | None = None) -> int:
    """Write what hiding each part of a class does; return the images that were looked at."""
    parts = parts_in_input(run, class_id)
    if parts.empty:
        raise XvError(f"no parts of class {class_id} are annotated in {run.dataset.name}: expected e.g. cub, partbirds")
    seen = set(parts.loc[parts["visible"].astype(bool), "image_id"])
    image_ids = [image_id for image_id in passed_images(run, class_id) if image_id in seen]
    images = pictures(run, class_id, image_ids).to(run.classifier.device)
    frame = run.settings(run.classifier, images, image_ids, parts, batch_size=run.spec.batch_size)
    rows = [{**run.keys(class_id), **row} for row in records(frame.rename(columns={"std": "spread"}))]
    run.store.write("correspondence", run.run_id, class_id, rows)
    return len(image_ids)


def figures(results: Results) -> Iterator[Figure]:
    """Draw two readings of the formula by part, means over the classes, a curve for each network and layer."""
    table = results.read("correspondence", COLUMNS)
    for reading, what in SHOWN.items():
        yield Figure(reading, f"Correspondence: {what}", partial(_chart, table[table["reading"] == reading], what))


def findings(results: Results) -> Iterator[Finding]:
    """Say of each network and layer which parts are treated alike in several images, more than random regions are."""
    table = results.read("correspondence", [*COLUMNS, "p_value", "n_pairs"])
    table = table[(table["reading"] == next(iter(SHOWN))) & table["p_value"].notna()]
    for (model, layer), rows in table.groupby(["model", "layer"], sort=False):
        adjusted = holm(rows["p_value"].to_numpy(float))
        alike = rows[adjusted <= 1 - LEVEL]
        parts = Counter(alike["part"].astype(str)).most_common()
        told = ", ".join(f"{part} ({plural(number, 'class', 'classes')})" for part, number in parts)
        how = f"changes alike when these are hidden: {told}" if parts else "is not seen to change alike for any part"
        sentence = (
            f"{layer} of {model} {how} ({plural(len(rows), 'test')} against random regions, held for all together)."
        )
        p, measure = float(adjusted.min()), "share of parts treated alike"
        yield Finding(str(model), sentence, measure, len(alike) / len(rows), null=0.0, p_value=p, n=len(rows))


def _chart(table: pd.DataFrame, what: str) -> str:
    parts = sorted(dict.fromkeys(table["part"]), key=lambda part: part == RANDOM)
    series = []
    for (model, layer), rows in table.groupby(["model", "layer"], sort=False):
        groups = rows.groupby("part")["delta"]
        mean, error = groups.mean().reindex(parts).to_numpy(float), groups.sem().reindex(parts).to_numpy(float)
        places: Any = pd.RangeIndex(len(parts)).to_numpy()
        series.append(Series(f"{model} {layer}", places, mean, mean - error, mean + error))
    frame = Frame(f"Correspondence: {what}", "Part that is hidden", "Δ, less is more alike", x_names=parts)
    return line_chart(series, frame)


analyses.register("correspondence")(
    Analysis(CorrespondenceOfClasses, (Stage("analyse", "correspondence", correspond),), figures, findings=findings)
)
