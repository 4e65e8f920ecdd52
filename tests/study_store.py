"""A store of visual summaries, patches and units of drawn birds whose parts are known: what studies are tried on."""

import json
from pathlib import Path

import numpy as np
from bird_store import NOW, SIDE, box_of, drawn, record, run_row, seed_of

from xvcore.store import Store
from xvcore.store.encode import picture

PARTS = ("tail", "body", "head")
CLASSES = {"robin": "American robin", "wren": "house wren"}
NETWORKS = ("wide", "narrow")
DATASET = "drawn-birds"
N_IMAGES = 8
N_WRONG = 2


def images(class_id: str) -> list[str]:
    return [f"{class_id}_{index:02d}.png" for index in range(N_IMAGES)]


def picture_of(run: dict, image_id: str, class_id: str) -> np.ndarray | None:
    return drawn(seed_of(image_id))


def crop(image_id: str, box: tuple[int, int, int, int]) -> dict:
    x, y, w, h = box
    return picture(np.ascontiguousarray(drawn(seed_of(image_id))[y : y + h, x : x + w]), "png")


def row_of_run(run_id: str, model: str, method: str, minute: int) -> dict:
    env = {"preprocessing": {"input_px": [SIDE, SIDE], "resize_px": None}, "dataset_spec": DATASET, "model_spec": model}
    row = {**run_row(run_id, model, CLASSES, minute=minute), "method": method, "dataset": DATASET}
    return {**row, "status": "complete", "env": env}


def write_annotation(store: Store) -> None:
    for index, (class_id, name) in enumerate(CLASSES.items()):
        rows = [
            {"image_id": image_id, "part": part, **dict(zip("xywh", map(float, box_of(seed_of(image_id), place)), strict=True)),
             "visible": True, "decisive": part != "body"}
            for image_id in images(class_id)
            for place, part in enumerate(PARTS)
        ]  # fmt: skip
        store.write("parts", DATASET, class_id, rows)
        store.write("classes", DATASET, class_id, [{"class_idx": index, "class_name": name}])


def write_predictions(store: Store, run_id: str, class_id: str) -> None:
    rows = [
        {"image_id": each, "width": SIDE, "height": SIDE, "target_idx": 0, "pred_idx": int(place < N_WRONG),
         "prob_target": 0.8, "prob_pred": 0.8, "rank_target": 1, "correct": place >= N_WRONG}
        for place, each in enumerate(images(class_id))
    ]  # fmt: skip
    store.write("predictions", run_id, class_id, rows)
    store.write("class_runs", run_id, class_id, [{**record(class_id, n_images=N_IMAGES), "finished_at": NOW}])


def write_summaries(store: Store, model: str, minute: int) -> str:
    """Two accepted summaries a class, of head and tail, and a rejected cluster of bodies."""
    run_id = f"{model}-summaries"
    store.write_run(row_of_run(run_id, model, "visual-summaries", minute))
    for class_id in CLASSES:
        write_predictions(store, run_id, class_id)
        regions, clusters = [], []
        for cluster, part in enumerate(("head", "tail", "body")):
            for image_id in images(class_id):
                x, y, w, h = box_of(seed_of(image_id), PARTS.index(part))
                regions.append(
                    {"region_id": len(regions), "image_id": image_id, "x": x, "y": y, "w": w, "h": h,
                     "cluster_id": cluster, "is_exemplar": image_id == images(class_id)[0],
                     "sim_exemplar": float(len(regions)), "kept": True, "crop": crop(image_id, (x, y, w, h))}
                )  # fmt: skip
            clusters.append(
                {"cluster_id": cluster, "position": cluster + 1, "n_regions": N_IMAGES, "n_images": N_IMAGES,
                 "accepted": part != "body", "rejected": "coherence" if part == "body" else None}
            )  # fmt: skip
        store.write("regions", run_id, class_id, regions)
        store.write("clusters", run_id, class_id, clusters)
    return run_id


def write_units(store: Store, model: str, minute: int) -> str:
    """Three units a layer, each of a part; half of their activations are projected."""
    run_id = f"{model}-units"
    store.write_run(row_of_run(run_id, model, "top-activations", minute))
    for class_id in CLASSES:
        write_predictions(store, run_id, class_id)
    for layer in ("conv1", "conv2"):
        rows = []
        for unit, part in enumerate(PARTS):
            for position, image_id in enumerate([*images("robin"), *images("wren")], 1):
                x, y, w, h = box_of(seed_of(image_id), PARTS.index(part))
                cut = crop(image_id, (x, y, w, h))
                rows.append(
                    {"layer": layer, "unit": unit, "position": position, "image_id": image_id,
                     "image_class_id": image_id.partition("_")[0], "activation": 20.0 - position, "map_y": 0, "map_x": 0,
                     "x": x, "y": y, "w": w, "h": h, "crop": cut, "projection": cut if position <= 12 else None}
                )  # fmt: skip
        store.write("unit_top", run_id, layer, rows)
    return run_id


def write_patches(store: Store, model: str, minute: int) -> str:
    """Heads speak loudest for a class, bodies of the other class too."""
    run_id = f"{model}-evidence"
    store.write_run(row_of_run(run_id, model, "evidence", minute))
    for class_id in CLASSES:
        write_predictions(store, run_id, class_id)
        other = next(each for each in CLASSES if each != class_id)
        rows = []
        for origin, owner, part in (("class", class_id, 2), ("others", other, 1)):
            for position, image_id in enumerate(images(owner), 1):
                x, y, w, h = box_of(seed_of(image_id), part)
                rows.append(
                    {"target_idx": 0, "origin": origin, "position": position, "image_id": image_id,
                     "image_class_id": owner, "x": x, "y": y, "w": w, "h": h, "is_local": True,
                     "evidence": 9.0 - position, "crop": crop(image_id, (x, y, w, h))}
                )  # fmt: skip
        store.write("patches", run_id, class_id, rows)
    return run_id


def write_prototypes(store: Store, model: str, minute: int) -> str:
    """Two prototypes, of heads and of tails."""
    run_id = f"{model}-prototypes"
    store.write_run(row_of_run(run_id, model, "prototypes", minute))
    for class_id in CLASSES:
        write_predictions(store, run_id, class_id)
    rows = []
    for prototype, part in enumerate((2, 0)):
        for position, image_id in enumerate([*images("robin"), *images("wren")], 1):
            x, y, w, h = box_of(seed_of(image_id), part)
            rows.append(
                {"side": "positive", "prototype": prototype, "position": position, "image_id": image_id,
                 "image_class_id": image_id.partition("_")[0], "value": 5.0, "x": x, "y": y, "w": w, "h": h,
                 "field_x": x, "field_y": y, "field_w": w, "field_h": h, "crop": crop(image_id, (x, y, w, h))}
            )  # fmt: skip
    store.write("prototypes", run_id, "positive", rows)
    return run_id


def write_store(folder: Path) -> Store:
    """Summaries of two networks."""
    store = Store(folder)
    write_annotation(store)
    for minute, model in enumerate(NETWORKS):
        write_summaries(store, model, minute)
    return store


def write_every_family(folder: Path) -> Store:
    store = write_store(folder)
    write_units(store, "wide", 2)
    write_patches(store, "wide", 3)
    write_prototypes(store, "wide", 4)
    return store


def data_of(path: Path) -> dict:
    """Return what the script of a study's file reads."""
    text = path.read_text()
    start = text.index('id="data">') + len('id="data">')
    return json.loads(text[start : text.index("</script>", start)])
