"""The library's lines in the logs of Prefect: from level INFO, with network, class and stage where one is at work."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

LOGGERS = ("xvcore", "flows")
"""What is sent to Prefect beside its own lines: the setting PREFECT_LOGGING_EXTRA_LOGGERS names them too."""
_NAMED = ("xvcore.runs.pipeline", "flows.progress")
"""Loggers whose lines say themselves what they are about."""
_about: ContextVar[str] = ContextVar("about", default="")


class _Where(logging.Filter):
    """Puts before a line of the library what it is about."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record once; keep all."""
        about = _about.get()
        if about and record.name.startswith("xvcore.") and record.name not in _NAMED and not hasattr(record, "about"):
            record.about = about
            record.msg, record.args = f"{about}: {record.getMessage()}", None
        return True


_where = _Where()


def heed() -> None:
    """Let lines from level INFO through where nobody has chosen a level; the root logger's is WARNING."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)


@contextmanager
def about(where: str) -> Iterator[None]:
    """Say in every line of the library what is at work: network, class and stage."""
    # Prefect adds its handlers when a flow starts; filters of a logger would not see the lines of its children.
    for handler in (*logging.getLogger("xvcore").handlers, *logging.getLogger().handlers):
        handler.addFilter(_where)
    token = _about.set(where)
    try:
        yield
    finally:
        _about.reset(token)
