"""Faults of the machine while a file is read: tried again a little, then raised; never taken for the image's own."""

import errno
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from xvcore.errors import MemoryShortError, MomentaryError

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

PAUSES: Final = (0.1, 0.4, 1.5)
"""Seconds before it is tried again."""

_MOMENTARY = frozenset(
    getattr(errno, name)
    for name in (
        *("EMFILE", "ENFILE", "ENOMEM", "ENOBUFS", "EAGAIN", "EINTR", "EBUSY", "EDEADLK", "ENOLCK"),
        *("ESTALE", "ETIMEDOUT", "ETIME", "EREMOTEIO", "ENOLINK", "ECOMM", "EPROTO", "ENODEV", "ENXIO", "ENOTCONN"),
        *("ECONNABORTED", "ECONNREFUSED", "ECONNRESET", "ESHUTDOWN", "EPIPE", "EHOSTDOWN", "EHOSTUNREACH"),
        *("ENETDOWN", "ENETUNREACH", "ENETRESET", "ENOKEY", "EKEYEXPIRED"),
    )
    if hasattr(errno, name)
)
_NETWORK = (
    "nfs",
    "cifs",
    "smb",
    "ceph",
    "lustre",
    "gpfs",
    "beegfs",
    "gluster",
    "afs",
    "9p",
    "fuse",
    "ncp",
    "coda",
    "pvfs",
)
"""How the kinds of file systems begin that lie behind a network; with ``fuse``, most of which do."""


def patiently(read: Callable[[], Result], what: str, path: str = "") -> Result:
    """Return what ``read`` returns; where the machine fails for a moment, it is tried again a few times.

    Parameters
    ----------
    read : reads, or decodes, a file
    what : the file, for the message
    path : where it lies, where it is a file: an input/output error is the disk's own, but a network's for a moment

    Raises
    ------
    MomentaryError, MemoryShortError
        Files or connections, or memory, did not suffice each time.
    Exception
        Whatever else ``read`` raises, at once.
    """
    for pause in PAUSES:
        try:
            return read()
        except (MemoryError, OSError) as error:
            if isinstance(error, OSError) and not is_momentary(error, path):
                raise
            logger.warning("%s: %s; tried again", what, _reason(error))
        time.sleep(pause)
    try:
        return read()
    except MemoryError as error:
        short = str(error) if isinstance(error, MemoryShortError) else "the memory of this machine does not suffice"
        raise MemoryShortError(f"{what}: {short}; no fault of the image, the next run tries it again") from error
    except OSError as error:
        if not is_momentary(error, path):
            raise
        tries = f"{len(PAUSES) + 1} tries"
        raise MomentaryError(
            f"{what} cannot be read now: {_reason(error)} ({tries}); no fault of the image, the next run tries it again"
        ) from error


def is_momentary(error: OSError, path: str = "") -> bool:
    """Say whether an error is of the machine or of a network, so that the same file may well be read a moment later."""
    if isinstance(error, MomentaryError | TimeoutError | ConnectionError | BlockingIOError | InterruptedError):
        return True
    return error.errno in _MOMENTARY or (error.errno == errno.EIO and is_on_network(path))


def is_on_network(path: str) -> bool:
    """Say whether a file lies behind a network; False where this system does not tell."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    if not path:
        return False
    kinds = {line.split()[4]: line.split(" - ", 1)[1].split()[0] for line in lines if " - " in line}
    place = Path(path).resolve()
    mounted = (kinds[str(each)] for each in (place, *place.parents) if str(each) in kinds)
    return next(mounted, "").startswith(_NETWORK)


def _reason(error: MemoryError | OSError) -> str:
    reason = error.strerror if isinstance(error, OSError) else None
    return reason or str(error) or ("short of memory" if isinstance(error, MemoryError) else type(error).__name__)
