"""Where a store is: a folder of a disk or of an object store (any fsspec URL), and what lies there."""

import os
import re
import tarfile
import time
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import fsspec

from xvcore.errors import StoreError, foreign_errors, in_one_line
from xvcore.keys import digest, digest_of_folder

Stamp = tuple[int, ...]
"""Of a file: another one, or other bytes, have another stamp."""
TICK_S = 0.05
"""Age from which a file's times tell whether it was changed: file systems count in steps of up to 10 ms."""
TEMPORARY = ".tmp"
"""Files that are being written end so, and begin with a dot: every reader passes over them."""

MOST_KNOWN = 64
"""Files whose content is kept."""

_TELLING = ("ETag", "etag", "LastModified", "last_modified", "mtime", "updated", "created")
"""What fsspec's file systems call that which changes with a file's bytes."""
_NO_STORE = (
    *(ImportError, ValueError, TypeError, AttributeError, LookupError, NotImplementedError),
    *(zipfile.BadZipFile, tarfile.TarError),
)
"""What fsspec raises at an address that no folder has: of a kind it does not know, that takes more than an address, or
is read otherwise (``data:``, ``reference:``)."""


class Known:
    """What small files held when they were last read, the latest :data:`MOST_KNOWN` of them."""

    def __init__(self) -> None:
        self._found: OrderedDict[str, tuple[Stamp, dict[Any, Any]]] = OrderedDict()
        self._lock = Lock()

    def __reduce__(self) -> tuple[type["Known"], tuple[()]]:
        """Let another process begin with nothing."""
        return Known, ()

    def stamp(self, relative: str) -> Stamp | None:
        """Return the stamp that a file had."""
        with self._lock:
            return self._found[relative][0] if relative in self._found else None

    def of(self, relative: str, stamp: Stamp | None) -> dict[Any, Any]:
        """Return what is known of a file as its stamp says it is, to be read and added to."""
        with self._lock:
            if stamp is None or self._found.get(relative, (None,))[0] != stamp:
                self._found.pop(relative, None)
            if stamp is None:
                return {}
            self._found.setdefault(relative, (stamp, {}))
            self._found.move_to_end(relative)
            while len(self._found) > MOST_KNOWN:
                self._found.popitem(last=False)
            return self._found[relative][1]


