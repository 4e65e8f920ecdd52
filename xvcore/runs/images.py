"""Pictures of a class as batches at the classifier's input size: what several stages read again."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from xvcore.data import Batch, ManifestRow, load_batches, manifest
from xvcore.errors import ImageError
from xvcore.runs.run import Run
from xvcore.runs.settings import Settings

IMAGES_OF_A_CLASS = 2**24
"""Image numbers of a class start at its place in the dataset times this."""
COPY = "copy of "
"""How ``predictions.skipped`` begins for an image that shows the same as another one of its class."""


def are_copies(skipped: pd.Series) -> pd.Series:
    """Say of each image whether it is a copy, by why it was left out."""
    return skipped.astype("string").str.startswith(COPY).fillna(value=False).astype(bool)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as mappings from column to value."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def frozen_manifest(run: Run[Settings], class_id: str) -> list[ManifestRow]:
    """Return what the run sees of a class: image id, path and SHA-256; written once, and from then on it decides."""
    if not run.store.has("manifest", run.run_id, class_id):
        seen = manifest(run.dataset, class_id, max_images=run.settings.max_images)
        rows = [{**dataclasses.asdict(row), **run.keys(class_id)} for row in seen]
        run.store.write("manifest", run.run_id, class_id, rows)
    return [
        ManifestRow(
            image_id=row["image_id"],
            path=row["path"],
            class_id=class_id,
            sha256=row["sha256"],
            n_bytes=None if pd.isna(row["n_bytes"]) else int(row["n_bytes"]),
            error=row["error"],
        )
        for row in records(run.store.read("manifest", run.run_id, class_id))
    ]


def image_numbers(run: Run[Any], class_id: str) -> dict[str, int]:
    """Return a number for each image of a class, unique in the dataset, which does not depend on what else is run."""
    start = run.class_number(class_id) * IMAGES_OF_A_CLASS
    return {row.image_id: start + index for index, row in enumerate(frozen_manifest(run, class_id))}


def passed_images(run: Run[Settings], class_id: str) -> list[str]:
    """Return the ids of the images of a class that could be read and passed the gate."""
    predictions = run.store.read("predictions", run.run_id, class_id, columns=["image_id", "skipped", "error"])
    return list(predictions.loc[predictions["error"].isna() & predictions["skipped"].isna(), "image_id"])


def batches(run: Run[Settings], class_id: str, image_ids: Sequence[str] | None = None) -> Iterator[Batch]:
    """Yield the pictures of a class (or those named) in the manifest's order, decoded ahead in threads.

    Raises
    ------
    ImageError
        One of those named can no longer be read; an earlier stage could.
    """
    rows = frozen_manifest(run, class_id)
    if image_ids is not None:
        wanted = set(image_ids)
        rows = [row for row in rows if row.image_id in wanted]
    for batch in load_batches(run.dataset, rows, run.classifier.preprocessing.pixels, batch_size=run.spec.batch_size):
        if image_ids is not None:
            for image_id, message in batch.failures:
                raise ImageError(f"{image_id}: {message} (an earlier stage of run {run.run_id} could read it)")
        yield batch


def pictures(run: Run[Settings], class_id: str, image_ids: Sequence[str]) -> Tensor:
    """Return named pictures of a class as one tensor (images, 3, height, width) in [0, 1] on the CPU, in that order.

    Raises
    ------
    ImageError
        One of them can no longer be read; an earlier stage could.
    """
    if not image_ids:
        return torch.zeros(0, 3, *run.size)
    found: dict[str, Tensor] = {}
    for batch in batches(run, class_id, image_ids):
        found.update(zip(batch.image_ids, batch.images, strict=True))
    return torch.stack([found[image_id] for image_id in image_ids])


def as_bytes(images: Tensor) -> np.ndarray:
    """Return pictures in [0, 1] (…, 3, height, width) as uint8 (…, height, width, 3)."""
    return np.ascontiguousarray(images.mul(255).round().clamp(0, 255).to(torch.uint8).movedim(-3, -1).cpu().numpy())
