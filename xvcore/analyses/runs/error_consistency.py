"""Error consistency: whether two networks fail on the same classes and on the same images."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import ClassVar

import pandas as pd

from xvcore.analyses.analysis import Analysis, Figure, Results, analyses
from xvcore.analyses.questions.error_consistency import ErrorConsistency, class_figure, class_title
from xvcore.report.findings import CRITICAL, Estimate, Finding
from xvcore.report.wording import plural
from xvcore.runs.images import records
from xvcore.runs.settings import ClassSettings

COLUMNS = ["model", "class_id", "image_id", "rank_target"]


@dataclass(frozen=True)
class ErrorConsistencyOfClasses(ErrorConsistency, ClassSettings):
    """Whether networks fail on the same classes and images: correlation and Cohen's kappa (Brendel & Bethge 2019)."""

    method: ClassVar[str] = "error_consistency"
    version: ClassVar[int] = 2


def join(results: Results) -> Mapping[str, pd.DataFrame]:
    """Return a row for each pair of networks."""
    return {"error_consistency": results.settings(results.read("predictions", COLUMNS))}


def figures(results: Results) -> Iterator[Figure]:
    """Draw the accuracy by class of each pair of networks against each other."""
    k = results.settings.k
    names = {info.class_id: info.class_name for info in results.runs[0].dataset.classes}
    accuracy = results.settings.class_accuracy(results.read("predictions", COLUMNS)).rename(index=names)
    for a, b in combinations(sorted(results.models), 2):
        yield Figure(f"{a} {b}", f"{class_title(k)}: {a} and {b}", partial(class_figure, accuracy, a, b, k))


def findings(results: Results) -> Iterator[Finding]:
    """Say of each two networks whether they fail on the same images; intervals of large samples, within κ's range."""
    for row in records(results.made["error_consistency"]):
        kappa, n = row["kappa"], row["n_images"]
        if kappa is None or not n or row["expected"] >= 1:
            continue
        half = CRITICAL * math.sqrt(row["observed"] * (1 - row["observed"]) / n) / (1 - row["expected"])
        low, high = (max(kappa - half, -1.0), min(kappa + half, 1.0)) if half else (None, None)
        found = Estimate(kappa, low, high, n)
        a, b = row["model_a"], row["model_b"]
        told = Finding.of(f"{a} + {b}", "Cohen's kappa of their errors", found, 0.0)
        how = ("more" if kappa > 0 else "less") + " often than by chance"
        same = f"fail on the same images {how}" if told.holds else "are not seen to fail on the same images"
        yield told.saying(f"{a} and {b} {same}: κ = {found.words}, {plural(n, 'image')}.")


analyses.register("error_consistency")(
    Analysis(ErrorConsistencyOfClasses, (), figures, join, ("error_consistency",), findings, least_networks=2)
)
