"""Top activations: from images to what every unit of a network responds to (Zeiler & Fergus, ECCV 2014)."""

from collections.abc import Callable, Iterator
from typing import get_args

import pandas as pd
import pyarrow.compute as pc

from xvcore.models import Classifier
from xvcore.ops.relu_rules import BackwardRule, Rule
from xvcore.runs.images import records
from xvcore.runs.pipeline import predicted
from xvcore.runs.predict import PREDICT_DISTINCT
from xvcore.runs.run import Run
from xvcore.runs.stage import Pipeline, Stage, pipelines
from xvcore.runs.thumbnails import Thumbnail, beside, sheet, spread
from xvcore.store.encode import encoded
from xvcore.units.method.deconvnet import Deconvnet
from xvcore.units.method.top_activations import TopActivations
from xvcore.units.query.layers import scanned_layers
from xvcore.units.settings import TopUnits
from xvcore.units.stages.rankings import UNIT_SUMS
from xvcore.units.stages.scan import Scanned, gather_units, scan

N_LAYERS, N_TOP = 6, 9
"""Layers from which a unit is shown, and activations that are shown of it."""
TOP_COLUMNS = ("unit", "position", "activation", "crop", "projection")


def strong_units(run: Run[TopUnits], done: pd.DataFrame) -> Iterator[Thumbnail]:
    """Yield the unit of a layer that responds most, what it saw beside the projections; the deepest layer first.

    Of many layers, some that are spread evenly over all: a layer's pictures are read for it.
    """
    gathered = set(run.store.classes_of("units", run.run_id))
    scanned = scanned_layers(run.store, run.run_id)
    for layer in spread([each for each in reversed(scanned) if each in gathered], N_LAYERS):
        top = run.store.read_arrow("unit_top", run.run_id, layer, TOP_COLUMNS)
        pictured = top.filter(pc.is_valid(top["crop"]))
        if len(pictured):
            unit = pictured["unit"][pc.index(pictured["activation"], pc.max(pictured["activation"])).as_py()].as_py()
            rows = pictured.filter(pc.equal(pictured["unit"], unit)).sort_by("position").slice(0, N_TOP).to_pylist()
            yield Thumbnail(_title(run, layer, unit, done), _sheets(rows))


def _sheets(rows: list[dict]) -> bytes:
    crops, projections = ([encoded(row[name]) for row in rows] for name in ("crop", "projection"))
    sheets = [sheet(crops, tile_px=72, is_enlarged=True)]
    if any(projections):
        sheets.append(sheet(projections, tile_px=72, is_enlarged=True, is_stretched=True))
    return beside(sheets)


def _title(run: Run[TopUnits], layer: str, unit: int, done: pd.DataFrame) -> str:
    units = run.store.read("units", run.run_id, layer, ["unit", "act_max", "top_class_id", "top_class_share"])
    (row,) = records(units[units["unit"] == unit])
    names = dict(zip(done["class_id"], done["class_name"], strict=True))
    title = f"{layer} · unit {unit} · activation up to {row['act_max']:.3g}"
    if pd.isna(row["top_class_share"]):
        return title
    favourite = names.get(row["top_class_id"], row["top_class_id"])
    return f"{title} · {100 * row['top_class_share']:.0f} % of its images are {favourite}"


def units_of(classifier: Classifier) -> str:
    """Say how many units there are, in how many layers."""
    layers = TopActivations().layers(classifier)
    return f"{sum(each.n_units for each in layers)} in {len(layers)} layers"


def projections_by(rule: Rule) -> Callable[[Classifier], str]:
    """Return the question whether a rule of projection has a meaning for a network."""

    def projections_of(classifier: Classifier) -> str:
        met = Deconvnet(rule=BackwardRule(rule)).check_fits(classifier)
        return f"{met.rectifiers} rectifiers, {met.max_pools} max-poolings"

    return projections_of


pipelines.register(TopUnits.method)(
    Pipeline(
        settings=TopUnits,
        order=3,
        stages=(PREDICT_DISTINCT, Stage("scan", None, scan, summary=UNIT_SUMS, looker=Scanned)),
        count=predicted,
        gather=gather_units,
        pictures=strong_units,
        fits={"units": units_of, **{rule: projections_by(rule) for rule in get_args(Rule)}},
    )
)