class Place:
    """A folder that files are read from and written to by a path relative to it.

    Parameters
    ----------
    url : a path or an fsspec URL (``s3://bucket/folder``, ``gs://…``, ``memory://…``)
    storage_options : for the file system of that URL: credentials, ``endpoint_url`` … What is not given is taken from
        where its library looks for it (``AWS_*``, ``FSSPEC_S3_*`` …)

    Raises
    ------
    StoreError
        No URL at all, none that a folder has, one that holds a password, its file system is unknown, or its library is
        not installed.
    """

    def __init__(self, url: str | Path, **storage_options: Any) -> None:
        if not str(url).strip():
            raise StoreError(f"store {str(url)!r}: expected a folder or a URL")
        if re.match(r"[^/]+://[^/]*:[^/]*@", str(url)):
            raise StoreError(
                "a store's URL with a password would stand in logs and tables: leave it to the environment, or give "
                "storage_options"
            )
        self.url = str(url).rstrip("/") or "/"
        try:
            with self.failures("open"):
                self.filesystem, root = fsspec.core.url_to_fs(self.url, **storage_options)
        except _NO_STORE as error:
            raise StoreError(f"cannot open {self.url}: {type(error).__name__}: {in_one_line(error)}") from error
        protocol = self.filesystem.protocol
        self.is_local = "file" in (protocol if isinstance(protocol, tuple) else (protocol,))
        self.root = str(root).rstrip("/")
        self.known = Known()

    def path(self, relative: str) -> str:
        """Return the path that the file system (for a disk: the operating system) knows."""
        return f"{self.root}/{relative}" if relative else (self.root or "/")

    @contextmanager
    def failures(self, doing: str, relative: str = "") -> Iterator[None]:
        """Turn what a disk or a network can do to us into a ``StoreError`` that names the file and the cause."""
        try:
            yield
        except StoreError:
            raise
        except foreign_errors(OSError) as error:
            what = f"{self.url}/{relative}" if relative else self.url
            raise StoreError(f"cannot {doing} {what}: {type(error).__name__}: {in_one_line(error)}") from error

    def read(self, relative: str) -> bytes | None:
        """Return the bytes of a file; ``None`` where there is none.

        Raises
        ------
        StoreError
            It cannot be read.
        """
        return self.read_unless(relative, None)[0]

    def read_unless(self, relative: str, known: Stamp | None) -> tuple[bytes | None, Stamp | None]:
        """Return the bytes of a file and its stamp; no bytes where it is as ``known``, neither where there is none.

        The stamp tells a file that was written since; it is ``None`` where that cannot be told: in an object store,
        and while a file is so new that a second change would not show in its times. The file is opened in any case: on
        a network's disk that is what asks for its state.

        Raises
        ------
        StoreError
            It cannot be read.
        """
        path = self.path(relative)
        with self.failures("read", relative):
            try:
                if not self.is_local:
                    return self.filesystem.cat_file(path), None
                with Path(path).open("rb") as file:
                    stamp = _stamp(os.fstat(file.fileno()))
                    return (None, stamp) if stamp is not None and stamp == known else (file.read(), stamp)
            except FileNotFoundError:
                return None, None
            except _NO_STORE as error:
                reason = f"{type(error).__name__}: {in_one_line(error)}"
                raise StoreError(f"cannot read {self.url}/{relative}: {reason}") from error

    def has(self, relative: str) -> bool:
        """Return whether a file is there; unlike with fsspec's ``exists``, an unreachable store is an error."""
        path = self.path(relative)
        with self.failures("look for", relative):
            if self.is_local:
                return Path(path).is_file()
            self.filesystem.invalidate_cache(path.rsplit("/", 1)[0])
            try:
                self.filesystem.info(path)
            except FileNotFoundError:
                return False
            return True

    def names(self, relative: str) -> list[str]:
        """Return the names in a folder, sorted, without hidden ones (``.x``, ``_x``); none where it does not exist."""
        path = self.path(relative)
        with self.failures("list", relative):
            try:
                if self.is_local:
                    found = [each.name for each in Path(path).iterdir()]
                else:
                    self.filesystem.invalidate_cache(path)
                    found = [each.rstrip("/").rsplit("/", 1)[-1] for each in self.filesystem.ls(path, detail=False)]
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted(name for name in found if name and not name.startswith((".", "_")))

    def sizes(self, relative: str) -> dict[str, int]:
        """Return the bytes of each file in a folder by its name, without hidden ones; none where it does not exist."""
        path = self.path(relative)
        with self.failures("list", relative):
            try:
                if self.is_local:
                    found = [(each.name, each.stat().st_size) for each in Path(path).iterdir() if each.is_file()]
                else:
                    self.filesystem.invalidate_cache(path)
                    listed = self.filesystem.ls(path, detail=True)
                    found = [
                        (each["name"].rsplit("/", 1)[-1], int(each["size"]))
                        for each in listed
                        if each["type"] == "file"
                    ]
            except (FileNotFoundError, NotADirectoryError):
                return {}
        return {name: size for name, size in sorted(found) if not name.startswith((".", "_"))}

    def state(self) -> str | None:
        """Return a digest that any written or removed file changes; ``None`` where the file system tells no times.

        Raises
        ------
        StoreError
            It cannot be listed.
        """
        with self.failures("list"):
            if self.is_local:
                return digest_of_folder(Path(self.root))
            self.filesystem.invalidate_cache()
            listed = self.filesystem.find(self.root, detail=True)
        told = {name: [str(info[key]) for key in _TELLING if info.get(key)] for name, info in listed.items()}
        sizes = {name: int(info["size"]) for name, info in listed.items()}
        return digest([told, sizes], 64) if all(told.values()) else None

    def remove(self, relative: str) -> None:
        """Remove a file; one that is not there is no error."""
        path = self.path(relative)
        with self.failures("remove", relative):
            if self.is_local:
                Path(path).unlink(missing_ok=True)
            elif self.has(relative):
                self.filesystem.rm_file(path)

    def sweep(self, older_than: float = 86_400.0) -> int:
        """Remove temporary files that a killed writer left on a disk and return how many.

        Parameters
        ----------
        older_than : age in seconds from which a temporary file is nobody's
        """
        if not self.is_local:
            return 0
        oldest, swept = time.time() - older_than, 0
        with self.failures("sweep"):
            for folder, _, files in os.walk(self.root):
                for name in files:
                    path = Path(folder, name)
                    if name.startswith(".") and name.endswith(TEMPORARY) and _age(path) < oldest:
                        path.unlink(missing_ok=True)
                        swept += 1
        return swept


def _stamp(state: os.stat_result) -> Stamp | None:
    """Return what a changed file does not keep; None for one that changed just now."""
    if time.time() - max(state.st_mtime, state.st_ctime) < TICK_S:
        return None
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # its writer has just renamed it
        return float("inf")
