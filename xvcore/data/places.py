"""Files by an address, which is a path of this machine or a URL of any file system that fsspec knows; images there."""

import functools
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from xvcore.data.dataset import ClassInfo, ImageRecord, PartBox, find_class
from xvcore.data.decode import MAX_BYTES
from xvcore.data.files import HEAD, begins_like_image, has_image_name, has_suffix, is_image, walk
from xvcore.errors import DataError, ImageError, foreign_errors


def is_url(path: str) -> bool:
    """Say whether an address is a URL, not a path of this machine."""
    return "://" in path


@dataclass(frozen=True, eq=False)
class Files:
    """The files below a folder, or one file of it.

    Parameters
    ----------
    url : absolute path of the folder, or its URL, without a slash at the end
    root : the same as its file system knows it
    filesystem : of fsspec; None for this machine's
    only : the one file, None for all below the folder
    """

    url: str
    root: str
    filesystem: Any
    only: str | None = None

    @property
    def address(self) -> str:
        """What was opened: the folder, or the one file."""
        return self.url if self.only is None else f"{self.url}/{self.only}"

    def names(self) -> list[str]:
        """Return the files relative to the folder, sorted, without hidden ones; DataError where it cannot be listed."""
        if self.only is not None:
            return [self.only]
        if self.filesystem is None:
            root = Path(self.root)
            found = [Path(folder, name).relative_to(root).as_posix() for folder, name in walk(root, ".")]
        else:
            try:
                with self.failures():
                    found = [path[len(self.root) :].lstrip("/") for path in self.filesystem.find(self.root)]
            except OSError as error:
                raise DataError(f"{self.url} cannot be listed: {error}") from error
        return sorted(name for name in found if name and not any(part.startswith(".") for part in name.split("/")))

    def has(self, name: str) -> bool:
        """Say whether there is a file in the folder, whatever was opened of it; DataError where that cannot be told."""
        try:
            with self.failures():
                if self.filesystem is None:
                    return Path(self.root, name).is_file()
                return bool(self.filesystem.isfile(f"{self.root}/{name}"))
        except OSError as error:
            raise DataError(f"{self.url}/{name} cannot be looked for: {error}") from error

    def is_image(self, name: str) -> bool:
        """Say whether a file is an image, as :func:`xvcore.data.files.is_image` does."""
        if self.filesystem is None:
            return is_image(Path(self.root, name))
        base = posixpath.basename(name)
        if has_image_name(base) or has_suffix(base):
            return has_image_name(base)
        return begins_like_image(self.read(name, 0, HEAD))

    @contextmanager
    def opened(self, name: str) -> Iterator[Any]:
        """Give a file to be read at any place; OSError where it cannot be opened."""
        with self.failures():
            if self.filesystem is None:
                with Path(self.root, name).open("rb") as file:
                    yield file
            else:
                with self.filesystem.open(f"{self.root}/{name}", "rb") as file:
                    yield file

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """Return the bytes of a file, from ``start`` to before ``end``.

        Raises
        ------
        OSError
            It cannot be read; a ConnectionError where the way to it is at fault.
        ImageError
            The whole file is asked for, and larger than :data:`~xvcore.data.decode.MAX_BYTES`.
        """
        with self.failures():
            if self.filesystem is not None:
                path = f"{self.root}/{name}"
                if end is None:
                    _check_size(self.filesystem.size(path) or 0)
                data: bytes = self.filesystem.cat_file(path, start=start, end=end)
                return data
            with Path(self.root, name).open("rb") as file:
                file.seek(start)
                data = file.read(MAX_BYTES + 1 if end is None else end - start)
        if end is None:
            _check_size(len(data))
        return data

    def is_there(self) -> bool:
        """Say whether anything is left of it."""
        try:
            with self.failures():
                if self.filesystem is None:
                    return any(True for _ in Path(self.root).iterdir())
                self.filesystem.invalidate_cache()
                return bool(self.filesystem.ls(self.root, detail=False))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def records(self, names: Iterable[str], class_id: str) -> tuple[ImageRecord, ...]:
        """Return files as images of a class, sorted."""
        return tuple(ImageRecord(each, f"{self.url}/{each}", class_id) for each in sorted(names))

    def inside(self, path: str) -> str:
        """Return a path that a list gives, relative to the folder; links that lie in the folder are followed.

        Raises
        ------
        DataError
            It leads out of the folder, to another address, or to the folder itself.
        """
        written = path.strip()
        plain = written.replace("\\", "/")
        if is_url(plain) or plain.startswith("/"):
            if not plain.startswith(f"{self.url}/"):
                raise DataError(f"path {written!r} does not lie in {self.url}")
            plain = plain.removeprefix(f"{self.url}/")
        name = posixpath.normpath(plain)
        if name in (".", "..") or name.startswith(("../", "/")) or "\0" in name or name[1:3] == ":/":
            raise DataError(f"path {written!r} does not lie in {self.url}")
        return name

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Turn errors of the libraries beneath fsspec into those of a connection."""
        try:
            yield
        except foreign_errors() as error:
            raise ConnectionError(f"{type(error).__name__}: {error}") from error


def files_at(kind: str, path: str | None) -> Files:
    """Return the files at an address, which is a folder or a file.

    Raises
    ------
    DataError
        None is given, or nothing is there; a URL of an unknown file system, whose library is not installed, or that
        holds a password.
    """
    if path is None:
        raise DataError(f"dataset {kind} needs a folder or a file: {kind}:PATH")
    if not is_url(path):
        place = Path(path).expanduser()
        if not place.exists():
            raise DataError(f"dataset {kind}: {place} does not exist")
        place = place.resolve()
        folder, only = (place, None) if place.is_dir() else (place.parent, place.name)
        return Files(str(folder), str(folder), None, only)
    url = path.rstrip("/")
    if urlsplit(url).password is not None:
        raise DataError(f"dataset {kind}: a password in a URL would stand in every table; leave it to the environment")
    import fsspec

    try:
        filesystem, root = fsspec.core.url_to_fs(url)
        files = Files(url, str(root).rstrip("/"), filesystem)
        with files.failures():
            is_file = filesystem.isfile(files.root)
            is_there = is_file or filesystem.exists(files.root)
    except (ImportError, ValueError, OSError) as error:
        raise DataError(f"dataset {kind}: {url} cannot be opened: {error}") from error
    if not is_there:
        raise DataError(f"dataset {kind}: {url} does not exist")
    if is_file:
        return Files(url.rpartition("/")[0], files.root.rpartition("/")[0], filesystem, url.rpartition("/")[2])
    return files


@dataclass(frozen=True, eq=False)
class Images:
    """Images of which a list was made when the dataset was opened.

    Parameters
    ----------
    name, split, classes : see :class:`~xvcore.data.dataset.Dataset`
    records : the images of each class, sorted by image id
    """

    name: str
    split: str
    classes: tuple[ClassInfo, ...]
    records: Mapping[str, tuple[ImageRecord, ...]]

    def images(self, class_id: str) -> tuple[ImageRecord, ...]:
        """Return the images of a class, sorted by image id; DataError when there is no such class."""
        return self.records[find_class(self.name, self.classes, class_id).class_id]

    def parts(self, class_id: str) -> tuple[PartBox, ...]:
        """Return no parts: there are no annotations."""
        find_class(self.name, self.classes, class_id)
        return ()

    @functools.cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(record.image_id for records in self.records.values() for record in records)

    def _check_known(self, record: ImageRecord) -> None:
        if record.image_id not in self._known:
            raise ImageError(f"{record.image_id!r} is no image of {self.name}")


@dataclass(frozen=True, eq=False)
class ImagesAt(Images):
    """Images that are files below an address; an image id is a path relative to it.

    Parameters
    ----------
    name, split, classes, records : see :class:`Images`
    files : where they lie
    """

    files: Files

    def read(self, record: ImageRecord) -> bytes:
        """Return the file of an image.

        Raises
        ------
        OSError, ImageError
            It cannot be read, is too large, or is not of this dataset.
        DataError
            Nothing is left where the dataset was: it is not the image's fault.
        """
        self._check_known(record)
        try:
            return self.files.read(record.image_id)
        except FileNotFoundError as error:
            if not self.files.is_there():
                raise DataError(f"{self.files.url} is empty now, or away; is the disk there?") from error
            raise


def _check_size(n_bytes: int) -> None:
    if n_bytes > MAX_BYTES:
        raise ImageError(f"too large: {n_bytes} bytes, the limit is {MAX_BYTES}")
