"""What all classes tell: prototype_scans, …_decisions → prototypes, …_weights, …_parts, …_removals, …_measures."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from xvcore.ops.parts import PartShares
from xvcore.ops.taps import UnitLayer
from xvcore.prototypes.method.feature_map import unit_layer
from xvcore.prototypes.method.head import InfoDisent
from xvcore.prototypes.method.measures import correlation, covered, purity, rv_coefficient
from xvcore.prototypes.method.strongest_patches import SIDES, Patch, StrongestPatches
from xvcore.prototypes.networks import disentangled
from xvcore.prototypes.settings import Prototypes
from xvcore.prototypes.stages.decompose import KINDS, decided, scanned
from xvcore.prototypes.stages.interventions import SCORES, part_scores
from xvcore.runs.images import as_bytes, image_numbers, passed_images, pictures
from xvcore.runs.parts import parts_in_input
from xvcore.runs.run import Run
from xvcore.store.encode import picture

N_DRAWS = 20
"""Random boxes for each patch."""
N_REMOVALS = 5
"""Random cells for each removal."""
MEASURES = {
    "sum_error": "largest difference between a logit and the sum of its contributions and bias",
    "active": "mean number of contributions of at least the threshold to a decision",
    "needed": "mean number of contributions, strongest first, that come near the sum of all of a decision",
    "purity": "mean share of a channel in the vector at its peak; control: plain channels",
    "correlation": "mean absolute correlation of two channels; control: before the rotation",
    "rv": "mean RV coefficient of the maps of two channels; control: before the rotation",
    "removal": "fall of the predicted logit without the cell of the strongest prototype; control: a random cell",
    "part_purity": "mean share of a prototype's patches that meet one annotated part; control: as many plain channels",
    **SCORES,
}


@dataclass(frozen=True)
class _Found:
    """A run, its network, class and id of every image by its number, and the prototypes that are shown."""

    run: Run[Prototypes]
    network: InfoDisent
    images: dict[int, tuple[str, str]]
    used: set[int]


def gather_prototypes(run: Run[Prototypes]) -> None:
    """Merge what the finished classes left into the tables of the whole run."""
    done = run.store.classes_of("prototype_contributions", run.run_id)
    done = [each for each in done if passed_images(run, each)]
    if not done:
        return
    network = disentangled(run.classifier)
    images = {number: (each, name) for each in done for name, number in image_numbers(run, each).items()}
    weights = network.head.weights().detach().cpu()
    used = _weights(run, done, weights)
    strongest = {kind: reduce(StrongestPatches.merge, (scanned(run, each, kind) for each in done)) for kind in KINDS}
    found, found_in = list(strongest["prototype"].rows()), _Found(run, network, images, used)
    layer = _layer(run, network)
    for side in SIDES:
        patches = [each for each in found if each.side == side]
        run.store.write("prototypes", run.run_id, side, list(_patch_rows(found_in, layer, patches)))
    _parts(found_in, strongest)
    _measures(run, network, done)


def _weights(run: Run[Prototypes], done: list[str], weights: Tensor) -> set[int]:
    """Write the weights of prototypes for the classes, and return the prototypes that a class or decision shows."""
    used: set[int] = set()
    for class_id in done:
        decisions = run.store.read("prototype_decisions", run.run_id, class_id)
        own = decisions[decisions["target_kind"] == "label"]
        every = np.stack([np.asarray(each, np.float64) for each in own["contributions"]])
        target = run.target(class_id)
        order = weights[target].abs().argsort(descending=True, stable=True).tolist()
        rows = [
            {
                **run.keys(class_id),
                "target_idx": target,
                "prototype": channel,
                "position": position,
                "weight": float(weights[target, channel]),
                "mean_contribution": float(every[:, channel].mean()),
                "n_images": int((np.abs(every[:, channel]) >= run.settings.threshold).sum()),
            }
            for position, channel in enumerate(order, start=1)
            if weights[target, channel] != 0
        ]
        run.store.write("prototype_weights", run.run_id, class_id, rows)
        shown = sorted(rows, key=lambda row: -abs(row["mean_contribution"]))[: run.settings.n_shown]
        used |= {int(row["prototype"]) for row in shown}
        columns = ["prototype", "contribution"]
        contributions = run.store.read("prototype_contributions", run.run_id, class_id, columns)
        used |= set(contributions["prototype"].astype(int))
    return used


def _layer(run: Run[Prototypes], network: InfoDisent) -> UnitLayer:
    """Return the layer of the map with its receptive fields."""
    image = torch.zeros(1, 3, *run.size, device=run.classifier.device)
    found = network.feature_map
    return unit_layer(run.classifier, image, f"backbone.{found.module}", found.call)


def _patch_rows(found_in: _Found, layer: UnitLayer, patches: list[Patch]) -> Iterator[dict[str, Any]]:
    run, images, used = found_in.run, found_in.images, found_in.used
    found = found_in.network.feature_map
    boxes = found.boxes(*run.size).flatten(0, 1).round().int().tolist()
    whole = [0, 0, run.size[1], run.size[0]]
    shown: dict[str, dict[str, None]] = {}
    for patch in patches:
        if patch.prototype in used:
            class_id, name = images[patch.image]
            shown.setdefault(class_id, {})[name] = None
    pixels: dict[tuple[str, str], np.ndarray] = {}
    for class_id, names in shown.items():
        seen = as_bytes(pictures(run, class_id, list(names)))
        pixels |= {(class_id, name): each for name, each in zip(names, seen, strict=True)}
    for patch in patches:
        class_id, name = images[patch.image]
        x, y, w, h = boxes[patch.place]
        field = whole
        if not found.is_tokens and layer.size == (found.rows, found.columns):
            row, column = divmod(patch.place, found.columns)
            field = layer.field.boxes(np.array([row]), np.array([column]))[0].tolist()
        crop = pixels[class_id, name][y : y + h, x : x + w] if patch.prototype in used else None
        yield {
            "run_id": run.run_id,
            "model": run.classifier.name,
            "side": patch.side,
            "prototype": patch.prototype,
            "position": patch.position,
            "image_id": name,
            "image_class_id": class_id,
            "value": patch.value,
            **dict(zip("xywh", (x, y, w, h), strict=True)),
            **{f"field_{side}": int(edge) for side, edge in zip("xywh", field, strict=True)},
            "crop": None if crop is None else picture(np.ascontiguousarray(crop)),
        }


def _parts(found_in: _Found, strongest: dict[str, StrongestPatches]) -> None:
    """Write which part the patches of each prototype, and of each plain channel, meet, where parts are annotated."""
    run, network, images, used = found_in.run, found_in.network, found_in.images, found_in.used
    classes = sorted({class_id for class_id, _ in images.values() if run.dataset.parts(class_id)})
    if not classes:
        return
    parts = pd.concat([parts_in_input(run, each) for each in classes], ignore_index=True)
    boxes = network.feature_map.boxes(*run.size).flatten(0, 1).tolist()
    for kind in KINDS:
        ranked = strongest[kind]
        # As many plain channels as prototypes are shown: those with the strongest peaks.
        peak = ranked.values[..., 0]
        strong = peak.amax(dim=1).argsort(descending=True, stable=True)[: len(used)].tolist()
        shown = used if kind == "prototype" else set(strong)
        rows: list[dict[str, Any]] = []
        for side in SIDES:
            patches = [each for each in ranked.rows() if each.side == side]
            frame = pd.DataFrame(
                [(each.prototype, images[each.image][1], *boxes[each.place]) for each in patches],
                columns=["cluster_id", "image_id", "x", "y", "w", "h"],
            )
            rows += [
                {
                    "kind": kind,
                    "side": side,
                    "prototype": int(row["cluster_id"]),
                    "n_patches": int(row["n_regions"]),
                    "part": row["part"],
                    **{name: row[name] for name in ("share", "random_share", "random_purity")},
                    "is_used": int(row["cluster_id"]) in shown,
                }
                for row in PartShares(n_draws=N_DRAWS)(frame, parts, run.size).to_dict("records")
            ]
        run.store.write("prototype_parts", run.run_id, kind, rows)


def _measures(run: Run[Prototypes], network: InfoDisent, done: list[str]) -> None:
    """Write what is measured on some images of all classes."""
    share = max(1, -(-run.settings.n_measured // len(done)))
    named = [(each, name) for each in done for name in sorted(passed_images(run, each))[:share]]
    named = named[: run.settings.n_measured]
    seen = torch.cat([pictures(run, each, [name for of, name in named if of == each]) for each in done])
    plain, turned, top, other, shown = [], [], [], [], []
    generator = torch.Generator().manual_seed(run.settings.seed)
    boxes = network.feature_map.boxes(*run.size).flatten(0, 1)
    for images in seen.split(run.spec.batch_size):
        with torch.inference_mode():
            maps, decision = decided(run, network, images)
            plain.append(maps.cpu())
            turned.append(network.head.turned(maps).cpu())
            targets = decision.logits.argmax(dim=1)
            strongest = decision.contributions(targets).argmax(dim=1)[:, None]
            shown.append(torch.cat([targets[:, None], strongest], dim=1).cpu())
            is_positive = decision.values.gather(1, strongest) >= 0
            places = torch.where(
                is_positive,
                decision.peaks.where_positive.gather(1, strongest),
                decision.peaks.where_negative.gather(1, strongest),
            )[:, 0].cpu()
            before = decision.logits.gather(1, targets[:, None])[:, 0].cpu()
            top.append(before - _scores(run, covered(images, boxes[places]), targets))
            draws = []
            for _ in range(N_REMOVALS):
                random = torch.randint(len(boxes), (len(images),), generator=generator)
                draws.append(before - _scores(run, covered(images, boxes[random]), targets))
            other.append(torch.stack(draws).mean(dim=0))
    falls = zip(named, torch.cat(shown).tolist(), torch.cat(top).tolist(), torch.cat(other).tolist(), strict=True)
    _removals(run, done, list(falls))
    before, after = torch.cat(plain), torch.cat(turned)
    decisions = pd.concat([run.store.read("prototype_decisions", run.run_id, each) for each in done])
    parts = {
        kind: rows[rows["is_used"] & (rows["n_patches"] > 0)]
        for kind in KINDS
        if run.store.has("prototype_parts", run.run_id, kind)
        for rows in [run.store.read("prototype_parts", run.run_id, kind)]
    }
    sums, n = decisions["sum_error"].abs().max(), len(decisions)
    rows: list[tuple[str, float, float | None, int]] = [
        ("sum_error", sums, None, n),
        ("active", decisions["n_active"].mean(), None, n),
        ("needed", decisions["n_needed"].mean(), None, n),
        ("purity", float(purity(after).mean()), float(purity(before).mean()), len(after)),
        ("correlation", correlation(after), correlation(before), len(after)),
        ("rv", rv_coefficient(after), rv_coefficient(before), len(after)),
        ("removal", float(torch.cat(top).mean()), float(torch.cat(other).mean()), len(after)),
    ]
    if parts:
        values = {kind: float(each["share"].mean()) if len(each) else float("nan") for kind, each in parts.items()}
        rows.append(("part_purity", values["prototype"], values["channel"], len(parts["prototype"])))
    rows += part_scores(run, network, done)
    for name, value, control, number in rows:
        keys = {"run_id": run.run_id, "model": run.classifier.name, "measure": name}
        row = {**keys, "description": MEASURES[name], "value": value, "control": control, "n": number}
        run.store.write("prototype_measures", run.run_id, name, [row])


def _removals(
    run: Run[Prototypes], done: list[str], falls: list[tuple[tuple[str, str], list[int], float, float]]
) -> None:
    """Write of each measured image, given class, name, output and prototype, how far its logit falls."""
    for class_id in done:
        rows = [
            {
                **run.keys(class_id),
                "image_id": name,
                "target_idx": target,
                "prototype": prototype,
                "fall": fall,
                "random_fall": random_fall,
            }
            for (of_class, name), (target, prototype), fall, random_fall in falls
            if of_class == class_id
        ]
        run.store.write("prototype_removals", run.run_id, class_id, rows)


def _scores(run: Run[Prototypes], images: Tensor, targets: Tensor) -> Tensor:
    scores = run.classifier.logits(images.to(run.classifier.device))
    return scores.gather(1, targets[:, None])[:, 0].cpu()
