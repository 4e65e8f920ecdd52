"""The one writer: a file appears under its name whole, or not at all.

An exception inside an open Parquet writer, or inside an open file of an object store, leaves a valid but truncated
file. So nothing is ever streamed to its final name: on a disk a temporary file beside it is completed, forced to the
disk and renamed; an object store gets one upload of finished bytes.
"""

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xvcore.store.place import TEMPORARY, Place


def put(place: Place, relative: str, data: bytes) -> None:
    """Write a file, or replace one.

    Raises
    ------
    StoreError
        It cannot be written (no room, no right, no connection); what was there before is untouched.
    """
    if place.is_local:
        with replacing(place, relative) as temporary:
            temporary.write_bytes(data)
        return
    with place.failures("write", relative):
        place.filesystem.pipe_file(place.path(relative), data)


@contextmanager
def replacing(place: Place, relative: str) -> Iterator[Path]:
    """Yield a local temporary file to fill; it takes its name when the block ends without an exception.

    For files too large for the memory. The temporary file is removed in any case.
    """
    with place.failures("write", relative):
        if place.is_local:
            with _renamed(Path(place.path(relative))) as temporary:
                yield temporary
            return
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder, "file")
            yield temporary
            place.filesystem.put_file(str(temporary), place.path(relative))


@contextmanager
def _renamed(final: Path) -> Iterator[Path]:
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.parent / f".{uuid.uuid4().hex}{TEMPORARY}"
    try:
        yield temporary
        _force_to_disk(temporary)
        temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)
    _force_to_disk(final.parent)


def _force_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
