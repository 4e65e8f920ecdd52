"""Scrambling: what is left of the accuracy when the parts of the images are shuffled."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import pandas as pd

from xvcore.analyses.analysis import Analysis, Figure, Results, analyses, image_by_image
from xvcore.analyses.questions.scores import Sample
from xvcore.analyses.questions.scrambling import Scrambling, scrambling_accuracy, scrambling_figure
from xvcore.comparison.method.resampling import holm
from xvcore.ops.mcnemar import mcnemar
from xvcore.report.findings import LEVEL, Finding
from xvcore.report.wording import p_words, percent
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


def findings(results: Results) -> Iterator[Finding]:
    """Say of each network the largest blocks whose shuffling costs it images, or that none does."""
    table = results.read("scrambling", ["model", "class_id", "image_id", "block_px", "correct"])
    for model, rows in table.groupby("model", sort=False):
        right = {
            int(of_block["block_px"].iloc[0]): of_block.set_index(["class_id", "image_id"])["correct"]
            .astype(bool)
            .sort_index()
            for _, of_block in rows.fillna({"block_px": 0}).groupby("block_px")
        }
        whole = right.pop(0)
        tests = {}
        for block in sorted(right, reverse=True):
            lost, won = int((whole & ~right[block]).sum()), int((right[block] & ~whole).sum())
            tests[block] = (lost, won, mcnemar(lost, won), float(right[block].mean()))
        adjusted = dict(zip(tests, holm(np.array([each[2] for each in tests.values()])).tolist(), strict=True))
        costly = [block for block, (lost, won, *_) in tests.items() if adjusted[block] <= 1 - LEVEL and lost > won]
        block = costly[0] if costly else min(tests)
        lost, won, _, left = tests[block]
        cost = "already costs" if costly else "is not seen to cost"
        sentence = (
            f"Shuffling blocks of {block} px {cost} {model} images: it recognises {percent(left)} of {len(whole)}, "
            f"{percent(float(whole.mean()))} whole ({lost} lost, {won} won, {p_words(adjusted[block])})."
        )
        value = (lost - won) / len(whole)
        yield Finding(
            str(model), sentence, "share of images lost", value, null=0.0, p_value=adjusted[block], n=len(whole)
        )


analyses.register("scrambling")(
    Analysis(ScramblingOfClasses, (image_by_image("scrambling", rows),), figures, findings=findings)
)
