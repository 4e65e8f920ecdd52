"""The folder of the pages: files appear whole, and one that would not change is left alone."""

import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xvcore.keys import files_below

LOCK = ".lock"
"""Held by the process that writes pages into the folder."""
STAMP = ".stamp.json"
"""Of a folder of pages: what they were made from, and the names of their files; of the site: of all of them."""


class Site:
    """Pages and pictures under one folder.

    Parameters
    ----------
    folder : created with the first file
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written = 0
        self.unchanged = 0

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder; others who want to write pages there wait. A process that is killed lets go of it.

        Without it, two builds would take each other's new pages and temporary files for old ones that can go.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def write(self, path: str, data: str | bytes) -> None:
        """Write a file unless it has these very bytes; a reader sees the old one or the new one, never a part."""
        content = data.encode() if isinstance(data, str) else data
        final = self.folder / path
        if _content(final, len(content)) == content:
            self.unchanged += 1
            return
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.parent / f".{uuid.uuid4().hex}.tmp"
        try:
            temporary.write_bytes(content)
            temporary.replace(final)
        finally:
            temporary.unlink(missing_ok=True)
        self.written += 1

    def has(self, path: str) -> bool:
        """Return whether the file is there."""
        return (self.folder / path).is_file()

    def read(self, path: str) -> bytes:
        """Return the bytes of a file."""
        return (self.folder / path).read_bytes()

    def begins_with(self, path: str, text: str) -> bool:
        """Return whether the first two thousand bytes of a file have this text among them."""
        try:
            with (self.folder / path).open("rb") as file:
                return text.encode() in file.read(2000)
        except OSError:
            return False

    def keep_only(self, folder: str, paths: Collection[str]) -> None:
        """Remove the files of a folder that are not among these paths."""
        try:
            names = [each.name for each in (self.folder / folder).iterdir()]
        except OSError:
            return
        for name in names:
            if f"{folder}/{name}" not in paths:
                (self.folder / folder / name).unlink(missing_ok=True)

    def stamp(self, folder: str) -> Mapping[str, Any]:
        """Return the stamp of a folder of pages; empty where there is none or one of its files is gone."""
        try:
            stamp = json.loads((self.folder / folder / STAMP).read_text())
        except (OSError, ValueError):
            return {}
        if not isinstance(stamp, dict) or not set(stamp.get("files", [])) <= self._names(folder):
            return {}
        return stamp

    def seal(self, folder: str, stamp: Mapping[str, Any], files: Collection[str]) -> None:
        """Write the stamp of a folder, and remove the pages and pictures that earlier stamps named and this does not.

        Parameters
        ----------
        folder : of the pages
        stamp : what they were made from
        files : paths relative to the folder
        """
        before = self._listed(folder)
        for name in before - set(files):
            (self.folder / folder / name).unlink(missing_ok=True)
        self.write(f"{folder}/{STAMP}", json.dumps({**stamp, "files": sorted(files)}, ensure_ascii=False))

    def is_made_from(self, inputs: str) -> bool:
        """Return whether all pages were made from this, and no file has come or gone since."""
        try:
            stamp = json.loads((self.folder / STAMP).read_text())
        except (OSError, ValueError):
            return False
        return bool(stamp == {"inputs": inputs, "files": self._digest_of_names()})

    def unseal_all(self) -> None:
        """Take away what says from what all pages were made: they are about to be written."""
        (self.folder / STAMP).unlink(missing_ok=True)

    def seal_all(self, inputs: str) -> None:
        """Write down what all pages were made from."""
        self.write(STAMP, json.dumps({"inputs": inputs, "files": self._digest_of_names()}))

    def _digest_of_names(self) -> str:
        found = hashlib.sha256()
        for entry in files_below(self.folder):
            name = os.path.relpath(entry.path, self.folder)
            if name not in {LOCK, STAMP}:
                found.update(f"{name}\0".encode())
        return found.hexdigest()

    def _listed(self, folder: str) -> set[str]:
        try:
            names = json.loads((self.folder / folder / STAMP).read_text())["files"]
        except (OSError, ValueError, KeyError, TypeError):
            return set()
        return {name for name in names if ".." not in Path(name).parts and not Path(name).is_absolute()}

    def _names(self, folder: str) -> set[str]:
        root = self.folder / folder
        return {
            os.path.relpath(Path(where, name), root).replace(os.sep, "/")
            for where, _, names in os.walk(root)
            for name in names
        }


def _content(path: Path, size: int) -> bytes | None:
    """Return the bytes of a file of this size; ``None`` where it has another or does not exist."""
    try:
        return path.read_bytes() if path.stat().st_size == size else None
    except OSError:
        return None
