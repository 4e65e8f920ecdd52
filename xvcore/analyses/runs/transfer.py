"""Transfer: how well a linear classifier tells the classes of a dataset by the features of each layer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from xvcore.analyses.analysis import Analysis, Figure, Results, analyses, image_by_image
from xvcore.analyses.questions.figures import Frame, Series, line_chart
from xvcore.analyses.questions.scores import Sample
from xvcore.analyses.questions.transfer import Transfer
from xvcore.report.findings import Finding, mean
from xvcore.report.wording import percent, plural
from xvcore.runs.run import Run
from xvcore.runs.settings import ImageSettings


@dataclass(frozen=True)
class TransferOfClasses(Transfer, ImageSettings):
    """Accuracy of linear classifiers on the frozen features of each layer, any dataset (Zeiler & Fergus 2014)."""

    method: ClassVar[str] = "transfer"
    version: ClassVar[int] = 1


def rows(run: Run[TransferOfClasses], sample: Sample, _class_id: str) -> pd.DataFrame:
    """Return the features of some images, a row per image and layer."""
    found = run.settings.features(run.classifier, sample.images)
    return pd.DataFrame(
        [
            {"image_id": image_id, "layer": layer, "features": values[index].float().cpu().numpy()}
            for layer, values in found.items()
            for index, image_id in enumerate(sample.image_ids)
        ]
    )


def join(results: Results) -> Mapping[str, pd.DataFrame]:
    """Return the accuracies of one network; several take over what was found for each alone."""
    if len(results.runs) > 1:
        return {}
    (run,) = results.runs
    features: dict[str, list[Any]] = {}
    labels: dict[str, list[str]] = {}
    for class_id, table in results.by_class(run, "transfer_features", ["image_id", "layer", "features"]):
        for layer, of_layer in table.groupby("layer", sort=False):
            ordered = of_layer.sort_values("image_id")
            features.setdefault(str(layer), []).append(np.stack(list(ordered["features"])))
            labels.setdefault(str(layer), []).extend([class_id] * len(ordered))
    joined = {layer: np.concatenate(parts) for layer, parts in features.items()}
    found = results.settings(joined, next(iter(labels.values())))
    depth = {layer: index + 1 for index, layer in enumerate(joined)}
    frame = found.rename(columns={"head": "linear_head"}).assign(depth=found["layer"].map(depth))
    return {"transfer": frame.assign(model=run.classifier.name)}


def figures(results: Results) -> Iterator[Figure]:
    """Draw the accuracy by layer, a chart for each number of training images, a curve for each network and head."""
    table = results.joined("transfer")
    for n_train in sorted(set(table["n_train"])):
        title = f"Linear classifiers on frozen features, {n_train} training images a class"
        yield Figure(f"{n_train} images", title, partial(_chart, table[table["n_train"] == n_train], title))


def findings(results: Results) -> Iterator[Finding]:
    """Say of each network from which layer the classes are told best; the interval is over divisions of the images."""
    table = results.joined("transfer")
    table = table[table["n_train"] == table["n_train"].max()]
    for model, rows in table.groupby("model", sort=False):
        best = rows.groupby(["linear_head", "layer"], sort=False)["accuracy"].mean().idxmax()
        of_best = rows[(rows["linear_head"] == best[0]) & (rows["layer"] == best[1])]
        n_classes, n_train = (int(of_best[name].iloc[0]) for name in ("n_classes", "n_train"))
        found, chance = mean(of_best["accuracy"].to_numpy(float)), 1 / n_classes
        sentence = (
            f"{model} tells the {n_classes} classes best by {best[1]}, of {rows['layer'].nunique()} layers: "
            f"{found.percent} right with {plural(n_train, 'training image')} a class ({best[0]}; chance "
            f"{percent(chance)})."
        )
        yield Finding.of(model, "accuracy of the best layer", found, chance).saying(sentence)


def _chart(table: pd.DataFrame, title: str) -> str:
    series = []
    for (model, head), of_head in table.groupby(["model", "linear_head"], sort=False):
        groups = 100 * of_head.set_index(["depth", "layer"])["accuracy"]
        mean = groups.groupby(level=["depth", "layer"]).mean()
        spread = groups.groupby(level=["depth", "layer"]).std().to_numpy(float)
        depths, layers = mean.index.get_level_values(0).to_numpy(), [str(name) for _, name in mean.index]
        y = mean.to_numpy(float)
        series.append(Series(f"{model} {head}", depths, y, y - spread, y + spread, labels=layers))
    return line_chart(series, Frame(title, "Layer, counted from the input", "Mean class accuracy (%)"))


analyses.register("transfer")(
    Analysis(TransferOfClasses, (image_by_image("transfer_features", rows),), figures, join, ("transfer",), findings)
)
