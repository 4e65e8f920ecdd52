"""Stage *cache*: the last map of the frozen network for every image, computed once; images → features."""

from typing import Any

import numpy as np
import pyarrow as pa
import torch

from xvcore.data.manifest import sha256_of as sha256_of_bytes
from xvcore.errors import DamagedError, StoreError
from xvcore.keys import digest
from xvcore.models import laid_out
from xvcore.parameters import as_dict
from xvcore.prototypes.method.feature_map import FeatureMap, feature_map
from xvcore.runs.images import batches, passed_images
from xvcore.runs.run import Progress, Run

VERSION = 2
"""Counted up whenever a change of the code moves the features, or how they are stored."""
STORED = np.dtype("<f2")
"""How values are stored: bytes, since as a list every one of them would have two levels of its own in Parquet."""
SCHEMA = pa.schema({"image_id": pa.string(), "sha256": pa.string(), "features": pa.binary(), "digest": pa.string()})
_maps: dict[str, FeatureMap] = {}


def map_of(run: Run[Any]) -> FeatureMap:
    """Return the last map of the run's network; it is looked for once a network."""
    key = f"{run.classifier.architecture.identity} {run.classifier.weights_sha256} {run.size}"
    if key not in _maps:
        _maps[key] = feature_map(run.classifier)
    return _maps[key]


def cache_id(run: Run[Any]) -> str:
    """Return the name of the cache: digest of network, what it is fed with, the layer, and the dataset."""
    classifier = run.classifier
    identity = {
        "architecture": classifier.architecture.identity,
        "weights_sha256": classifier.weights_sha256,
        "state": classifier.state,
        "preprocessing": str(classifier.preprocessing),
        "feature_map": as_dict(map_of(run)),
        "dataset": run.dataset.name,
        "split": run.dataset.split,
        "version": VERSION,
    }
    return f"features-{digest(identity)}"


def cache(run: Run[Any], class_id: str, progress: Progress | None = None) -> int:
    """Add what is missing to the cached ``features`` of a class, and return the number of images computed now.

    An image counts as cached when a row has its id, the SHA-256 of its file, and values whose digest is as written.
    """
    wanted = sha256_of(run, class_id)
    rows = {each["image_id"]: each for each in _valid(run, class_id) if each["sha256"] == wanted.get(each["image_id"])}
    missing = [image_id for image_id in wanted if image_id not in rows]
    if not missing and rows:
        return 0
    found, n_done = map_of(run), 0
    for batch in batches(run, class_id, missing) if missing else ():
        with torch.inference_mode():
            maps, _ = found.maps(run.classifier.network, run.classifier.logits, laid_out(run.classifier, batch.images))
        values = maps.flatten(2).transpose(1, 2).half().flatten(1).cpu().numpy()
        for image_id, each in zip(batch.image_ids, values.astype(STORED, copy=False), strict=True):
            if not np.isfinite(each).all():
                raise StoreError(f"features of {image_id} are beyond what 16 bits can hold (±65504)")
            held = each.tobytes()
            rows[image_id] = {
                "image_id": image_id,
                "sha256": wanted[image_id],
                "features": held,
                "digest": sha256_of_bytes(held),
            }
        n_done += len(batch.image_ids)
        if progress:
            progress(n_done, len(missing))
    table = pa.Table.from_pylist([rows[image_id] for image_id in sorted(rows)], SCHEMA)
    run.store.write("features", cache_id(run), class_id, table)
    return n_done


def features_of(run: Run[Any], class_id: str) -> tuple[list[str], np.ndarray, list[str]]:
    """Return ids, features (images, positions, channels; float16) and digests of the images of a class, by id.

    Raises
    ------
    StoreError
        An image is not cached as it should be.
    """
    wanted, found = sha256_of(run, class_id), map_of(run)
    shape = (-1, found.rows * found.columns, found.n_channels)
    valid = {each["image_id"]: each for each in _valid(run, class_id)}
    lost = [each for each, sha256 in wanted.items() if each not in valid or valid[each]["sha256"] != sha256]
    if lost:
        raise StoreError(f"no features of {lost[0]} in {cache_id(run)}: run the class again, they are made anew")
    names = sorted(wanted)
    values = np.frombuffer(b"".join(valid[name]["features"] for name in names), STORED)
    return names, values.astype(np.float16).reshape(shape), [valid[name]["digest"] for name in names]


def sha256_of(run: Run[Any], class_id: str) -> dict[str, str | None]:
    """Return the SHA-256 of the file of each image of a class that is looked at, in the order of the manifest."""
    passed = set(passed_images(run, class_id))
    rows = run.store.read("predictions", run.run_id, class_id, columns=["image_id", "sha256"])
    pairs = zip(rows["image_id"], rows["sha256"], strict=True)
    return {name: value for name, value in pairs if name in passed}


def _valid(run: Run[Any], class_id: str) -> list[dict[str, Any]]:
    """Return the cached rows of a class whose values have their digest."""
    name = cache_id(run)
    if not run.store.has("features", name, class_id):
        return []
    try:
        rows = run.store.read_arrow("features", name, class_id)
    except DamagedError:
        return []  # made anew
    found: list[dict[str, Any]] = rows.select(SCHEMA.names).to_pylist()
    return [row for row in found if sha256_of_bytes(row["features"]) == row["digest"]]
