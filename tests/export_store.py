"""A small store of two families, with names and cells that formats stumble over."""

from pathlib import Path

import numpy as np
from bird_store import HOSTILE, NOW, drawn, record, run_row, seed_of, write_store

from xvcore.store import Store
from xvcore.store.encode import map_cell, picture

LOST = "torn.jpg"
"""The image of which there is no picture."""
EVIDENCE = "evidence-run"


def picture_of(run: dict, image_id: str, class_id: str) -> np.ndarray | None:
    return None if image_id == LOST else drawn(seed_of(image_id))


def write_export_store(folder: Path) -> Store:
    """Two runs of visual summaries and one of evidence, on images of the same ids."""
    store = write_store(folder)
    store.write_run({**run_row(EVIDENCE, "bagnet", [HOSTILE], minute=2), "method": "evidence", "finished_at": NOW})
    names = ["a/b c#1?.png", 'quo"te', "plain_1.JPEG"]
    predictions = [
        {"image_id": name, "path": "" if place else None, "sha256": f"{place:064x}", "prob_target": 0.1 + place / 3}
        for place, name in enumerate(names)
    ]
    store.write("predictions", EVIDENCE, HOSTILE, predictions)
    maps = np.random.default_rng(0).normal(0, 9, (2, 5, 7))
    shared = {"target_idx": 1, "target_kind": "label", "resolution": "decision"}
    rows = [
        {
            **shared,
            "image_id": name,
            "evidence_map": map_cell(values),
            "map_h": 5,
            "map_w": 7,
            "logit": float(values.mean()),
        }
        for name, values in zip(names, maps, strict=False)
    ]
    store.write("evidence", EVIDENCE, HOSTILE, [*rows, {**shared, "image_id": names[2], "error": 'no, "no"\nmap'}])
    patch = {"target_idx": 1, "origin": "class", "image_id": names[0], "image_class_id": HOSTILE, "is_local": True}
    box = {"x": -3, "y": 4, "w": 17, "h": 17, "evidence": 1 / 3}
    crop = picture(np.full((17, 17, 3), 90, np.uint8))
    store.write(
        "patches", EVIDENCE, HOSTILE, [{**patch, **box, "position": 1, "crop": crop}, {**patch, **box, "position": 2}]
    )
    store.write("class_runs", EVIDENCE, HOSTILE, [record(HOSTILE)])
    return store
