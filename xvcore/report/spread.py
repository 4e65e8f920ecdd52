"""Pages of many classes: written one class after the other, by several processes where there are enough."""

import logging
import multiprocessing
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final

from xvcore.errors import XvError
from xvcore.report.chapters import Topic
from xvcore.report.draft import Draft
from xvcore.report.site import Site

logger = logging.getLogger(__name__)
TOPICS_EACH: Final = 16
"""Classes for which a further process is begun: starting it costs some seconds, and their pages about as much."""
PARTS_EACH: Final = 8
"""Parts that each process gets, one after the other: the last of them end at about the same time."""
SECONDS_BETWEEN: Final = 10.0
"""Between two lines of the log that say how far it is."""

Write = Callable[[Draft, Topic], None]


@dataclass(frozen=True)
class _Left:
    """What classes left in a draft: see :class:`~xvcore.report.draft.Draft`."""

    cards: dict[str, Any]
    shown: dict[str, set[str]]
    unsettled: set[str]
    written: int
    unchanged: int


def check_processes(processes: int, *sources: object) -> None:
    """Refuse a number of processes that there cannot be, and sources that several cannot have.

    Parameters
    ----------
    processes : that write pages
    sources : what each of them must have

    Raises
    ------
    XvError
        Fewer than one; or several, and a source that cannot be handed to another process.
    """
    if processes < 1:
        raise XvError(f"processes: expected 1 or more, not {processes}")
    for source in sources if processes > 1 else ():
        try:
            pickle.dumps(source)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise XvError(
                f"{processes} processes cannot share {source!r} ({error}): expected a function or an object of a "
                "module, or one process"
            ) from error


def spread(draft: Draft, write: Write, topics: Sequence[Topic], what: str) -> None:
    """Write the pages of classes, and leave in the draft what they leave there, in the order of the classes.

    Parameters
    ----------
    draft : where to
    write : writes the pages of one class; of several processes each has it, and a draft, of its own
    topics : the classes
    what : the pages are of, for the log
    """
    said = time.monotonic()
    for done, _ in enumerate(_each(draft, write, topics), start=1):
        if time.monotonic() - said >= SECONDS_BETWEEN:
            said = time.monotonic()
            logger.info("report: %s: %d of %d classes", what, done, len(topics))


def _each(draft: Draft, write: Write, topics: Sequence[Topic]) -> Iterator[None]:
    """Write the pages of each class, and yield when they are written."""
    processes = min(draft.processes, len(topics) // TOPICS_EACH)
    if processes < 2:
        for topic in topics:
            write(draft, topic)
            yield
        return
    size = -(-len(topics) // (processes * PARTS_EACH))
    parts = [topics[first : first + size] for first in range(0, len(topics), size)]
    own = replace(draft, site=Site(draft.site.folder), cards={}, shown={}, unsettled=set(), processes=1)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _begin, (own, write)) as pool:
        for part, left in zip(parts, pool.map(_write, parts), strict=True):
            draft.cards.update(left.cards)
            draft.unsettled.update(left.unsettled)
            for folder, pictures in left.shown.items():
                draft.shown.setdefault(folder, set()).update(pictures)
            draft.site.written += left.written
            draft.site.unchanged += left.unchanged
            yield from (None for _ in part)


_begun: list[tuple[Draft, Write]] = []
"""Of a further process: what it was given at its start."""


def _begin(draft: Draft, write: Write) -> None:
    _begun.append((draft, write))


def _write(topics: Sequence[Topic]) -> _Left:
    """Write the pages of some classes in a further process."""
    ((given, write),) = _begun
    draft = replace(given, site=Site(given.site.folder), cards={}, shown={}, unsettled=set())
    for topic in topics:
        write(draft, topic)
    return _Left(dict(draft.cards), draft.shown, draft.unsettled, draft.site.written, draft.site.unchanged)
