"""Stores with evidence and with units of drawn pictures: local and nominal patches, dead units, missing projections."""

from pathlib import Path

import numpy as np
from bird_store import SIDE, drawn, record, run_row, seed_of

from xvcore.store import Store
from xvcore.store.encode import map_cell, picture

LOCAL, NOMINAL, DENSE = "bagnet_drawn", "meannet", "bagnet_dense"
PATCH, STRIDE = 24, 8
N = (SIDE - PATCH) // STRIDE + 1
ROBINS, WRENS = [f"robin_{i}.png" for i in range(4)], [f"wren_{i}.png" for i in range(3)]
IMAGES = {"robin": ROBINS, "wren": WRENS}
TARGETS = {"robin": 3, "wren": 5}
PROJECTED, BARE = "projected", "bare<i>net"
ERROR = "bare<i>net has no max-pooling: no switches"
N_UNITS = 60
N_SHOWN = 30


def evidence_map(image_id: str, target: int, n: int = N) -> np.ndarray:
    values = np.random.default_rng(seed_of(image_id) + target).normal(1.0, 4.0, (n, n))
    values[n // 2, n // 3] = 30.0 + target
    return values.astype(np.float16).astype(np.float32)


def predictions(class_id: str, image_ids: list[str]) -> list[dict]:
    rows = []
    for index, image_id in enumerate(image_ids):
        is_right = index > 0
        rows.append({
            "image_id": image_id, "width": 200, "height": 150, "target_idx": TARGETS[class_id],
            "pred_idx": TARGETS[class_id] if is_right else 7, "prob_target": 0.8 if is_right else 0.1,
            "prob_pred": 0.8, "rank_target": 1 if is_right else 4, "correct": is_right,
        })  # fmt: skip
    return [*rows, {"image_id": "torn.jpg", "error": "ImageError: <b>torn</b>"}]


def evidence_row(image_id: str, target: int, kind: str, model: str) -> dict:
    values = evidence_map(image_id, target, SIDE if model == DENSE else N)
    grid = {"patch_px": PATCH, "stride_px": STRIDE, "padding_px": 0}
    if model == DENSE:
        grid = {"patch_px": PATCH - 1, "stride_px": 1, "padding_px": (PATCH - 2) // 2}
    return {
        "image_id": image_id,
        "target_idx": target,
        "target_kind": kind,
        "resolution": "full" if model == DENSE else "decision",
        "evidence_map": map_cell(values),
        "map_h": len(values),
        "map_w": len(values),
        **(grid if model != NOMINAL else {}),
        "logit": float(values.mean()) + (5.0 if model == DENSE else 0.0),
        "evidence_max": float(values.max()),
        "evidence_min": float(values.min()),
        "positive_frac": float((values > 0).mean()),
    }


def write_evidence(store: Store, model: str, *, minute: int = 0) -> str:
    run_id = f"{model}-evidence"
    asked = [*IMAGES, "broken", "waiting"]
    store.write_run({**run_row(run_id, model, asked, minute=minute), "method": "evidence", "status": "complete"})
    for class_id, image_ids in IMAGES.items():
        target = TARGETS[class_id]
        store.write("predictions", run_id, class_id, predictions(class_id, image_ids))
        rows = [evidence_row(image_id, target, "label", model) for image_id in image_ids]
        store.write("evidence", run_id, class_id, [*rows, evidence_row(image_ids[0], 7, "prediction", model)])
        counts = {"n_images": len(image_ids), "n_errors": 1, "n_correct": len(image_ids) - 1}
        store.write("class_runs", run_id, class_id, [record(class_id, **counts)])
        write_patches(store, run_id, class_id, model)
    store.write("class_runs", run_id, "broken", [record("broken", "failed", error="CUDA <out> of memory")])
    return run_id


def write_patches(store: Store, run_id: str, class_id: str, model: str, *, bonus: float = 0.0) -> None:
    other = next(each for each in IMAGES if each != class_id)
    step = SIDE / N if model == NOMINAL else STRIDE
    side = round(SIDE / N) if model == NOMINAL else PATCH
    rows = []
    for origin, owner in (("class", class_id), ("others", other)):
        for position, image_id in enumerate(IMAGES[owner], 1):
            x, y = round(N // 3 * step), round(N // 2 * step)
            crop = np.ascontiguousarray(drawn(seed_of(image_id))[y : y + side, x : x + side])
            rows.append({
                "target_idx": TARGETS[class_id], "origin": origin, "position": position, "image_id": image_id,
                "image_class_id": owner, "x": x, "y": y, "w": side, "h": side, "is_local": model != NOMINAL,
                "evidence": 40.0 - position + bonus, "crop": picture(crop),
            })  # fmt: skip
    store.write("patches", run_id, class_id, rows)
    means = [
        {
            "target_idx": TARGETS[class_id],
            "origin": origin,
            "n_images": 3,
            "mean_map": map_cell(evidence_map(origin, 1)),
            "map_h": N,
            "map_w": N,
        }
        for origin in ("class", "others")
    ]
    store.write("evidence_means", run_id, class_id, means)


def write_units(store: Store, model: str, *, minute: int = 0, has_projections: bool = True) -> str:
    run_id = f"{model}-units"
    run = {**run_row(run_id, model, IMAGES, minute=minute), "method": "top-activations", "status": "complete"}
    store.write_run(run)
    for class_id, image_ids in IMAGES.items():
        store.write("predictions", run_id, class_id, predictions(class_id, image_ids))
        store.write("class_runs", run_id, class_id, [record(class_id, n_images=len(image_ids))])
    for layer, side in (("conv.10", 40), ("conv.2", 8)):
        store.write("units", run_id, layer, [unit_row(layer, unit) for unit in range(N_UNITS)])
        rows = [row for unit in range(N_UNITS) for row in top_rows(layer, unit, side, has_projections=has_projections)]
        store.write("unit_top", run_id, layer, rows)
    return run_id


def is_dead(unit: int) -> bool:
    return unit % 10 == 7


def unit_row(layer: str, unit: int) -> dict:
    row = {"layer": layer, "unit": unit, "n_images": 7, "dead": is_dead(unit), "act_mean": 0.0, "act_max": 0.0}
    if is_dead(unit):
        return row
    alive = {"act_mean": 1.5, "act_max": 100.0 - unit, "top_class_id": "robin", "top_class_share": 0.75}
    return {**row, **alive, "class_entropy": 0.81}


def top_rows(layer: str, unit: int, side: int, *, has_projections: bool) -> list[dict]:
    if is_dead(unit):
        return []
    rows = []
    for position, image_id in enumerate([*ROBINS, *WRENS], 1):
        row = {
            "layer": layer, "unit": unit, "position": position, "image_id": image_id,
            "image_class_id": "robin" if image_id in ROBINS else "wren", "activation": 100.0 - unit - position,
            "map_y": 1, "map_x": 2, "x": 4, "y": 4, "w": side, "h": side,
        }  # fmt: skip
        if unit < N_SHOWN:
            row["crop"] = picture(np.ascontiguousarray(drawn(seed_of(image_id))[:side, :side]))
            if has_projections:
                noise = np.random.default_rng(unit).integers(100, 156, (side, side, 3)).astype(np.uint8)
                row |= {"projection": picture(noise, "png"), "scale": 1.0}
            else:
                row["error"] = ERROR
        rows.append(row)
    return rows


def write_classes(store: Store) -> Store:
    for index, class_id in enumerate(IMAGES):
        row = {"class_idx": index, "class_name": f"{class_id} & co"}
        store.write("classes", "partbirds", class_id, [row])
    return store


def evidence_store(folder: Path, *models: str) -> Store:
    store = Store(folder)
    for minute, model in enumerate(models):
        write_evidence(store, model, minute=minute)
    return write_classes(store)


def units_store(folder: Path) -> Store:
    store = Store(folder)
    write_units(store, PROJECTED)
    write_units(store, BARE, minute=1, has_projections=False)
    return write_classes(store)
