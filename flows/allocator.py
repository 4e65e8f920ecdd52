"""Memory that tensors gave back stays with the process: on glibc they otherwise pay for it again after every layer."""

import ctypes
import functools
import logging
import os
import time
from collections.abc import Callable
from typing import Final

logger = logging.getLogger(__name__)
Report = Callable[[int, int], None]
"""Is called with items done and their total."""

SWITCH: Final = "XV_KEEP_MEMORY"
"""Variable of the environment: ``0`` leaves the allocator as it is."""
TOP_PAD_BYTES: Final = 256 << 20
"""What is asked of the kernel beyond what is needed; pages that are never written cost nothing."""
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_NEVER = 2**31 - 1


@functools.cache
def keep_memory() -> bool:
    """Let glibc keep what is freed, for the rest of this process, and return whether that was done.

    By default glibc maps each block above 32 MiB at most (128 kB at first) by itself and unmaps it when it is freed;
    the tensors of a network's layers are such blocks, so each forward pass pays for all its pages anew, as page faults.
    Without mappings and without trimming they are reused. The process keeps the most that it ever needed. Where the C
    library is another one nothing happens. It is for processes that xv starts, not for the import of the library: what
    a notebook does with its memory is its own affair.

    Source: the GNU C Library's manual, "Malloc Tunable Parameters" (M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD).
    """
    library = _glibc()
    if os.environ.get(SWITCH, "1") == "0" or library is None:
        return False
    wanted = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: _NEVER, _M_TOP_PAD: TOP_PAD_BYTES}
    refused = [number for number, value in wanted.items() if library.mallopt(number, value) != 1]
    if refused:
        logger.warning("glibc's allocator did not take the parameters %s of mallopt", refused)
    return not refused


def giving_back(progress: Report, seconds: float = 10.0) -> Report:
    """Return a progress that gives back now and then what the process keeps and does not use.

    For work of many shapes, after which holes of one size are of no use to the next: pictures of all units of a network
    leave five times as much free as is used.

    Parameters
    ----------
    progress : is told how far the work is
    seconds : between two times, each of which costs some tenths of a second
    """
    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        progress(done, total)
        if keep_memory() and time.monotonic() - last >= seconds:
            library = _glibc()
            if library is not None:
                library.malloc_trim(0)
            last = time.monotonic()

    return tell


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # no such library to speak to, on systems other than Unix
        return None
    return library if hasattr(library, "gnu_get_libc_version") else None
