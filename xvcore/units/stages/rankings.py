"""Rankings of units over the images of classes, as rows of ``unit_sums``, and of what came before it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from xvcore.errors import StoreError
from xvcore.ops.taps import UnitLayer
from xvcore.runs.images import image_numbers, records
from xvcore.runs.run import Run
from xvcore.runs.stage import Summary
from xvcore.runs.summaries import whole
from xvcore.units.method.top_activations import NOBODY, UnitTops
from xvcore.units.settings import TopUnits

_TYPES = {"values": np.float32, "images": np.int64, "places": np.int32, "sums": np.float64, "n_invalid": np.int64}


def layers_of(run: Run[TopUnits]) -> tuple[UnitLayer, ...]:
    """Return the layers that the settings name, all non-linearities where they name none."""
    if layers_of not in run.memo:
        run.memo[layers_of] = run.settings.top.layers(run.classifier, run.settings.layers or None)
    layers: tuple[UnitLayer, ...] = run.memo[layers_of]
    return layers


def ranked(run: Run[TopUnits]) -> tuple[UnitTops, list[tuple[str, str]]] | None:
    """Return the ranking over all finished classes with images numbered from 0, and class and id of each image.

    None where no class has finished.
    """
    tops, class_ids = whole(run)
    if tops is None:
        return None
    numbered = sorted(
        (number, class_id, image_id)
        for class_id in class_ids
        for image_id, number in image_numbers(run, class_id).items()
    )
    known = torch.tensor([number for number, _, _ in numbered])
    dense = torch.searchsorted(known, tops.images.clamp_min(0)).where(tops.images != NOBODY, NOBODY)
    return replace(tops, images=dense), [(class_id, image_id) for _, class_id, image_id in numbered]


def _cells(tops: UnitTops) -> dict[str, Any]:
    arrays = tops.arrays()
    return {
        "layers": [layer.name for layer in tops.layers],
        "n_units": [layer.n_units for layer in tops.layers],
        "n_images": int(arrays["n_images"]),
        "last_image": int(arrays["last_image"]),
        "activations": arrays["values"].ravel(),
        **{name: arrays[name].ravel() for name in ("images", "places", "sums", "n_invalid")},
    }


def _tops(run: Run[TopUnits], row: Mapping[str, Any]) -> UnitTops:
    layers = layers_of(run)
    seen = list(zip(row["layers"], map(int, row["n_units"]), strict=True))
    known = [(layer.name, layer.n_units) for layer in layers]
    if seen != known:
        raise StoreError(f"unit_sums of {run.run_id} has layers {seen}, the network {known}: was it changed?")
    arrays = {name: np.asarray(row["activations" if name == "values" else name], kind) for name, kind in _TYPES.items()}
    shaped = {name: arrays[name].reshape(-1, run.settings.top.kept) for name in ("values", "images", "places")}
    counts = {name: int(row[name]) for name in ("n_images", "last_image")}
    return UnitTops.of_arrays(layers, {**arrays, **shaped, **counts})


def _older(run: Run[TopUnits], class_id: str) -> UnitTops:
    rows = {row["layer"]: row for row in records(run.store.read("unit_scans", run.run_id, class_id))}
    ordered = [rows[layer.name] for layer in layers_of(run)]
    listed = ("activations", "images", "places", "sums", "n_invalid")
    joined = {name: np.concatenate([np.asarray(row[name]) for row in ordered]) for name in listed}
    heads = {"layers": [row["layer"] for row in ordered], "n_units": [int(row["n_units"]) for row in ordered]}
    return _tops(run, {**ordered[0], **heads, **joined})


UNIT_SUMS = Summary("unit_sums", "layers", _cells, _tops, UnitTops.merged, "unit_scans", _older)
"""Rankings of all units over all classes."""
