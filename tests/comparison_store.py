"""A small store of comparisons with drawn pictures: every verdict, three networks of one comparison, two of another."""

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
from bird_store import CLASSES, HOSTILE_MODEL, WIDE, record, run_row, write_class

from xvcore.comparison.method.verdict import CANNOT, COULD, SHARED, UNDECIDED, UNUSED
from xvcore.store import Store

NARROW = "partbirds_narrow"
ALL, TWO = (NARROW, WIDE, HOSTILE_MODEL), (NARROW, WIDE)
N_PARTS = {NARROW: 3, WIDE: 2, HOSTILE_MODEL: 1}
ROBIN, EMPTY, BROKEN = "robin", "wren", "broken"
IMAGES = tuple(f"robin_{i:02d}.jpg" for i in range(5))
VERDICT_OF = {
    (NARROW, 1, WIDE): COULD, (NARROW, 2, WIDE): SHARED, (NARROW, 3, WIDE): SHARED,
    (WIDE, 1, NARROW): SHARED, (WIDE, 2, NARROW): CANNOT,
}  # fmt: skip
"""Of the others it is not decided, but for one of the third network."""
VERDICTS_OF = {**VERDICT_OF, (HOSTILE_MODEL, 1, NARROW): UNUSED}
REASONS = {
    SHARED: "a part of the other network is the same",
    COULD: "a probe on the other network's features tells it, and its deletion leaves the network",
    CANNOT: "no probe on the other network's features tells it, and its deletion leaves the network",
    UNUSED: "the other network does not lose by its deletion; whether its features tell it, the probe leaves open",
    UNDECIDED: "4 images with the part: 8 are needed",
}
THREE_RUN, TWO_RUN = "three-comparison", "two-comparison"


def summaries_run(model: str) -> str:
    return f"{ALL.index(model)}-summaries"


def comparison_row(run_id: str, models: Sequence[str], *, minute: int) -> dict:
    first, *others = models
    params = {"others": [f"{each}@file.pt?name={each.replace('&', '%26')}" for each in others]}
    row = run_row(run_id, first, [ROBIN, BROKEN], minute=minute)
    return {**row, "method": "comparison", "params": {**params, "judge": {"least_loss": 0.05}}, "status": "complete"}


def deletion(model: str, part: int, other: str) -> dict:
    verdict = VERDICTS_OF.get((model, part, other), UNDECIDED)
    loss = 0.4 + 0.01 * part if model == other else 0.31 if verdict == SHARED else 0.012
    row = {"prob_full": 0.9, "loss": loss, "loss_random": 0.02, "difference": loss - 0.02, "n_images": 5}
    row |= {"loss_share": loss, "low": loss - 0.1, "high": loss + 0.125, "p_value": 0.031}
    told = {COULD: 0.875, CANNOT: 0.505, UNUSED: 0.625}.get(verdict)
    probe = {"probe_accuracy": told, "probe_baseline": 0.49, "probe_p": 0.005, "probe_low": 0.45, "probe_high": 0.96}
    return {"model": model, "part_id": part, "other": other, **row, **(probe if told else {})}


def verdict(model: str, part: int, other: str) -> dict:
    own, asked = deletion(model, part, model), deletion(model, part, other)
    said = VERDICTS_OF.get((model, part, other), UNDECIDED)
    nearest = {(NARROW, 2): 1, (WIDE, 1): 2, (NARROW, 3): 1}.get((model, part)) if said == SHARED else None
    return {
        "model": model, "part_id": part, "other": other, "clusters": [part - 1], "n_images": 5,
        "verdict": said, "reason": REASONS[said], "nearest": nearest, "partner": None if part == 3 else nearest,
        "strength": None if nearest is None else 0.7531, "own_loss": own["difference"],
        "other_loss": asked["difference"], "other_low": asked["low"], "other_high": asked["high"],
        "probe_accuracy": asked.get("probe_accuracy"), "probe_p": asked.get("probe_p"),
    }  # fmt: skip


def match(model: str, part: int, other: str, other_part: int) -> dict:
    scores = {"place": 0.6172, "place_null": 0.1, "place_p": 0.002, "flow": 0.8, "flow_null": 0.4, "flow_p": 0.01}
    scores |= {"images": 0.5, "images_null": 0.45, "images_p": 0.3, "n_both": 4, "n_images": 5, "strength": 0.7531}
    flags = {"is_partner": False, "is_nearest": other_part == 1, "is_above_null": True}
    return {"model": model, "part_id": part, "other": other, "other_part": other_part, **flags, **scores}


def class_row(model: str, class_id: str) -> dict:
    place = ALL.index(model)
    return {
        "model": model, "of_run": summaries_run(model), "n_summaries": N_PARTS[model], "n_parts": N_PARTS[model],
        "has_distinct_parts": True, "parts_per_image": 1.25 + place, "n_images": 7, "n_looked": 5,
        "accuracy": 0.7142857 - 0.1 * place, "mask_area": 0.12, "mask_drop": 0.97, "part_coverage": 0.4 + 0.05 * place,
        "part_coverage_null": 0.11, "decisive_coverage": 0.81 if place else None, "decisive_coverage_null": 0.13,
    }  # fmt: skip


