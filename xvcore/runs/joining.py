"""How far the joining of a run is: it belongs to no class, so its progress goes to whoever has asked for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from xvcore.runs.run import Progress

_told: ContextVar[Progress | None] = ContextVar("told", default=None)


@contextmanager
def told(progress: Progress) -> Iterator[None]:
    """Let what joins classes within this block tell how far it is."""
    token = _told.set(progress)
    try:
        yield
    finally:
        _told.reset(token)


def report(done: int, total: int) -> None:
    """Tell it, if anybody has asked."""
    progress = _told.get()
    if progress:
        progress(done, total)
