"""Errors of the library: each names the value seen and the values allowed."""

import sys
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

# Errors of the libraries beneath fsspec that are no OSError; looked up only where the library is loaded.
_FOREIGN_ERRORS = (
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("aiohttp.client_exceptions", "ClientError"),
    ("gcsfs.retry", "HttpError"),
)


class XvError(Exception):
    """Whatever a caller can set right: bad input, a missing file, an impossible request."""


class ParameterError(XvError, ValueError):
    """A parameter is unknown, of the wrong type, or outside its bounds."""


class UnknownNameError(XvError, KeyError):
    """A name that is not registered; the message lists the known ones."""

    def __str__(self) -> str:
        return str(self.args[0])


class ImageError(XvError):
    """A file that is not a picture we can or may decode."""


class DataError(XvError):
    """A dataset that is absent, empty or laid out in another way than its kind says."""


class WeightsError(XvError):
    """A weights file that does not fit its architecture."""


class LabelError(XvError):
    """It cannot be told which output of the network stands for a class of the dataset."""


class QueryError(XvError):
    """An SQL query that cannot be answered, or that asks for more than an answer."""


class ClassesFailedError(XvError):
    """Classes of a run have failed; what the others gave is kept.

    Parameters
    ----------
    message : of the error
    reasons : why, by class id; empty where that is in the message alone
    """

    def __init__(self, message: str, reasons: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.reasons = dict(reasons or {})


class ExportError(XvError):
    """Results that cannot be written for another tool: no room for them, nothing to write, a package is missing."""


class StoreError(XvError):
    """A store that cannot be read or written, or rows that do not fit their table."""


class DamagedError(StoreError):
    """A file of a store that is broken, or is not what belongs where it lies; it can be made again."""


class MomentaryError(XvError, OSError):
    """Open files or a connection ran out: no fault of what was asked for, and the same again may succeed."""


class MemoryShortError(XvError, MemoryError):
    """The memory of the machine does not suffice: no fault of what was asked for."""


def unknown_name(kind: str, seen: str, known: Iterable[str]) -> UnknownNameError:
    """Return the error for a name that is not among the known ones, with the nearest of them.

    A name is also near by what follows its last slash: ``resnet26`` is near to ``timm/resnet26``.

    Parameters
    ----------
    kind : what the name should name, e.g. ``"dataset"``
    seen : the name given
    known : every name allowed
    """
    names = sorted(known)
    by_form = {form: name for name in reversed(names) for form in (name.rpartition("/")[2], name)}
    close = list(dict.fromkeys(by_form[form] for form in get_close_matches(seen, by_form, n=3, cutoff=0.5)))
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    shown = ", ".join(names[:40]) + (", …" if len(names) > 40 else "")
    return UnknownNameError(f"unknown {kind} {seen!r}{hint} (known: {shown})")


def in_one_line(error: Exception | str) -> str:
    """Return the message of an error without line breaks; messages end up in tables and on one line of a terminal."""
    return " ".join(str(error).split())


def foreign_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """Return ``others``, and what access by URL may raise beside OSError, of the libraries that are loaded."""
    found = (getattr(sys.modules[module], name) for module, name in _FOREIGN_ERRORS if module in sys.modules)
    return (*others, *found)
