"""Explanations against pictures of the same scene without parts, where the data set has them; images → scores."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from xvcore.data.dataset import ImageRecord, Redrawn
from xvcore.data.decode import decode
from xvcore.errors import DataError
from xvcore.ops.parts import contains
from xvcore.prototypes.method.head import InfoDisent
from xvcore.prototypes.method.part_scores import (
    Parts,
    Scene,
    Seen,
    cells_holding,
    completeness,
    contrastivity,
    correctness,
    part_importance,
)
from xvcore.prototypes.method.pooling import peaks
from xvcore.prototypes.settings import Prototypes
from xvcore.prototypes.stages.decompose import decided
from xvcore.runs.images import passed_images, pictures, records
from xvcore.runs.parts import parts_in_input
from xvcore.runs.run import Run

SCORES = {
    "correctness": "parts in the order of their contributions and of the falls without each, (ρ + 1) / 2; control: "
    "peaks of plain channels",
    "completeness": "deletion, preservation and distractibility of the parts that contribute; control: peaks of plain "
    "channels",
    "contrastivity": "images whose part that speaks most against the next class is decisive; control: peaks of plain "
    "channels",
}
OVERLAP = 0.5
"""Share of the cell, or of the part, that both have in common where a cell holds a part."""
Row = tuple[str, float, float, int]


@dataclass(frozen=True)
class _Explained:
    """An image, the importance of its parts by the prototypes and by the plain channels, and its scene.

    Parameters
    ----------
    own, plain : importance of each part
    rival : by the prototypes, for the class whose logit comes next
    decisive : visible parts that tell the class; none where the network takes it for another
    """

    own: np.ndarray
    plain: np.ndarray
    rival: np.ndarray
    decisive: Parts
    scene: Scene


def part_scores(run: Run[Prototypes], network: InfoDisent, done: Sequence[str]) -> list[Row]:
    """Return name, value, control and number of images of each score; nothing where no part can be taken away."""
    if not isinstance(run.dataset, Redrawn):
        return []
    share = max(1, -(-run.settings.n_measured // len(done)))
    found = [each for class_id in done for each in _explained(run, network, class_id, share)]
    scenes = [each.scene for each in found]
    if not found:
        return []
    orders = [
        [correctness(parts, scene) for parts, scene in zip(every, scenes, strict=True)]
        for every in ([each.own for each in found], [each.plain for each in found])
    ]
    tells = [
        [contrastivity(parts, other, each.scene.visible, each.decisive) for parts, other, each in every]
        for every in (
            [(each.own, each.rival, each) for each in found],
            [(each.plain, np.zeros_like(each.plain), each) for each in found],
        )
    ]
    whole = [completeness([each.own for each in found], scenes), completeness([each.plain for each in found], scenes)]
    return [
        ("correctness", _mean(orders[0]), _mean(orders[1]), _known(orders[0])),
        ("completeness", whole[0], whole[1], len(found)),
        ("contrastivity", _mean(tells[0]), _mean(tells[1]), _known(tells[0])),
    ]


def _known(values: Sequence[float]) -> int:
    return sum(not np.isnan(each) for each in values)


def _mean(values: Sequence[float]) -> float:
    known = [each for each in values if not np.isnan(each)]
    return float(np.mean(known)) if known else float("nan")


def _explained(run: Run[Prototypes], network: InfoDisent, class_id: str, n_images: int) -> list[_Explained]:
    names = sorted(passed_images(run, class_id))[:n_images]
    rows = parts_in_input(run, class_id)
    rows = rows[rows["visible"].astype(bool) & rows["image_id"].isin(names)]
    parts = sorted({str(each) for each in rows["part"]})
    names = [name for name in names if (rows["image_id"] == name).any()]
    if not names:
        return []
    cells = network.feature_map.boxes(*run.size).flatten(0, 1).double().numpy()
    of_image = {name: rows[rows["image_id"] == name] for name in names}
    held = torch.from_numpy(np.stack([_held(cells, of_image[name], parts) for name in names]))
    images = pictures(run, class_id, names)
    taken_from = {record.image_id: record for record in run.dataset.images(class_id)}
    found: list[_Explained] = []
    for start in range(0, len(names), run.spec.batch_size):
        part = slice(start, start + run.spec.batch_size)
        with torch.inference_mode():
            maps, decision = decided(run, network, images[part])
        on_parts = held[part].to(maps.device)
        first, second = decision.logits.topk(2, dim=1).indices.unbind(dim=1)
        own, rival = (
            part_importance(*decision.at_peaks(each), decision.peaks, on_parts).cpu().numpy()
            for each in (first, second)
        )
        channels = peaks(maps)
        plain = part_importance(channels.positive, channels.negative, channels, on_parts).cpu().numpy()
        for index, name in enumerate(names[part]):
            of_parts = {parts.index(str(row["part"])): bool(row["decisive"]) for row in records(of_image[name])}
            target = int(first[index])
            is_right = target == run.target(class_id)
            scene = Scene(
                Seen(target, float(decision.logits[index, target])),
                frozenset(of_parts),
                functools.cache(functools.partial(_without, run, taken_from[name], parts, target)),
            )
            decisive = frozenset(each for each, tells in of_parts.items() if tells and is_right)
            found.append(_Explained(own[index], plain[index], rival[index], decisive, scene))
    return found


def _held(cells: np.ndarray, rows: pd.DataFrame, parts: Sequence[str]) -> np.ndarray:
    boxes = rows[["x", "y", "w", "h"]].to_numpy(np.float64)
    return cells_holding(contains(cells, boxes, overlap=OVERLAP), [str(each) for each in rows["part"]], parts)


def _without(run: Run[Any], record: ImageRecord, names: Sequence[str], target: int, removed: Parts) -> Seen | None:
    """Return what the network says of an image without parts; None where there is no such picture."""
    dataset: Any = run.dataset
    seen = record
    if removed:
        try:
            seen = dataset.without(record, [names[each] for each in removed])
        except DataError:
            return None  # not every set of parts was rendered
    pixels: Tensor = run.classifier.preprocessing.pixels(decode(dataset.read(seen)))
    with torch.inference_mode():
        logits = run.classifier.logits(pixels[None].to(run.classifier.device))[0]
    return Seen(int(logits.argmax()), float(logits[target]))
