"""Evolution: how units change over the checkpoints of a training.

The checkpoints are the networks of the request in the order of the training, each under a name of its own, e.g.
``--model "zfnet@e1.pt?name=e1" --model "zfnet@e2.pt?name=e2"``. Each is a run of its own, so that one more checkpoint
costs one more pass.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from xvcore.analyses.analysis import Analysis, Figure, Results, analyses, image_by_image
from xvcore.analyses.questions.evolution import Evolution, Highest, movement
from xvcore.analyses.questions.figures import COLOURS, Frame, Series, line_chart
from xvcore.analyses.questions.scores import Sample
from xvcore.errors import XvError
from xvcore.report.findings import Finding
from xvcore.runs.images import records
from xvcore.runs.run import Run
from xvcore.runs.settings import ImageSettings

NEAR = 0.1
"""Distance, one minus the correlation over the images, at which a unit counts as near its final state."""
Shown = Literal["distance_final", "jumped_share"]
TITLES: dict[Shown, str] = {
    "distance_final": "Distance of the units to their final state",
    "jumped_share": "Share of the units whose strongest image has changed",
}


@dataclass(frozen=True)
class EvolutionOverClasses(Evolution, ImageSettings):
    """Strongest image of every unit, and how far units move, over a training's checkpoints (Zeiler & Fergus 2014)."""

    method: ClassVar[str] = "evolution"
    version: ClassVar[int] = 1


def rows(run: Run[EvolutionOverClasses], sample: Sample, _class_id: str) -> pd.DataFrame:
    """Return the highest activation of each unit in some images, a row per image and layer."""
    _, found = run.settings.highest(run.classifier, lambda: [(sample.image_ids, sample.images)])
    return pd.DataFrame(
        [
            {
                "image_id": image_id,
                "layer": layer,
                "activations": highest.values[index].astype(np.float32),
                "places": highest.places[index],
                "map_w": highest.columns,
            }
            for layer, highest in found.items()
            for index, image_id in enumerate(sample.image_ids)
        ]
    )


def join(results: Results) -> Mapping[str, pd.DataFrame]:
    """Return a row for each checkpoint, layer and unit."""
    states = [_state(results, run) for run in results.runs]
    ids, first = states[0]
    for run, (seen, state) in zip(results.runs, states, strict=True):
        if seen != ids:
            raise XvError(f"{run.classifier.name} saw other images than {results.models[0]}")
        shapes = {layer: each.values.shape for layer, each in state.items()}
        if shapes != {layer: each.values.shape for layer, each in first.items()}:
            raise XvError(
                f"{run.classifier.name} has other layers than {results.models[0]}: expected checkpoints of one"
            )
    names = list(range(1, len(states) + 1))
    settings: EvolutionOverClasses = results.settings
    table = settings.of_states(names, ids, {layer: [state[layer] for _, state in states] for layer in first})
    return {"evolution": table.assign(model=[results.models[number - 1] for number in table["checkpoint"]])}


def figures(results: Results) -> Iterator[Figure]:
    """Draw how far the units of each layer are from their final state, and how many jumped, by checkpoint."""
    moved = movement(results.made["evolution"])
    for value, title in TITLES.items():
        yield Figure(value, title, partial(_chart, moved, results.models, value))


def findings(results: Results) -> Iterator[Finding]:
    """Say when the units of the first and of the last layer have come near their final state; no sample, all units."""
    moved = movement(results.made["evolution"])
    layers = list(dict.fromkeys(moved["layer"]))
    for layer in dict.fromkeys((layers[0], layers[-1])):
        rows = moved[moved["layer"] == layer].sort_values("checkpoint")
        near = rows[rows["distance_final"] <= NEAR]
        if near.empty:
            continue
        first = int(near["checkpoint"].iloc[0])
        name = results.models[first - 1]
        sentence = (
            f"Units of {layer} are within {NEAR} of their final state (one minus the correlation) from {name} on."
        )
        yield Finding(" + ".join(results.models), sentence, "first such checkpoint", float(first), n=len(results.runs))


def _state(results: Results, run: Run[Any]) -> tuple[list[str], dict[str, Highest]]:
    """Return the ids of the images, and the highest activations of one checkpoint by layer."""
    ids: dict[str, list[str]] = {}
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    columns: dict[str, int] = {}
    for _, table in results.by_class(run, "evolution_scans"):
        for row in records(table):
            ids.setdefault(row["layer"], []).append(row["image_id"])
            parts.setdefault(row["layer"], []).append((row["activations"], row["places"]))
            columns[row["layer"]] = int(row["map_w"])
    states = {}
    for layer, pairs in parts.items():
        values, places = (np.stack(each) for each in zip(*pairs, strict=True))
        states[layer] = Highest(values, places, columns[layer])
    return next(iter(ids.values())), states


def _chart(moved: pd.DataFrame, models: list[str], value: Shown) -> str:
    layers = list(dict.fromkeys(moved["layer"]))
    shown = [layers[index] for index in sorted({*np.linspace(0, len(layers) - 1, len(COLOURS)).round().astype(int)})]
    series = []
    for layer in shown:
        of_layer = moved[moved["layer"] == layer].sort_values("checkpoint")
        y = of_layer[value].to_numpy(float)
        series.append(Series(layer, of_layer["checkpoint"].to_numpy() - 1, y if value == "distance_final" else 100 * y))
    y_label = "One minus the correlation" if value == "distance_final" else "Units that live (%)"
    return line_chart(series, Frame(TITLES[value], "Checkpoint", y_label, x_names=models))


analyses.register("evolution")(
    Analysis(
        EvolutionOverClasses,
        (image_by_image("evolution_scans", rows),),
        figures,
        join,
        ("evolution",),
        findings,
        least_networks=2,
    )
)
