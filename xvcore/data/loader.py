"""Batches of decoded images: threads decode ahead while the network works on the batch before."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from xvcore.data.dataset import Dataset, ImageRecord
from xvcore.data.decode import decode
from xvcore.data.faults import patiently
from xvcore.data.manifest import ManifestRow, read_error, sha256_of
from xvcore.data.pixel_cache import Cached, Pixels
from xvcore.errors import ImageError, MomentaryError, ParameterError


@dataclass(frozen=True, slots=True)
class Batch:
    """Some consecutive rows of a manifest, decoded.

    Parameters
    ----------
    images : what the transform made of each image, in pinned memory in a process that works on a GPU; (0, 3, 0, 0)
        where none could be decoded
    image_ids, widths, heights : of each of ``images``; size in pixels of the original picture
    failures : image id and message of each image that could not be decoded

    Examples
    --------
    >>> import torch
    >>> from xvcore.data import Batch
    >>> Batch(torch.rand(1, 3, 8, 8), ["robin.jpg"], [640], [480]).images.shape
    torch.Size([1, 3, 8, 8])
    """

    images: Float[Tensor, "batch 3 height width"]
    image_ids: list[str]
    widths: list[int]
    heights: list[int]
    failures: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Decoded:
    image_id: str
    image: Tensor
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class _Failed:
    image_id: str
    message: str


def load_batches(
    dataset: Dataset,
    rows: Sequence[ManifestRow],
    transform: Callable[[Image.Image], Tensor],
    *,
    batch_size: int,
    n_threads: int | None = None,
) -> Iterator[Batch]:
    """Return the images of a manifest as batches, in the manifest's order.

    Each batch stands for the next ``batch_size`` rows: its images and its failures (a file that cannot be read or
    decoded, or whose SHA-256 is no longer the manifest's). At most two batches and ``n_threads`` images are held
    decoded ahead. Closing the iterator, or dropping it, ends the threads.

    Parameters
    ----------
    dataset : gives the bytes of each row
    rows : what to load; the same image may appear more than once
    transform : picture (RGB) to tensor (3, height, width), of one size for all; called in several threads. What the
        cache of a :class:`~xvcore.data.pixel_cache.Cached` one has is not read from the dataset
    batch_size : rows a batch, at least 1
    n_threads : threads that read and decode, at least 1; None: as many as this process has processors

    Raises
    ------
    ParameterError
        ``batch_size`` or ``n_threads`` is below 1.
    MomentaryError, MemoryShortError
        Memory, open files or a connection of this machine did not suffice, for longer than a moment.
    DataError, Exception
        Whatever the dataset or the transform raises other than OSError (of the dataset) and ImageError.

    Examples
    --------
    >>> from torchvision.transforms.functional import to_tensor
    >>> from xvcore.data import load_batches, manifest, open_dataset
    >>> birds = open_dataset("partbirds?classes=2&images=3")
    >>> rows = manifest(birds, birds.classes[0].class_id, max_images=3)
    >>> [len(batch.images) for batch in load_batches(birds, rows, to_tensor, batch_size=2)]
    [2, 1]
    """
    n_threads = processors() if n_threads is None else n_threads
    if batch_size < 1 or n_threads < 1:
        raise ParameterError(f"batch_size = {batch_size}, n_threads = {n_threads}: expected at least 1 each")
    return _batches(dataset, rows, transform, batch_size, n_threads)


def held_ahead(batch_size: int, n_threads: int | None = None) -> int:
    """Return how many images :func:`load_batches` has read or begun to read before they are asked for."""
    return 2 * batch_size + (processors() if n_threads is None else n_threads)


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on every system; fewer than the machine has, in a container
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _batches(
    dataset: Dataset,
    rows: Sequence[ManifestRow],
    transform: Callable[[Image.Image], Tensor],
    batch_size: int,
    n_threads: int,
) -> Iterator[Batch]:
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="decode")
    upcoming = iter(rows)
    pending: deque[Future[_Decoded | _Failed]] = deque()

    def submit(n_rows: int) -> None:
        pending.extend(pool.submit(_loaded, dataset, row, transform) for row in islice(upcoming, n_rows))

    try:
        submit(held_ahead(batch_size, n_threads))
        while pending:
            results: list[_Decoded | _Failed] = []
            while pending and len(results) < batch_size:
                results.append(pending.popleft().result())
                submit(1)
            yield _batch(results)
    finally:
        pool.shutdown(cancel_futures=True)


def _loaded(dataset: Dataset, row: ManifestRow, transform: Callable[[Image.Image], Tensor]) -> _Decoded | _Failed:
    if row.error is not None:
        return _Failed(row.image_id, row.error)
    cache = transform.cache if isinstance(transform, Cached) else None
    if cache is not None and row.sha256 is not None and (known := cache.find(row.sha256)):
        return _Decoded(row.image_id, known.image, known.width, known.height)
    try:
        record = ImageRecord(row.image_id, row.path, row.class_id)
        data = patiently(lambda: dataset.read(record), row.image_id, row.path)
    except MomentaryError:
        raise
    except (OSError, ImageError) as error:
        return _Failed(row.image_id, read_error(error))
    if row.sha256 is not None and sha256_of(data) != row.sha256:
        return _Failed(
            row.image_id, f"has changed since the manifest: SHA-256 {sha256_of(data)[:12]}…, was {row.sha256[:12]}…"
        )

    def decoded() -> _Decoded:
        picture = decode(data)
        return _Decoded(row.image_id, transform(picture), picture.width, picture.height)

    try:
        found = patiently(decoded, row.image_id)
    except ImageError as error:
        return _Failed(row.image_id, str(error))
    if cache is not None and row.sha256 is not None:
        cache.keep(row.sha256, Pixels(found.image, found.width, found.height))
    return found


def _batch(results: Sequence[_Decoded | _Failed]) -> Batch:
    decoded = [each for each in results if isinstance(each, _Decoded)]
    return Batch(
        images=_stacked([each.image for each in decoded]) if decoded else torch.zeros(0, 3, 0, 0),
        image_ids=[each.image_id for each in decoded],
        widths=[each.width for each in decoded],
        heights=[each.height for each in decoded],
        failures=[(each.image_id, each.message) for each in results if isinstance(each, _Failed)],
    )


def _stacked(images: list[Tensor]) -> Tensor:
    """Return images as one tensor, in memory from which a GPU copies by itself if this process has begun to use one."""
    if not torch.cuda.is_initialized():
        return torch.stack(images)
    first = images[0]
    pinned = torch.empty((len(images), *first.shape), dtype=first.dtype, pin_memory=True)
    return torch.stack(images, out=pinned)
