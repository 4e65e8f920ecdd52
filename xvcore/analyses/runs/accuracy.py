"""How often a network is right, by class and in all, and how fast it is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import ClassVar

import pandas as pd

from xvcore.analyses.analysis import Analysis, Figure, Results, analyses
from xvcore.analyses.questions.accuracy import Throughput, TopAccuracy
from xvcore.analyses.questions.figures import Frame, Series, scatter_chart
from xvcore.ops.mcnemar import mcnemar
from xvcore.parameters import parameter
from xvcore.report.findings import Finding, share
from xvcore.report.wording import p_words, plural
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


def findings(results: Results) -> Iterator[Finding]:
    """Say how many images each network recognises, and of each two which recognises more."""
    right = results.read("predictions", ["model", "class_id", "image_id", "rank_target"])
    right = right.dropna(subset=["rank_target"]).assign(right=lambda frame: frame["rank_target"] == 1)
    for model, rows in right.groupby("model", sort=False):
        found = share(int(rows["right"].sum()), len(rows))
        sentence = f"{model} recognises {found.percent} of {plural(len(rows), 'image')}."
        yield Finding.of(model, "share of images recognised", found).saying(sentence)
    wide = right.pivot_table(index=["class_id", "image_id"], columns="model", values="right", aggfunc="first").dropna()
    for a, b in combinations(results.models if len(results.runs) > 1 else (), 2):
        first, second = wide[a].astype(bool), wide[b].astype(bool)
        if first.sum() < second.sum():
            a, b, first, second = b, a, second, first  # noqa: PLW2901
        n_first, n_second = int((first & ~second).sum()), int((second & ~first).sum())
        p = mcnemar(n_first, n_second)
        yield Finding(
            f"{a} + {b}",
            f"{a} alone recognises {plural(n_first, 'image')}, {b} alone {n_second} ({p_words(p)}).",
            "share of all images by which the first recognises more",
            (n_first - n_second) / max(len(wide), 1),
            null=0.0,
            p_value=p,
            n=len(wide),
        )


def _chart(results: Results) -> str:
    series = []
    for k, rows in results.joined("accuracy").groupby("k"):
        share, error = 100 * rows[["accuracy", "accuracy_error"]].to_numpy(float).T
        speed, names = rows["images_per_second"].to_numpy(float), [str(name) for name in rows["model"]]
        series.append(Series(f"top-{k}", speed, share, share - error, share + error, labels=names, is_named=True))
    frame = Frame("Accuracy and speed", "Images per second, on this machine", "Accuracy (%)", y_range=(-3, 103))
    return scatter_chart(series, frame)


def _by_k(settings: AccuracyOfClasses, predictions: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return a row per group and k."""
    wide = settings(predictions, by=by)
    counts = wide[[*by, "n_images", "n_errors"]]
    parts = [counts.assign(k=k, accuracy=wide[f"top{k}"], accuracy_error=wide[f"top{k}_error"]) for k in settings.ks]
    return pd.concat(parts, ignore_index=True)


analyses.register("accuracy")(Analysis(AccuracyOfClasses, (), figures, join, ("accuracy", "class_accuracy"), findings))
