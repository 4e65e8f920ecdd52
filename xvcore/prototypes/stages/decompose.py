"""Stage *decompose*: decisions taken apart, and the strongest patches; images → prototype_scans, …_contributions."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from xvcore.prototypes.method.head import Decision, InfoDisent
from xvcore.prototypes.method.measures import sparsity
from xvcore.prototypes.method.pooling import peaks
from xvcore.prototypes.method.strongest_patches import StrongestPatches
from xvcore.prototypes.networks import disentangled
from xvcore.prototypes.settings import Prototypes
from xvcore.runs.images import batches, image_numbers, passed_images
from xvcore.runs.run import Progress, Run

KINDS = ("prototype", "channel")
"""What is ranked: the prototypes, and as a control the plain channels of the network below."""


def decompose(run: Run[Prototypes], class_id: str, progress: Progress | None = None) -> int:
    """Write what each image of a class adds to the rankings, and its decisions taken apart; return the images.

    ``prototype_contributions`` is written last: it says that the stage is done.
    """
    network = disentangled(run.classifier)
    image_ids, numbers, target = passed_images(run, class_id), image_numbers(run, class_id), run.target(class_id)
    n_channels, n_kept = network.feature_map.n_channels, run.settings.n_patches
    strongest = {kind: StrongestPatches.empty(n_channels, n_kept) for kind in KINDS}
    decisions: list[dict[str, Any]] = []
    contributions: list[dict[str, Any]] = []
    n_done = 0
    for batch in batches(run, class_id, image_ids) if image_ids else ():
        with torch.inference_mode():
            maps, decision = decided(run, network, batch.images)
            of_batch = torch.tensor([numbers[each] for each in batch.image_ids])
            for kind, found in zip(KINDS, (decision.peaks, peaks(maps)), strict=True):
                strongest[kind] = strongest[kind].merge(StrongestPatches.of_batch(found, of_batch, n_kept))
            foremost = decision.logits.argmax(dim=1)
            own = torch.full_like(foremost, target)
            for targets, which in ((own, "label"), (foremost, "prediction")):
                chosen = [
                    index
                    for index in range(len(maps))
                    if which == "label" or (run.settings.prediction_too and int(foremost[index]) != target)
                ]
                rows, parts = _taken_apart(run, network, decision, targets, chosen)
                names = [batch.image_ids[index] for index in chosen]
                decisions += [
                    {"image_id": name, "target_kind": which, **row} for name, row in zip(names, rows, strict=True)
                ]
                contributions += [
                    {"image_id": name, "target_kind": which, **row}
                    for name, of_image in zip(names, parts, strict=True)
                    for row in of_image
                ]
        n_done += len(batch.image_ids)
        if progress:
            progress(n_done, len(image_ids))
    keys = run.keys(class_id)
    scans = [
        {
            "kind": kind,
            "n_channels": n_channels,
            "strength": strongest[kind].values.flatten().numpy(),
            "images": strongest[kind].images.flatten().numpy(),
            "places": strongest[kind].places.flatten().int().numpy(),
        }
        for kind in KINDS
    ]
    for table, rows in (
        ("prototype_scans", scans),
        ("prototype_decisions", decisions),
        ("prototype_contributions", contributions),
    ):
        run.store.write(table, run.run_id, class_id, [{**keys, **row} for row in rows])
    return n_done


def decided(run: Run[Any], network: InfoDisent, images: Tensor) -> tuple[Tensor, Decision]:
    """Return the features of images in [0, 1], and the decisions taken apart."""
    normalised = run.classifier.preprocessing.normalise(images.to(run.classifier.device))
    maps = network.maps(normalised)
    return maps, network.head.decision(maps)


def scanned(run: Run[Prototypes], class_id: str, kind: str) -> StrongestPatches:
    """Return the rankings that a class left."""
    rows = run.store.read("prototype_scans", run.run_id, class_id)
    (row,) = rows[rows["kind"] == kind].to_dict("records")

    def shaped(name: str, dtype: type) -> Tensor:
        values: np.ndarray = np.asarray(row[name], dtype=dtype)
        return torch.from_numpy(values.reshape(int(row["n_channels"]), 2, -1).copy())

    return StrongestPatches(shaped("strength", np.float32), shaped("images", np.int64), shaped("places", np.int64))


def _taken_apart(
    run: Run[Prototypes], network: InfoDisent, decision: Decision, targets: Tensor, chosen: list[int]
) -> tuple[list[dict[str, Any]], list[list[dict[str, Any]]]]:
    """Return a row of the decision for each of the chosen images, and rows of its strongest contributions."""
    settings = run.settings
    boxes = network.feature_map.boxes(*run.size).flatten(0, 1).round().int().tolist()
    logits = decision.logits.gather(1, targets[:, None])[:, 0]
    every = decision.contributions(targets)
    counted = sparsity(every, logits, settings.threshold)
    order = every.abs().argsort(dim=1, descending=True, stable=True)[:, : settings.n_shown].tolist()
    found = decision.peaks
    rows, parts = [], []
    for index in chosen:
        target, own = int(targets[index]), every[index]
        shown = order[index]
        bias = float(decision.bias[target])
        rows.append(
            {
                "target_idx": target,
                "logit": float(logits[index]),
                "bias": bias,
                "sum_error": float(own.double().sum()) + bias - float(logits[index]),
                "rest": float(own.double().sum() - own[shown].double().sum()),
                "n_active": int(counted.above[index]),
                "n_active_share": int(counted.above_share[index]),
                "n_needed": int(counted.needed[index]),
                "contributions": own.float().cpu().numpy(),
            }
        )
        parts.append(
            [
                {
                    "target_idx": target,
                    "position": position,
                    "prototype": channel,
                    "contribution": float(own[channel]),
                    "weight": float(decision.weights[target, channel]),
                    "value": float(decision.values[index, channel]),
                    "positive": float(found.positive[index, channel]),
                    "negative": float(found.negative[index, channel]),
                    **_placed("positive", boxes, found.positive[index, channel], found.where_positive[index, channel]),
                    **_placed("negative", boxes, found.negative[index, channel], found.where_negative[index, channel]),
                }
                for position, channel in enumerate(shown, start=1)
            ]
        )
    return rows, parts


def _placed(name: str, boxes: list[list[int]], value: Tensor, where: Tensor) -> dict[str, int]:
    if float(value) <= 0:
        return {}
    return {f"{name}_{side}": edge for side, edge in zip("xywh", boxes[int(where)], strict=True)}
