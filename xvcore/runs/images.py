"""Pictures of a class as batches at the classifier's input size: what several stages read again."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import torch
from torch import Tensor

from xvcore.data import Batch, ManifestRow, manifest
from xvcore.data.loader import held_ahead
from xvcore.data.pixel_cache import exact_bytes
from xvcore.errors import ImageError
from xvcore.runs.ahead import begin_next, begun, listed, loaded
from xvcore.runs.run import Run
from xvcore.runs.settings import Settings

IMAGES_OF_A_CLASS = 2**24
"""Image numbers of a class start at its place in the dataset times this."""
KEPT_BYTES = 2**28
"""Most bytes of decoded pictures that a class keeps from stage to stage: 1780 of 224 x 224 pixels."""
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
        seen = listed(run, class_id) or manifest(run.dataset, class_id, max_images=run.settings.max_images)
        rows = [{**{name: getattr(row, name) for name in ManifestRow.__slots__}, **run.keys(class_id)} for row in seen]
        run.store.write("manifest", run.run_id, class_id, rows)
    return [
        ManifestRow(
            image_id=row["image_id"],
            path=row["path"],
            class_id=class_id,
            sha256=row["sha256"],
            n_bytes=row["n_bytes"],
            error=row["error"],
        )
        for row in run.store.read_arrow("manifest", run.run_id, class_id).to_pylist()
    ]


def image_numbers(run: Run[Any], class_id: str) -> dict[str, int]:
    """Return a number for each image of a class, unique in the dataset, which does not depend on what else is run."""
    start = run.class_number(class_id) * IMAGES_OF_A_CLASS
    return {row.image_id: start + index for index, row in enumerate(frozen_manifest(run, class_id))}


def passed_images(run: Run[Settings], class_id: str) -> list[str]:
    """Return the ids of the images of a class that could be read and passed the gate."""
    predictions = run.store.read_arrow("predictions", run.run_id, class_id, ["image_id", "skipped", "error"])
    passed = pc.and_(predictions["error"].is_null(), predictions["skipped"].is_null())
    image_ids: list[str] = predictions["image_id"].filter(passed).to_pylist()
    return image_ids


def batches(
    run: Run[Settings], class_id: str, image_ids: Sequence[str] | None = None, *, are_read_again: bool = True
) -> Iterator[Batch]:
    """Yield the pictures of a class (or those named) in the manifest's order, decoded ahead in threads.

    Where stages behind this one will read them again (``are_read_again``), they are kept.

    Raises
    ------
    ImageError
        One of those named can no longer be read; an earlier stage could.
    """
    rows = frozen_manifest(run, class_id)
    if image_ids is not None:
        wanted = set(image_ids)
        rows = [row for row in rows if row.image_id in wanted]
    kept = run.memo.get(DecodedClass)
    if kept is None or kept.class_id != class_id:
        kept = run.memo[DecodedClass] = DecodedClass(class_id)
    size = run.spec.batch_size
    if kept.has(rows):
        yield from (kept.batch(rows[first : first + size]) for first in range(0, len(rows), size))
        return
    by_id = {row.image_id: row for row in rows}
    n_left = len(rows)
    for batch in begun(run, class_id, rows) or loaded(run, rows, size):
        n_left -= len(batch.image_ids) + len(batch.failures)
        if image_ids is not None:
            for image_id, message in batch.failures:
                raise could_read(run, image_id, message)
        elif n_left <= held_ahead(size):
            begin_next(run, class_id)
        if are_read_again:
            kept.take(batch, by_id)
        yield batch


def could_read(run: Run[Settings], image_id: str, message: str) -> ImageError:
    """Return the error of an image that can no longer be read."""
    return ImageError(f"{image_id}: {message} (an earlier stage of run {run.run_id} could read it)")


class DecodedClass:
    """The pictures of the class at work, which one stage after the other looks at: each is decoded once.

    Kept as bytes where these are the picture exactly; if they are more than :data:`KEPT_BYTES`, none is kept.
    """

    def __init__(self, class_id: str) -> None:
        self.class_id = class_id
        self._found: dict[ManifestRow, tuple[Tensor, int, int]] = {}
        self._n_bytes = 0

    def has(self, rows: Sequence[ManifestRow]) -> bool:
        """Say whether all of these pictures are kept."""
        return self._n_bytes <= KEPT_BYTES and all(row in self._found for row in rows)

    def take(self, batch: Batch, rows: Mapping[str, ManifestRow]) -> None:
        """Keep the pictures of a batch; ``rows`` are those of the manifest, by image id."""
        for image_id, image, width, height in zip(
            batch.image_ids, batch.images, batch.widths, batch.heights, strict=True
        ):
            if self._n_bytes > KEPT_BYTES or rows[image_id] in self._found:
                continue
            in_bytes = exact_bytes(image)
            kept = image.clone() if in_bytes is None else in_bytes
            self._found[rows[image_id]] = kept, width, height
            self._n_bytes += kept.nbytes
            if self._n_bytes > KEPT_BYTES:
                self._found.clear()

    def batch(self, rows: Sequence[ManifestRow]) -> Batch:
        """Return pictures that are kept as a batch."""
        found = [self._found[row] for row in rows]
        images = [image.float() / 255 if image.dtype == torch.uint8 else image for image, _, _ in found]
        widths, heights = [width for _, width, _ in found], [height for _, _, height in found]
        return Batch(torch.stack(images), [row.image_id for row in rows], widths, heights)


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
