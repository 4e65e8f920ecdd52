"""Occlusion: what the strongest feature map and the decision do when a square hides part of the image."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from xvcore.analyses.analysis import Analysis, Figure, MapOver, Results, analyses, image_by_image
from xvcore.analyses.questions.figures import COLOURS
from xvcore.analyses.questions.occlusion import Occlusion
from xvcore.analyses.questions.picture_grid import Cell, coloured, named, picture_grid
from xvcore.analyses.questions.scores import Sample
from xvcore.report.findings import Finding, mean
from xvcore.report.wording import decimal, plural
from xvcore.runs.images import as_bytes, pictures, records
from xvcore.runs.run import Run
from xvcore.runs.settings import ClassSettings
from xvcore.store.encode import map_cell, picture

N_SHOWN = 5
"""Images in a figure, one of a class."""
HEADINGS = ("Image", "Strongest feature map", "Probability of the class", "Most probable class")


@dataclass(frozen=True)
class OcclusionOfClasses(Occlusion, ClassSettings):
    """Strongest feature map and decision while a square slides over the image (Zeiler & Fergus 2014)."""

    method: ClassVar[str] = "occlusion"
    version: ClassVar[int] = 1


def rows(run: Run[OcclusionOfClasses], sample: Sample, _class_id: str) -> pd.DataFrame:
    """Return the three maps of some images and what they come to."""
    targets = sample.targets_of(run.classifier, batch_size=run.spec.batch_size).to(sample.images.device)
    found = run.settings(run.classifier, sample.images, targets, batch_size=run.spec.batch_size)
    frame = found.images(sample.image_ids).assign(
        target_idx=targets.cpu().numpy(),
        map_h=len(found.y),
        map_w=len(found.x),
        first_y=float(found.y[0]),
        first_x=float(found.x[0]),
        step_px=run.settings.stride,
    )
    return frame.assign(
        prob_map=pd.Series([map_cell(each.cpu().numpy()) for each in found.probability]),
        activation_map=pd.Series([each.flatten().cpu().numpy() for each in found.activation]),
        pred_map=pd.Series([each.flatten().cpu().numpy() for each in found.prediction]),
    )


def maps(rows: pd.DataFrame) -> Iterator[MapOver]:
    """Return what hiding each place takes from the probability, and from the strongest feature map."""
    for row in records(rows):
        shape, step = (int(row["map_h"]), int(row["map_w"])), float(row["step_px"])
        left, top = row["first_x"] - step / 2, row["first_y"] - step / 2
        box = (left, top, shape[1] * step, shape[0] * step)
        whole = row["prob_target"]
        lost = whole - np.asarray(row["prob_map"], float).reshape(shape)
        words = f"{decimal(whole)} with the whole image, {decimal(row['prob_min'])} without what counts most"
        yield MapOver(row["image_id"], "Probability lost by hiding the place", lost, box, words)
        activation = row["activation"]
        if activation > 0:
            lost = 1 - np.asarray(row["activation_map"], float).reshape(shape) / activation
            words = f"{row['layer']}, unit {row['unit']}"
            yield MapOver(row["image_id"], "Share of the strongest feature map lost", lost, box, words)


def figures(results: Results) -> Iterator[Figure]:
    """Draw the maps of the first image of some classes, a figure for each network."""
    for run in results.runs:
        title = f"Occlusion: {run.classifier.name}"
        yield Figure(run.classifier.name, title, partial(_examples, results, run, title))


def findings(results: Results) -> Iterator[Finding]:
    """Say how often the square changes the decision, and whether the feature map and the class go together."""
    columns = ["model", "changed_share", "agreement", "prob_target", "prob_min"]
    for model, rows in results.read("occlusion", columns).groupby("model", sort=False):
        images = plural(len(rows), "image")
        drop = mean(rows["prob_target"] - rows["prob_min"])
        sentence = f"Where it matters most, the square takes {drop.words} of probability from {model} ({images})."
        yield Finding.of(model, "largest drop of the probability by one square", drop).saying(sentence)
        changed = mean(rows["changed_share"])
        sentence = f"The square changes {model}'s decision at {changed.percent} of its places ({images})."
        yield Finding.of(model, "share of places that change the decision", changed).saying(sentence)
        together = mean(rows["agreement"])
        if together.n:
            told = Finding.of(model, "correlation of feature map and probability", together, 0.0)
            how = "go together" if told.holds and together.value > 0 else "are not seen to go together"
            said = f"The strongest feature map and the class {how} in {model}: correlation {together.words}."
            yield told.saying(said)


def _examples(results: Results, run: Run[Any], title: str) -> str:
    names = {index: output.name for index, output in enumerate(run.classifier.outputs or ())}
    lines = []
    chosen = [results.class_ids[index] for index in _spread(len(results.class_ids), N_SHOWN)]
    for class_id in chosen:
        row = records(run.store.read("occlusion", run.run_id, class_id).iloc[:1])[0]
        image = as_bytes(pictures(run, class_id, [row["image_id"]]))[0]
        shape = (int(row["map_h"]), int(row["map_w"]))
        activation, probability = (
            np.array(row[f"{name}_map"], float).reshape(shape) for name in ("activation", "prob")
        )
        prediction = np.array(row["pred_map"]).reshape(shape)
        order = [kind for kind, _ in Counter(prediction.flatten().tolist()).most_common()]
        kinds = [f"{(prediction == kind).mean():.0%} {names.get(kind, kind)}" for kind in order[:2]]
        lines.append(
            [
                Cell(
                    picture(image)["bytes"],
                    (run.class_info(class_id).class_name, str(row["image_id"]).rsplit("/", 1)[-1]),
                ),
                Cell(
                    picture(coloured(activation), "png")["bytes"],
                    (f"{activation.min():.3g} … {activation.max():.3g}", f"{row['layer']}, unit {row['unit']}"),
                    is_map=True,
                ),
                Cell(
                    picture(coloured(probability, 0, 1), "png")["bytes"],
                    (f"{probability.min():.2f} … {probability.max():.2f}", f"whole image {row['prob_target']:.2f}"),
                    is_map=True,
                ),
                Cell(
                    picture(named(prediction, order), "png")["bytes"],
                    tuple(kinds),
                    is_map=True,
                    keys=COLOURS[: len(kinds)],
                ),
            ]
        )
    return picture_grid(title, HEADINGS, lines)


def _spread(n: int, most: int) -> list[int]:
    """Return at most ``most`` of the numbers below n, evenly spread."""
    return sorted({round(each) for each in np.linspace(0, n - 1, min(n, most))})


analyses.register("occlusion")(
    Analysis(OcclusionOfClasses, (image_by_image("occlusion", rows),), figures, findings=findings, maps=maps)
)