def likeness(model: str, other: str, depth: float) -> dict:
    row = {"model": model, "other": other, "depth": depth, "layer": "a", "other_layer": "b", "n_images": 6}
    row |= {"cka": 0.62 + 0.1 * depth, "cka_null": 0.21, "wmppc": 0.55, "wmppc_null": 0.3}
    last = {"bsr": 0.6789, "bsr_null": 0.5, "rsvc": 0.41, "rsvc_self": 0.83, "mask_overlap": 0.3456}
    return {**row, **(last if depth == 1 else {}), "rsvc_concepts": [0.5, 0.25] if depth == 1 else None}


def coverage(model: str, part: str) -> dict:
    covered = 0.75 if part == "tail" else 0.25
    row = {"n_images": 4, "n_decisive": 3, "covered": covered, "by_chance": 0.125, "difference": covered - 0.125}
    share = {
        "share": covered - 0.14,
        "share_by_chance": 0.06,
        "share_low": covered - 0.25,
        "share_high": covered - 0.05,
    }
    row |= share if part == "tail" else {}  # older comparisons did not tell it
    return {"model": model, "part": part, **row, "low": covered - 0.375, "high": covered + 0.1, "p_value": 0.031}


def win(run_id: str, model: str, other: str, class_id: str) -> dict:
    difference = float(N_PARTS[model] - N_PARTS[other])
    row = {"n_parts": N_PARTS[model], "n_parts_other": N_PARTS[other], "n_images": 5, "difference": difference}
    row |= {"low": difference - 0.4, "high": difference + 0.4, "p_value": 0.0156, "p_holm": 0.0312}
    return {"run_id": run_id, "model": model, "other": other, "class_id": class_id, **row, "wins": difference > 0}


def write_comparison(store: Store, run_id: str, models: Sequence[str], *, minute: int) -> None:
    store.write_run(comparison_row(run_id, models, minute=minute))
    pairs = list(permutations(models, 2))
    of_parts = [(model, part, other) for model, other in pairs for part in range(1, N_PARTS[model] + 1)]
    own = [(model, part, model) for model in models for part in range(1, N_PARTS[model] + 1)]
    tables = {
        "part_verdicts": [verdict(*each) for each in of_parts],
        "cross_deletions": [deletion(*each) for each in [*own, *of_parts]],
        "part_deletions": [
            {"model": m, "part_id": p, "other": o, "image_id": image, "prob_full": 0.9, "prob_deleted": 0.5, "prob_random": 0.88}
            for m, p, o in of_parts
            for image in IMAGES[:2]
        ],
        "part_matches": [match(m, p, o, q) for m, p, o in of_parts for q in range(1, N_PARTS[o] + 1)],
        "network_likeness": [likeness(a, b, depth) for a, b in pairs for depth in (0.5, 1.0)],
        "part_coverage": [coverage(model, part) for model in models for part in ("bill", "tail")],
        "comparison_classes": [class_row(model, ROBIN) for model in models],
    }  # fmt: skip
    for name, rows in tables.items():
        store.write(name, run_id, ROBIN, [{**row, "run_id": run_id, "class_id": ROBIN} for row in rows])
    counts = {"n_images": 7, "n_correct": 5, "n_parts_compared": len(of_parts)}
    store.write("class_runs", run_id, ROBIN, [record(ROBIN, **counts)])
    error = "no <summaries>"
    store.write("class_runs", run_id, BROKEN, [record(BROKEN, "failed", error=error, seconds=None)])
    for model in models:
        rows = [win(run_id, model, other, ROBIN) for other in models if other != model]
        store.write("comparison_wins", run_id, model, rows)
        row = class_row(model, ROBIN)
        parts = {"mean_parts": N_PARTS[model], "mean_summaries": N_PARTS[model], "n_networks": len(models)}
        found = {"model": model, "n_classes": 1, "accuracy": row["accuracy"], **parts}
        store.write("comparison_networks", run_id, model, [{"run_id": run_id, **found}])


def write_store(folder: Path) -> Store:
    store = Store(folder)
    for minute, model in enumerate(ALL):
        store.write_run({**run_row(summaries_run(model), model, [ROBIN], minute=minute), "status": "complete"})
        write_class(store, summaries_run(model), ROBIN, IMAGES, n_parts=N_PARTS[model])
    write_comparison(store, THREE_RUN, ALL, minute=5)
    write_comparison(store, TWO_RUN, TWO, minute=6)
    for index, (class_id, name) in enumerate(CLASSES.items()):
        store.write("classes", "partbirds", class_id, [{"class_idx": index, "class_name": name}])
    return store


def as_told(value: float, digits: int = 2) -> str:
    return f"{np.float32(value):.{digits}f}".replace("-", "−")
