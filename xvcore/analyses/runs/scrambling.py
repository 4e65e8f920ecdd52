"""Scrambling: what is left of the accuracy when the parts of the images are shuffled."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import pandas as pd

from xvcore.analyses.analysis import Analysis, Figure, Results, analyses, image_by_image
from xvcore.analyses.questions.scores import Sample
from xvcore.analyses.questions.scrambling import Scrambling, scrambling_accuracy, scrambling_figure
from xvcore.runs.run import Run
from xvcore.runs.settings import ClassSettings

KS = (1, 5)


@dataclass(frozen=True)
class ScramblingOfClasses(Scrambling, ClassSettings):
    """Accuracy on images whose blocks are shuffled, by the size of the blocks (Brendel & Bethge 2019)."""

    method: ClassVar[str] = "scrambling"
    version: ClassVar[int] = 2


def rows(run: Run[ScramblingOfClasses], sample: Sample, _class_id: str) -> pd.DataFrame:
    """Return the predictions of some images in every condition."""
    return run.settings([run.classifier], sample, batch_size=run.spec.batch_size)


def figures(results: Results) -> Iterator[Figure]:
    """Draw top-1 and top-5 accuracy by the size of the blocks, a curve for each network."""
    accuracy = scrambling_accuracy(results.read("scrambling", ["model", "condition", "rank_target"]), KS)
    for k in KS:
        yield Figure(f"top{k}", f"Top-{k} accuracy on shuffled images", partial(scrambling_figure, accuracy, k))


analyses.register("scrambling")(Analysis(ScramblingOfClasses, (image_by_image("scrambling", rows),), figures))
