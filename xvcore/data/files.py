"""Which files are images: told by the suffix of the name, or by the first bytes where a name has none."""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NoReturn

from xvcore.data.faults import patiently
from xvcore.errors import DataError, MomentaryError

SUFFIXES = frozenset(
    (
        *(".bmp", ".dib", ".gif", ".jfi", ".jfif", ".jif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".apng"),
        *(".pnm", ".ppm", ".tif", ".tiff", ".webp"),
    )
)
"""Suffixes of images, in upper or lower case. A file whose name starts with a dot is none."""
HEAD = 32
"""Bytes of a file that tell whether it is an image."""
_SUFFIX = re.compile(r"\.[a-z][a-z0-9]{0,11}", re.IGNORECASE)
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_NEVER_MISSED = ("thumbs.db", "desktop.ini")


@dataclass(frozen=True, slots=True)
class Listed:
    """The files in a folder and below it, relative to the root of the dataset.

    Parameters
    ----------
    images : files that are images
    others : files that are none; without hidden ones
    """

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def files_below(root: Path, place: str) -> Listed:
    """Return the files in a folder and below it; links are followed, each folder once.

    Raises
    ------
    DataError
        A folder cannot be listed.
    MomentaryError
        The first bytes of a file without suffix cannot be read now.
    """
    found = Listed()
    for folder, of_folder in groupby(walk(root, place), key=itemgetter(0)):
        below = Path(folder).relative_to(root).as_posix()
        for _, name in of_folder:
            if not name.startswith("."):
                is_one = has_image_name(name) or is_image(Path(folder, name))
                (found.images if is_one else found.others).append(f"{below}/{name}")
    return found


def has_images(root: Path, place: str) -> bool:
    """Say whether there is an image in a folder or below it."""
    try:
        with os.scandir(root / place) as entries:
            lies_here = any(has_image_name(entry.name) for entry in entries)
    except OSError as error:
        refuse_folder(error)
    return lies_here or any(is_image(Path(folder, name)) for folder, name in walk(root, place))


def is_image(file: Path) -> bool:
    """Say whether a file is an image: by its suffix, and where it has none worth the name, by its first bytes.

    ``.2019``, ``.jpg_1`` and ``.jpg?w=100`` are no suffixes; that of another kind of file is believed.
    """
    if has_image_name(file.name) or file.name.startswith(".") or has_suffix(file.name):
        return has_image_name(file.name)
    try:
        return begins_like_image(patiently(lambda: _head(file), str(file), str(file)))
    except MomentaryError:
        raise
    except OSError:
        return False


def has_suffix(name: str) -> bool:
    """Say whether a file's name has a suffix worth the name, of whatever kind."""
    return _SUFFIX.fullmatch(Path(name).suffix) is not None


def has_image_name(name: str) -> bool:
    """Say whether a file's name is that of an image."""
    stem, dot, suffix = name.rpartition(".")
    is_hidden = name.startswith(".") or not stem or stem.endswith("/")
    return not is_hidden and f"{dot}{suffix}".lower() in SUFFIXES


def begins_like_image(head: bytes) -> bool:
    """Say whether the first :data:`HEAD` bytes of a file are those of an image in a format that is read."""
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*"))
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS)
        or re.match(rb"P[1-6](\s+\d+\s+\d|\s*#)", head) is not None
    )


def left_out(files: Iterable[str]) -> str:
    """Return how many files there are by suffix, the most first; empty for none but what a desktop puts there."""
    names = [Path(file) for file in files]
    kinds = Counter(
        name.suffix.lower() if has_suffix(name.name) else "without suffix"
        for name in names
        if name.name.lower() not in _NEVER_MISSED
    )
    return ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items(), key=lambda each: (-each[1], each[0])))


def refuse_folder(error: OSError) -> NoReturn:
    """Raise the DataError of a folder that cannot be listed."""
    raise DataError(f"{error.filename} cannot be listed: {error.strerror}") from error


def walk(root: Path, place: str) -> Iterator[tuple[str, str]]:
    """Yield folder and name of every file in a folder and below it; links are followed, each folder once."""
    seen: set[str] = set()
    for folder, folders, files in os.walk(root / place, onerror=refuse_folder, followlinks=True):
        target = str(Path(folder).resolve())
        folders[:] = [] if target in seen else sorted(each for each in folders if not each.startswith("."))
        if target not in seen:
            yield from ((folder, name) for name in files)
        seen.add(target)


def _head(file: Path) -> bytes:
    """Return the first bytes of a file; none of what is no plain file, since reading a pipe would wait for ever."""
    if not stat.S_ISREG(file.stat().st_mode):
        return b""
    with file.open("rb") as opened:
        return opened.read(HEAD)
