"""Names that are digests: equal inputs, equal name; any change that could move a number, another name. And paths."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from xvcore.errors import XvError

LETTERS = 300
"""Of a path that is shown in a message."""


def canonical(value: Any) -> str:
    """Return JSON with sorted keys and no white space; NaN and infinity are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def digest(value: Any, length: int = 12) -> str:
    """Return the first ``length`` hexadecimal digits of the SHA-256 of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:length]


def digest_of_folder(folder: Path) -> str:
    """Return a digest of the names, sizes, times of change and places on the disk of all files below a folder.

    Nothing is read: a file that is written anew has another time, one that replaces another another place. What Python
    compiles beside its files is passed over.
    """
    found = hashlib.sha256()
    for entry in files_below(folder):
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:  # gone since the folder was listed
            continue
        found.update(f"{entry.path}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ino}\n".encode())
    return found.hexdigest()


def digest_of_library() -> str:
    """Return the digest of this library's folder: it changes with its code, templates and data."""
    return digest_of_folder(Path(__file__).parent)


def files_below(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    """Yield all files below a folder, in the order of their names; none where it does not exist."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.name == "__pycache__":
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from files_below(entry.path)
        else:
            yield entry


def slug(text: str) -> str:
    """Return ``text`` in lower case with every run of other signs than letters, digits, ``_`` and ``.`` as one dash."""
    return re.sub(r"[^a-z0-9_.]+", "-", text.lower()).strip("-.")


def file_name(key: str) -> str:
    """Return a file name for any key (class id, run id): different keys give different names, none hidden or nested.

    ``=`` is quoted too: readers take ``key=value`` in a path for a partition.
    """
    quoted = quote(key, safe=" ()+,@")
    return quoted if not quoted.startswith((".", "_")) else f"%{ord(quoted[0]):02X}{quoted[1:]}"


def run_id(method: str, identity: Mapping[str, Any]) -> str:
    """Return ``<model>-<method>-<digest>`` for the complete identity of a run.

    Parameters
    ----------
    method : name of the family of results, e.g. ``"visual-summaries"``
    identity : all that decides the numbers: ``model``, ``weights_sha256``, ``dataset``, ``split``, ``params`` (every
        parameter with its default), the version of the method
    """
    return f"{slug(str(identity['model']))}-{slug(method)}-{digest({'method': method, **identity})}"


def typed_path(text: str, what: str, error: type[XvError]) -> Path:
    """Return the path that somebody typed, with ``~`` for a home; there may be nothing.

    Parameters
    ----------
    text : the path
    what : for the message
    error : raised where nothing can be called so, or it must not be looked for: a name that is too long or holds a
        zero, the home of nobody, a folder that may not be entered
    """
    try:
        path = Path(text).expanduser()
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return path
    except (OSError, RuntimeError, ValueError) as reason:
        shown = text if len(text) <= LETTERS else f"{text[:LETTERS]}…"
        said = reason.strerror if isinstance(reason, OSError) else reason
        raise error(f"{what} {shown!r}: {said}") from reason
    return path
