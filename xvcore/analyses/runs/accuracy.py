"""How often a network is right, by class and in all, and how fast it is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import pandas as pd

from xvcore.analyses.analysis import Analysis, Figure, Results, analyses
from xvcore.analyses.questions.accuracy import Throughput, TopAccuracy
from xvcore.analyses.questions.figures import Frame, Series, scatter_chart
from xvcore.parameters import parameter
from xvcore.runs.settings import ClassSettings


@dataclass(frozen=True)
class AccuracyOfClasses(TopAccuracy, ClassSettings):
    """Top-k accuracy in all and of every class, and images per second on this machine (Brendel & Bethge 2019)."""

    method: ClassVar[str] = "accuracy"
    version: ClassVar[int] = 2

    throughput: Throughput = parameter(Throughput(), "The speed test")


def join(results: Results) -> Mapping[str, pd.DataFrame]:
    """Return accuracy and speed of one network; several take over what was found for each alone."""
    if len(results.runs) > 1:
        return {}
    (run,) = results.runs
    settings: AccuracyOfClasses = results.settings
    predictions = results.read("predictions", ["model", "class_id", "rank_target"])
    speed = settings.throughput([run.classifier])
    return {
        "accuracy": _by_k(settings, predictions, ["model"]).merge(speed, on="model"),
        "class_accuracy": _by_k(settings, predictions, ["model", "class_id"]),
    }


def figures(results: Results) -> Iterator[Figure]:
    """Draw the accuracy over all classes by the speed, a point for each network and k."""
    yield Figure("speed", "Accuracy and speed", partial(_chart, results))


def _chart(results: Results) -> str:
    series = []
    for k, rows in results.joined("accuracy").groupby("k"):
        share, error = 100 * rows[["accuracy", "accuracy_error"]].to_numpy(float).T
        speed, names = rows["images_per_second"].to_numpy(float), [str(name) for name in rows["model"]]
        series.append(Series(f"top-{k}", speed, share, share - error, share + error, labels=names))
    frame = Frame("Accuracy and speed", "Images per second, on this machine", "Accuracy (%)", y_range=(-3, 103))
    return scatter_chart(series, frame)


def _by_k(settings: AccuracyOfClasses, predictions: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return a row per group and k."""
    wide = settings(predictions, by=by)
    counts = wide[[*by, "n_images", "n_errors"]]
    parts = [counts.assign(k=k, accuracy=wide[f"top{k}"], accuracy_error=wide[f"top{k}_error"]) for k in settings.ks]
    return pd.concat(parts, ignore_index=True)


analyses.register("accuracy")(Analysis(AccuracyOfClasses, (), figures, join))
