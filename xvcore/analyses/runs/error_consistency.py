"""Error consistency: whether two networks fail on the same classes and on the same images."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import ClassVar

import pandas as pd

from xvcore.analyses.analysis import Analysis, Figure, Results, analyses
from xvcore.analyses.questions.error_consistency import ErrorConsistency, class_figure, class_title
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


analyses.register("error_consistency")(Analysis(ErrorConsistencyOfClasses, (), figures, join, least_networks=2))
