"""The class that comes next: its files are listed and its first pictures decoded while the one at work ends.

So the network need not wait at the border of two classes. What is decoded ahead is bounded as within a class; what
fails is done again when the class's turn comes, which says why.
"""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

from xvcore.data import Batch, ManifestRow, load_batches, manifest
from xvcore.data.pixel_cache import Cached, pixel_cache
from xvcore.runs.run import Run
from xvcore.runs.settings import Settings

logger = logging.getLogger(__name__)


def loaded(run: Run[Any], rows: Sequence[ManifestRow], batch_size: int) -> Iterator[Batch]:
    """Return pictures at the classifier's input size, from the pixel cache where there is one and it has them."""
    preprocessing = run.classifier.preprocessing
    cache = pixel_cache(preprocessing.key())
    pixels = preprocessing.pixels if cache is None else Cached(preprocessing.pixels, cache)
    return load_batches(run.dataset, rows, pixels, batch_size=batch_size)


@contextmanager
def in_turn(run: Run[Any], class_ids: Sequence[str]) -> Iterator[None]:
    """Say in which order classes of a run are worked on inside the block, each as soon as the one before is done."""
    run.memo[in_turn] = dict(pairwise(class_ids))
    try:
        yield
    finally:
        run.memo.pop(in_turn, None)
        _drop(run)


def begin_next(run: Run[Settings], class_id: str) -> None:
    """List the files of the class behind this one, where one is known, and decode its first pictures.

    One whose manifest is written was begun before, and may be done.
    """
    upcoming = run.memo.get(in_turn, {}).get(class_id)
    if upcoming is None or (_Begun in run.memo and run.memo[_Begun].class_id == upcoming):
        return
    if run.store.has("manifest", run.run_id, upcoming):
        return
    _drop(run)
    thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    size = run.spec.batch_size
    # In the caller's context: what is logged of the files belongs to whatever is at work.
    context = copy_context()
    run.memo[_Begun] = _Begun(upcoming, size, thread.submit(context.run, _first, run, upcoming, size))
    thread.shutdown(wait=False)


def listed(run: Run[Settings], class_id: str) -> tuple[ManifestRow, ...] | None:
    """Return the manifest of a class that was begun ahead, None for another."""
    found = _of(run, class_id)
    return found.rows if found else None


def begun(run: Run[Settings], class_id: str, rows: Sequence[ManifestRow]) -> Iterator[Batch] | None:
    """Return the batches of these rows of a class that was begun ahead, once; None for others."""
    found, size = _of(run, class_id), run.spec.batch_size
    if found is None or list(found.rows) != list(rows) or run.memo[_Begun].batch_size != size:
        return None
    del run.memo[_Begun]
    return found.batches


@dataclass(frozen=True, slots=True)
class _Found:
    rows: tuple[ManifestRow, ...]
    batches: Iterator[Batch]


@dataclass(frozen=True, slots=True)
class _Begun:
    """A class at whose beginning a thread is at work, or was."""

    class_id: str
    batch_size: int
    found: Future[_Found]


def _first(run: Run[Settings], class_id: str, batch_size: int) -> _Found:
    rows = manifest(run.dataset, class_id, max_images=run.settings.max_images)
    batches = loaded(run, rows, batch_size)
    first = next(batches, None)
    return _Found(rows, batches if first is None else chain([first], batches))


def _of(run: Run[Settings], class_id: str) -> _Found | None:
    at_work: _Begun | None = run.memo.get(_Begun)
    if at_work is None or at_work.class_id != class_id:
        return None
    error = at_work.found.exception()
    if error is not None:
        logger.debug("%s: could not be begun ahead: %s", class_id, error)
        return None
    return at_work.found.result()


def _drop(run: Run[Any]) -> None:
    """Let go of what was begun ahead and not asked for: the threads that decode it end with its batches."""
    run.memo.pop(_Begun, None)
